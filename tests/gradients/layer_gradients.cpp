// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include "policies.hpp"
#include "worse.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

// The layer's own backward against central differences of its own forward, in double: every parameter and input, for
// every policy. L = <y, dy> + sum of coefficient * loss; step 1e-6, atol 1e-5, rtol 1e-3.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

constexpr double step = 1e-6, atol = 1e-5, rtol = 1e-3;

double loss(const job& j, const outcome& o) {
  double sum = j.config.load_balance * o.load_balance + j.config.router_z * o.router_z +
               j.config.importance * o.importance + j.config.load * o.load;
  if (j.config.routing == sy::routing_policy::expert_choice) sum -= j.config.load_balance * o.load_balance;
  for (std::size_t i = 0; i < o.y.size(); ++i) sum += j.dy[i] * o.y[i];
  return sum;
}

struct verdict {
  bool same_routing = true; // of both ends of the difference and the middle
  double worst = 0;         // |analytic - numeric| / (atol + rtol |numeric|), infinite for NaN
};

/// Central differences of every element of `values`, a member of `j`.
void differentiate(const subject& s, job& j, const outcome& middle, std::vector<double>& values,
                   const std::vector<double>& analytic, verdict& v) {
  for (std::size_t i = 0; i < values.size() && v.same_routing; ++i) {
    const double here = values[i];
    values[i] = here + step;
    const outcome up = s.run(j);
    values[i] = here - step;
    const outcome down = s.run(j);
    values[i] = here;
    v.same_routing = up.slot == middle.slot && down.slot == middle.slot && up.choice == middle.choice &&
                     down.choice == middle.choice;
    const double numeric = (loss(j, up) - loss(j, down)) / (2 * step);
    v.worst = worse(v.worst, std::abs(analytic[i] - numeric) / (atol + rtol * std::abs(numeric)));
  }
}

verdict check(const subject& s, job j) {
  const outcome o = s.run(j);
  verdict v;
  j.backward = false;
  differentiate(s, j, o, j.x, o.dx, v);
  differentiate(s, j, o, j.weights.router, o.gradient.router, v);
  for (const auto member : {&sy::reference_weights::wi, &sy::reference_weights::wi_gate, &sy::reference_weights::wo,
                            &sy::reference_weights::bi, &sy::reference_weights::bi_gate, &sy::reference_weights::bo})
    differentiate(s, j, o, j.weights.*member, o.gradient.*member, v);
  return v;
}

} // namespace

TEST_CASE("the backward is the derivative of the forward, for every policy", "[gradient]") {
  std::vector<named_config> all = every_policy();
  for (const named_config& n : rarer_policies()) all.push_back(n);
  for (const subject& s : built("uniform<double>"))
    for (named_config n : all) {
      n.config.d_model = 3;
      n.config.d_ff = 3;
      n.config.experts = std::min<std::int64_t>(n.config.experts, 4);
      int redrawn = 0;
      for (std::uint64_t seed = 1;; ++seed) { // a step across a routing boundary or a ReLU kink is another draw's turn
        job j = random_job(n.config, 2, 6, 7 * seed);
        j.training = n.training;
        j.step = 1;
        if (n.masked) j.mask = {1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1};
        const verdict v = check(s, j);
        if (!v.same_routing && ++redrawn < 20) continue;
        INFO(s.space << ", " << n.name << ", seed " << seed << ", worst " << v.worst);
        CHECK(v.same_routing);
        CHECK(v.worst < 1);
        break;
      }
    }
}

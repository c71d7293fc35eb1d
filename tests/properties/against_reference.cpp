// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include "policies.hpp"
#include "worse.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <set>
#include <string>

// The layer equals the reference: every policy, odd and empty sizes, every precision.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

/// Every slot in use, as (group, expert, slot) -> token, with its gate: one form for all routings.
using slot_table = std::map<std::array<std::int64_t, 3>, std::pair<std::int64_t, double>>;

slot_table slots_of(const job& j, const outcome& o) {
  slot_table table;
  const std::int64_t k = j.config.choices();
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(o.slot.size()); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (o.slot[at] >= 0) table[{i / k / j.tokens, o.choice[at], o.slot[at]}] = {i / k, o.gate[at]};
  }
  return table;
}
slot_table slots_of(const job& j, const sy::reference_output& o) {
  slot_table table;
  for (const auto& a : o.assignments)
    table[{static_cast<std::int64_t>(a.t) / j.tokens, static_cast<std::int64_t>(a.e), static_cast<std::int64_t>(a.c)}] =
        {static_cast<std::int64_t>(a.t), o.gate[a.at]};
  return table;
}

bool same_routing(const slot_table& a, const slot_table& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.first == y.second.first;
  });
}

/// Infinite where one of them is not a finite number.
double largest(const std::vector<double>& v) {
  double m = 0;
  for (const double x : v) m = worse(m, std::abs(x));
  return m;
}

/// y [G,S,M] with every term of its sums made positive, of act(z) |z| and of every hidden sum likewise: Σ|a||b|, the
/// scale of rounding errors of y, which may cancel where their causes do not.
std::vector<double> terms_of_y(const sy::switch_config& c, const sy::reference_weights& w,
                               const sy::reference_input& in, const sy::reference_output& r) {
  const auto M = static_cast<std::size_t>(c.d_model), F = static_cast<std::size_t>(c.d_ff);
  const std::size_t S = static_cast<std::size_t>(in.tokens), G = static_cast<std::size_t>(in.groups);
  const std::size_t C = static_cast<std::size_t>(r.capacity);
  std::vector<double> terms(G * S * M, 0.0);
  for (const auto& a : r.assignments) {
    const auto hidden_terms = [&](const std::vector<double>& weight, const std::vector<double>& bias, std::size_t f) {
      double sum = c.bias ? std::abs(bias[a.e * F + f]) : 0;
      for (std::size_t m = 0; m < M; ++m) sum += std::abs(in.x[a.t * M + m] * weight[(a.e * M + m) * F + f]);
      return sum;
    };
    for (std::size_t f = 0; f < F; ++f) {
      double hidden = hidden_terms(w.wi, w.bi, f);
      if (c.gated) hidden *= hidden_terms(w.wi_gate, w.bi_gate, f);
      if (!in.hidden_scale.empty()) hidden *= in.hidden_scale[((a.e * G + a.t / S) * C + a.c) * F + f];
      for (std::size_t m = 0; m < M; ++m)
        terms[a.t * M + m] += std::abs(r.gate[a.at] * hidden * w.wo[(a.e * F + f) * M + m]);
    }
    for (std::size_t m = 0; m < M && c.bias; ++m) terms[a.t * M + m] += std::abs(r.gate[a.at] * w.bo[a.e * M + m]);
  }
  return terms;
}

/// The worst error of each result, in units of eps * (|reference| + scale). Of y the scale is Σ|a||b|; elsewhere it is
/// the largest element of the result's part: a group of dx, the router's matrix, a matrix of one expert, a loss.
struct errors {
  double y = 0, dx = 0, router = 0, experts = 0, losses = 0;
  double worst() const { return std::max({y, dx, router, experts, losses}); }
};

errors compare(const job& j, const outcome& o, const sy::reference_input& in, const sy::reference_output& r, double eps,
               double router_eps) {
  errors e;
  const auto parts = [&](const std::vector<double>& a, const std::vector<double>& b, std::int64_t width) {
    if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
    double worst = 0;
    const auto each = [&](const std::vector<double>& v, std::size_t i) {
      return std::vector<double>(v.begin() + static_cast<std::ptrdiff_t>(i),
                                 v.begin() + static_cast<std::ptrdiff_t>(i) + width);
    };
    for (std::size_t i = 0; i < b.size(); i += static_cast<std::size_t>(width)) {
      const std::vector<double> want = each(b, i);
      worst = worse(worst, error_ratio(each(a, i), want, eps, largest(want) + 1e-30));
    }
    return worst;
  };
  const auto loss = [&](double a, double b) {
    e.losses = worse(e.losses, error_ratio({a}, {b}, router_eps, std::abs(b) + 1e-30));
  };
  const std::int64_t M = j.config.d_model, F = j.config.d_ff;
  const std::vector<double> terms = terms_of_y(j.config, o.weights, in, r);
  if (o.y.size() != terms.size()) e.y = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < terms.size() && std::isfinite(e.y); ++i)
    e.y = worse(e.y, error_ratio({o.y[i]}, {r.y[i]}, eps, terms[i] + 1e-30));
  loss(o.load_balance, r.load_balance_loss);
  loss(o.router_z, r.router_z_loss);
  loss(o.entropy, r.router_entropy);
  loss(o.confidence, r.router_confidence);
  loss(o.importance, r.importance_loss);
  if (j.config.load > 0) loss(o.load, r.load_loss);
  const auto g = sy::reference_backward(j.config, o.weights, in, r, o.dy);
  e.dx = parts(o.dx, g.dx, std::max<std::int64_t>(j.tokens, 1) * M);
  e.router = parts(o.gradient.router, g.weights.router, M * j.config.experts);
  for (const auto& [member, size] :
       {std::pair(&sy::reference_weights::wi, M * F), std::pair(&sy::reference_weights::wi_gate, M * F),
        std::pair(&sy::reference_weights::wo, F * M), std::pair(&sy::reference_weights::bi, F),
        std::pair(&sy::reference_weights::bi_gate, F), std::pair(&sy::reference_weights::bo, M)})
    e.experts = worse(e.experts, parts(o.gradient.*member, g.weights.*member, size));
  return e;
}

job masked_job(const named_config& n, std::int64_t groups, std::int64_t tokens, std::uint64_t seed) {
  job j = random_job(n.config, groups, tokens, seed);
  j.training = n.training;
  j.step = 3;
  if (n.masked)
    for (std::int64_t t = 0; t < groups * tokens; ++t) j.mask.push_back((t * 7 + 1) % 3 == 0 ? 0.0 : 1.0);
  return j;
}

void check_errors_of_double(const errors& e) {
  CHECK(e.y < 16); // 1.8e-15
  // Sums over up to 4200 tokens, whose number is not part of the unit.
  CHECK(std::max(e.dx, e.experts) < 32);
  CHECK(e.worst() < 100);
}

/// The layer, in double, against the reference.
void check_in_double(const subject& s, const job& j) {
  const outcome o = s.run(j);
  const auto in = reference_input_of(j, o);
  const auto r = sy::reference_forward(j.config, o.weights, in);
  REQUIRE(same_routing(slots_of(j, o), slots_of(j, r)));
  CHECK(std::abs(o.dropped_fraction - r.dropped_fraction) < 1e-12);
  CHECK(o.expert_load == r.load);
  CHECK(o.guards_intact);
  CHECK(o.late_allocations == 0);
  const errors e = compare(j, o, in, r, 0x1p-53, 0x1p-53);
  INFO("y " << e.y << ", dx " << e.dx << ", router " << e.router << ", experts " << e.experts << ", losses "
            << e.losses);
  check_errors_of_double(e);
}

} // namespace

TEST_CASE("in double the layer is the reference, for every policy and every size", "[reference]") {
  for (const subject& s : built("uniform<double>"))
    for (const named_config& n : every_policy())
      for (const std::int64_t tokens : {0, 1, 2, 3, 5, 9, 17, 64, 65, 127, 129}) {
        INFO(s.space << ", " << n.name << ", " << tokens << " tokens");
        check_in_double(s, masked_job(n, 2, tokens, static_cast<std::uint64_t>(100 + tokens)));
      }
}

TEST_CASE("in double the layer is the reference, for policies that are seldom together", "[reference]") {
  for (const subject& s : built("uniform<double>"))
    for (const named_config& n : rarer_policies())
      for (const std::int64_t tokens : {1, 9, 33, 129})
        for (const bool masked : {false, true}) {
          INFO(s.space << ", " << n.name << (masked ? ", masked, " : ", ") << tokens << " tokens");
          named_config some = n;
          some.masked = masked;
          check_in_double(s, masked_job(some, 2, tokens, static_cast<std::uint64_t>(300 + tokens)));
        }
}

// Slots are counted in blocks of 256 tokens of a group, and sorted in blocks of 1024.
TEST_CASE("in double the layer is the reference, where groups are several blocks", "[reference]") {
  const std::set<std::string> names = {"top_1",
                                       "top_1, masked",
                                       "top_1, batch prioritized",
                                       "top_2, batch prioritized",
                                       "top_2, renormalize 2",
                                       "no token left behind",
                                       "no token left behind, 2 stages, batch prioritized",
                                       "expert choice",
                                       "expert choice, masked"};
  std::size_t found = 0;
  for (const subject& s : built("uniform<double>")) {
    for (const named_config& n : every_policy()) {
      if (names.count(n.name) == 0) continue;
      ++found;
      for (const std::int64_t tokens : {256, 257, 700, 1024, 1025, 2100}) {
        INFO(s.space << ", " << n.name << ", " << tokens << " tokens");
        check_in_double(s, masked_job(n, 2, tokens, static_cast<std::uint64_t>(400 + tokens)));
      }
    }
    CHECK(found == names.size());
    found = 0;
  }
}

TEST_CASE("canonical sums are the reference's too", "[reference]") {
  for (const subject& s : built("uniform<double>"))
    for (named_config n : every_policy())
      for (const auto& [groups, tokens] : {std::pair(4, 17), std::pair(2, 65), std::pair(1, 3), std::pair(0, 5)}) {
        INFO(s.space << ", " << n.name << ", " << groups << " groups of " << tokens << " tokens");
        n.config.canonical = 2;
        n.config.d_model += n.config.d_model % 2;
        n.config.d_ff += n.config.d_ff % 2;
        const job j = masked_job(n, groups, tokens, static_cast<std::uint64_t>(200 + tokens));
        const outcome o = s.run(j);
        const auto in = reference_input_of(j, o);
        const auto r = sy::reference_forward(j.config, o.weights, in);
        REQUIRE(same_routing(slots_of(j, o), slots_of(j, r)));
        const errors e = compare(j, o, in, r, 0x1p-53, 0x1p-53);
        INFO("y " << e.y << ", dx " << e.dx << ", router " << e.router << ", experts " << e.experts);
        check_errors_of_double(e);
        CHECK(o.guards_intact);
        CHECK(o.late_allocations == 0);
      }
}

TEST_CASE("groups without tokens and groups of no kind", "[reference]") {
  for (const subject& s : subjects())
    for (const named_config& n : every_policy()) {
      INFO(s.space << ", " << s.precision << ", " << n.name);
      const outcome none = s.run(masked_job(n, 0, 5, 1));
      CHECK(none.tokens == 0);
      CHECK(none.load_balance == 0);
      CHECK(largest(none.gradient.router) == 0);
      CHECK(largest(none.gradient.wi) == 0);
      job padding = masked_job(n, 2, 5, 1);
      padding.mask.assign(10, 0.0);
      const outcome all = s.run(padding);
      for (const auto* zero : {&all.y, &all.dx, &all.gradient.router, &all.gradient.wi, &all.gradient.wo})
        CHECK(
            (largest(*zero) == 0 && std::none_of(zero->begin(), zero->end(), [](double v) { return std::isnan(v); })));
      CHECK((all.load_balance == 0 && all.router_z == 0 && all.importance == 0 && all.load == 0));
    }
}

TEST_CASE("in every precision the error stays below 16 units", "[reference]") {
  for (const subject& s : subjects()) {
    if (s.precision == "uniform<double>") continue;
    int tried = 0, compared = 0, draws = 0;
    errors worst;
    for (const named_config& n : every_policy())
      for (const std::int64_t tokens : {1, 9, 33}) {
        // A routing decision closer than the router's rounding may fall either way: then another draw is compared.
        bool same = false;
        ++tried;
        for (std::uint64_t seed = 1; seed <= 40 && !same; ++seed) {
          const job j = masked_job(n, 2, tokens, seed);
          const outcome o = s.run(j);
          ++draws;
          const auto in = reference_input_of(j, o);
          const auto r = sy::reference_forward(j.config, o.weights, in);
          same = same_routing(slots_of(j, o), slots_of(j, r));
          if (!same) continue;
          ++compared;
          const errors e = compare(j, o, in, r, s.unit_roundoff, std::max(s.router_roundoff, 0x1p-24));
          INFO(s.space << ", " << s.precision << ", " << n.name << ", " << tokens << " tokens, seed " << seed);
          INFO("y " << e.y << ", dx " << e.dx << ", router " << e.router << ", experts " << e.experts << ", losses "
                    << e.losses);
          CHECK(e.worst() < 16);
          worst.y = std::max(worst.y, e.y);
          worst.dx = std::max(worst.dx, e.dx);
          worst.router = std::max(worst.router, e.router);
          worst.experts = std::max(worst.experts, e.experts);
          worst.losses = std::max(worst.losses, e.losses);
          CHECK(o.guards_intact);
        }
        INFO(s.precision << ", " << n.name << ", " << tokens << " tokens: no draw with the reference's routing");
        CHECK((same || s.router_roundoff > 0x1p-20));
      }
    CHECK(compared > tried * 9 / 10);
    WARN(s.precision << ": compared " << compared << " of " << tried << " in " << draws << " draws; worst y " << worst.y
                     << ", dx " << worst.dx << ", router " << worst.router << ", experts " << worst.experts
                     << ", losses " << worst.losses);
  }
}

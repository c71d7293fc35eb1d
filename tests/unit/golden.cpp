// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

// One group of eight tokens and three experts, worked out by hand from the definitions.

namespace sy = switchyard;
using namespace switchyard_test;
using Catch::Approx;

namespace {

const std::vector<double> logits = {2, 1, 0, 1.5, 1, .5, 3, 0, 2, 0, 1, .5, 2.5, 2, 0, 1, .9, .8, .2, .1, 4, 5, 1, 0};

/// A layer whose router copies its input, so that the tokens are the logits. factor * 8 / 3 = capacity.
job golden(sy::routing_policy routing, int k, std::int64_t capacity) {
  sy::switch_config c{.d_model = 3, .d_ff = 3, .experts = 3, .routing = routing, .k = k};
  c.capacity_factor = static_cast<double>(capacity) * 3 / 8;
  c.min_capacity = 0;
  job j = random_job(c, 1, 8, 1);
  j.x = logits;
  j.weights.router = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  return j;
}

using list = std::vector<std::int64_t>;
/// The slots of choice j of every token, -1 where it has none.
list slots(const outcome& o, std::size_t j, std::size_t k) {
  list result;
  for (std::size_t t = 0; t < 8; ++t) result.push_back(o.slot[t * k + j] < 0 ? -1 : o.slot[t * k + j]);
  return result;
}
list choices(const outcome& o, std::size_t j, std::size_t k) {
  list result;
  for (std::size_t t = 0; t < 8; ++t) result.push_back(o.choice[t * k + j]);
  return result;
}

} // namespace

TEST_CASE("golden: top-1, two slots", "[golden]") {
  for (const subject& s : subjects()) {
    INFO(s.space << " " << s.precision);
    const outcome o = s.run(golden(sy::routing_policy::top_1, 0, 2));
    CHECK(choices(o, 0, 1) == list{0, 0, 0, 1, 0, 0, 2, 0});
    CHECK(slots(o, 0, 1) == list{0, 1, -1, 0, -1, -1, 0, -1});
    CHECK(o.dropped_fraction == 0.5);
    for (const std::size_t t : {2u, 4u, 5u, 7u}) // dropped: exactly +0
      for (std::size_t m = 0; m < 3; ++m) CHECK((o.y[t * 3 + m] == 0 && !std::signbit(o.y[t * 3 + m])));
  }
}

TEST_CASE("golden: batch priority, two slots", "[golden]") {
  for (const subject& s : built("uniform<double>")) {
    job j = golden(sy::routing_policy::top_1, 0, 2);
    j.config.order = sy::slot_order::batch_prioritized; // 7 6 2 0 4 1 3 5
    CHECK(slots(s.run(j), 0, 1) == list{-1, -1, 1, 0, -1, -1, 0, 0});
    j.config.capacity_factor = 3; // all slots: the whole order of expert 0
    CHECK(slots(s.run(j), 0, 1) == list{2, 4, 1, 0, 3, 5, 0, 0});
  }
}

TEST_CASE("golden: top-2, three slots", "[golden]") {
  for (const subject& s : built("uniform<double>")) {
    job j = golden(sy::routing_policy::top_k, 2, 3);
    const outcome o = s.run(j);
    CHECK(choices(o, 0, 2) == list{0, 0, 0, 1, 0, 0, 2, 0});
    CHECK(choices(o, 1, 2) == list{1, 1, 2, 2, 1, 1, 0, 1});
    CHECK(slots(o, 0, 2) == list{0, 1, 2, 0, -1, -1, 0, -1});
    CHECK(slots(o, 1, 2) == list{1, 2, 1, 2, -1, -1, -1, -1});

    j.config.renormalize = sy::renormalize_policy::before_drop;
    j.config.dropless = true;
    const outcome r = s.run(j);
    const double first[] = {.731059, .622459, .731059, .622459, .622459, .524979, .978119, .982014};
    for (std::size_t t = 0; t < 8; ++t) {
      CHECK(r.gate[2 * t] == Approx(first[t]).margin(1e-6));
      CHECK(r.gate[2 * t + 1] == Approx(1 - first[t]).margin(1e-6));
    }
    j.config.second_expert = sy::second_expert_policy::threshold;
    const outcome removed = s.run(j);
    for (std::size_t t = 0; t < 8; ++t) CHECK((removed.slot[2 * t + 1] == -2) == (t == 6 || t == 7));
  }
}

TEST_CASE("golden: no token left behind, three slots, three stages", "[golden]") {
  for (const subject& s : built("uniform<double>")) {
    const outcome o = s.run(golden(sy::routing_policy::no_token_left_behind, 3, 3));
    const list expert = {0, 0, 0, 1, 1, 1, 2, 2}, slot = {0, 1, 2, 0, 1, 2, 0, 1}, stage = {0, 0, 0, 0, 1, 1, 0, 2};
    for (std::size_t t = 0; t < 8; ++t)
      for (std::size_t i = 0; i < 3; ++i) {
        INFO("token " << t << " stage " << i);
        const bool here = static_cast<std::int64_t>(i) == stage[t];
        CHECK((o.slot[3 * t + i] >= 0) == here);
        if (!here) continue;
        CHECK(o.slot[3 * t + i] == slot[t]);
        CHECK(o.choice[3 * t + i] == expert[t]);
      }
  }
}

TEST_CASE("golden: expert choice, three slots", "[golden]") {
  for (const subject& s : built("uniform<double>")) {
    const outcome o = s.run(golden(sy::routing_policy::expert_choice, 0, 3));
    const list tokens[] = {{7, 2, 0}, {3, 4, 5}, {6, 3, 5}};
    for (std::size_t e = 0; e < 3; ++e)
      for (std::size_t t = 0; t < 8; ++t) {
        std::int64_t place = -2;
        for (std::size_t c = 0; c < 3; ++c)
          if (tokens[e][c] == static_cast<std::int64_t>(t)) place = static_cast<std::int64_t>(c);
        CHECK(o.slot[t * 3 + e] == place);
      }
    CHECK(o.load_balance == 0);
  }
}

TEST_CASE("golden: losses", "[golden]") {
  for (const subject& s : built("uniform<double>")) {
    job j = golden(sy::routing_policy::top_1, 0, 2);
    const outcome o = s.run(j);
    CHECK(o.load_balance == Approx(1.317143).margin(1e-6));
    CHECK(o.router_z == Approx(9.915597).margin(1e-6));
    CHECK(o.importance == Approx(.131384).margin(1e-6));
    j = golden(sy::routing_policy::top_k, 2, 3);
    j.config.load_balance_form = sy::balance_form::any_of_k;
    CHECK(s.run(j).load_balance == Approx(2.134964).margin(1e-6));
  }
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <switchyard/switchyard.hpp>

// Every bad input has its own clear error, or a defined result.

namespace sy = switchyard;
using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN();
const double infinity = std::numeric_limits<double>::infinity();

sy::switch_config good() {
  return {.d_model = 4, .d_ff = 6, .experts = 3};
}

using layer_type = sy::switch_layer<Kokkos::DefaultExecutionSpace, sy::uniform<double>>;
using view = Kokkos::View<double***, Kokkos::LayoutRight, layer_type::space>;

#define CHECK_SAYS(expression, text)                                                                                   \
  CHECK_THROWS_MATCHES(expression, sy::invalid_argument, MessageMatches(ContainsSubstring(text)))

} // namespace

TEST_CASE("a configuration that cannot be names its field and value", "[errors]") {
  struct bad {
    std::function<void(sy::switch_config&)> change;
    const char* text;
  };
  const bad all[] = {
      {[](auto& c) { c.d_model = 0; }, "d_model = 0: must be at least 1"},
      {[](auto& c) { c.d_model = -3; }, "d_model = -3"},
      {[](auto& c) { c.d_ff = 0; }, "d_ff = 0"},
      {[](auto& c) { c.experts = 0; }, "experts = 0"},
      {[](auto& c) { c.experts = std::int64_t{1} << 31; }, "experts = 2147483648: must be below 2^31"},
      {[](auto& c) { c.k = -1; }, "k = -1"},
      {[](auto& c) { c.routing = sy::routing_policy::top_k, c.k = 4; }, "k = 4: a token cannot choose more experts"},
      {[](auto& c) { c.experts = 100, c.routing = sy::routing_policy::top_k, c.k = 65; }, "k = 65: at most 64"},
      {[](auto& c) { c.capacity_factor = 0; }, "capacity_factor = 0"},
      {[](auto& c) { c.capacity_factor = -1; }, "capacity_factor = -1"},
      {[](auto& c) { c.capacity_factor = nan_value; }, "capacity_factor = nan"},
      {[](auto& c) { c.capacity_factor = infinity; }, "set dropless = true"},
      {[](auto& c) { c.eval_capacity_factor = -1; }, "eval_capacity_factor = -1"},
      {[](auto& c) { c.min_capacity = -1; }, "min_capacity = -1"},
      {[](auto& c) { c.jitter = 1; }, "jitter = 1: must be in [0, 1)"},
      {[](auto& c) { c.expert_dropout = nan_value; }, "expert_dropout = nan"},
      {[](auto& c) { c.input_dropout = -0.1; }, "input_dropout = -0.1"},
      {[](auto& c) { c.load_balance = infinity; }, "load_balance = inf"},
      {[](auto& c) { c.router_z = -1; }, "router_z = -1"},
      {[](auto& c) { c.importance = nan_value; }, "importance = nan"},
      {[](auto& c) { c.load = -1; }, "load = -1"},
      {[](auto& c) { c.sample_temperature = -1; }, "sample_temperature = -1"},
      {[](auto& c) { c.logit_softcap = nan_value; }, "logit_softcap = nan"},
      {[](auto& c) { c.init_scale = 0; }, "init_scale = 0"},
      {[](auto& c) { c.exchange_chunks = 0; }, "exchange_chunks = 0"},
      {[](auto& c) { c.canonical = -1; }, "canonical = -1"},
      {[](auto& c) { c.canonical = 3; }, "canonical = 3: cannot cut d_model = "},
      {[](auto& c) {
         c.routing = sy::routing_policy::top_k;
         c.second_expert = sy::second_expert_policy::threshold;
         c.threshold = nan_value;
       },
       "threshold = nan"},
      {[](auto& c) { c.routing = sy::routing_policy::expert_choice, c.sample_temperature = 1; }, "expert choice"},
      {[](auto& c) { c.routing = sy::routing_policy::expert_choice, c.load = 1; }, "load = 1"},
  };
  CHECK_NOTHROW(layer_type(good()));
  for (const bad& b : all) {
    sy::switch_config c = good();
    b.change(c);
    CHECK_SAYS(layer_type(c), b.text);
  }
}

TEST_CASE("extents, order of calls and overlapping views are checked before anything runs", "[errors]") {
  const Kokkos::DefaultExecutionSpace exec;
  const layer_type layer(good());
  CHECK_SAYS(layer.make_tape(exec, -1, 4), "groups = -1");
  CHECK_SAYS(layer.make_tape(exec, 1, -4), "tokens = -4");
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  const auto gradients = layer.zeros(exec);
  auto tape = layer.make_tape(exec, 2, 5);
  const view x("x", 2, 5, 4), y("y", 2, 5, 4), dx("dx", 2, 5, 4);
  CHECK_SAYS(layer.backward(exec, packed, y, dx, tape, gradients), "no forward has filled this tape");
  CHECK_SAYS(layer.forward(exec, packed, view("x", 3, 5, 4), y, tape), "x.extent(0) = 3: number of groups is 2");
  CHECK_SAYS(layer.forward(exec, packed, view("x", 2, 6, 4), y, tape), "x.extent(1) = 6");
  CHECK_SAYS(layer.forward(exec, packed, x, view("y", 2, 5, 3), tape), "y.extent(2) = 3: d_model is 4");
  CHECK_SAYS(layer.forward(exec, packed, x, x, tape), "overlap");
  sy::forward_options<layer_type::space> options;
  options.mask = Kokkos::View<float**, Kokkos::LayoutRight, layer_type::space>("mask", 2, 4);
  CHECK_SAYS(layer.forward(exec, packed, x, y, tape, options), "mask [2, 4]: must be [2, 5]");
  layer.forward(exec, packed, x, y, tape);
  CHECK_SAYS(layer.backward(exec, packed, y, y, tape, gradients), "overlaps");
  CHECK_SAYS(layer.backward(exec, packed, y, x, tape, gradients), "overlaps");
  CHECK_NOTHROW(layer.backward(exec, packed, y, dx, tape, gradients));
}

TEST_CASE("NaN and infinity stay in their token and are counted", "[errors]") {
  for (const subject& s : subjects())
    for (const auto routing : {sy::routing_policy::top_1, sy::routing_policy::top_k,
                               sy::routing_policy::no_token_left_behind, sy::routing_policy::expert_choice}) {
      INFO(s.precision << " routing " << static_cast<int>(routing));
      sy::switch_config c{.d_model = 4, .d_ff = 6, .experts = 3, .routing = routing};
      c.dropless = true;
      c.load_balance = 0;
      const job j = random_job(c, 1, 17, 41);
      const outcome clean = s.run(j);
      job broken = j;
      broken.x[5 * 4 + 1] = nan_value;
      broken.x[9 * 4 + 2] = infinity;
      const outcome o = s.run(broken);
      CHECK(o.nonfinite_tokens == 2);
      CHECK(o.nonfinite_outputs >= 2);
      for (std::size_t t = 0; t < 17; ++t)
        for (std::size_t m = 0; m < 4; ++m)
          if (t != 5 && t != 9) CHECK(o.y[t * 4 + m] == clean.y[t * 4 + m]);
      CHECK(std::isnan(o.y[5 * 4]));
      for (const auto e : o.choice) CHECK((e >= 0 && e < 3));
      CHECK(o.guards_intact);
    }
}

TEST_CASE("an output that overflows half is counted", "[errors]") {
  for (const subject& s : built("selective<half>")) {
    job j = random_job(good(), 1, 9, 46);
    CHECK(s.run(j).nonfinite_outputs == 0);
    j.config.dropless = true;
    for (double& w : j.weights.wo) w *= 30;
    for (std::size_t m = 0; m < 4; ++m) j.x[3 * 4 + m] = 2e4;
    const outcome o = s.run(j);
    CHECK(o.nonfinite_outputs == 1);
    CHECK(o.nonfinite_tokens == 0);
  }
}

TEST_CASE("all logits equal: the lowest experts, finite gradients", "[errors]") {
  for (const subject& s : subjects()) {
    sy::switch_config c{.d_model = 4, .d_ff = 6, .experts = 3, .routing = sy::routing_policy::top_k};
    c.importance = c.load = c.router_z = 1;
    job j = random_job(c, 1, 12, 42);
    j.weights.router.assign(12, 0);
    const outcome o = s.run(j);
    for (std::size_t t = 0; t < 12; ++t) CHECK((o.choice[2 * t] == 0 && o.choice[2 * t + 1] == 1));
    for (const auto* v : {&o.y, &o.dx, &o.gradient.router, &o.gradient.wi})
      for (const double d : *v) CHECK(std::isfinite(d));
    CHECK(o.importance == 0); // perfectly balanced, where a standard deviation would have no gradient
  }
}

TEST_CASE("huge logits do not overflow the softmax", "[errors]") {
  std::size_t tried = 0;
  for (const char* precision : {"uniform<float>", "uniform<double>"})
    for (const subject& s : subjects_of(precision)) {
      ++tried;
      job j = random_job(good(), 1, 9, 43);
      for (double& v : j.x) v *= 1e15;
      for (double& v : j.weights.router) v *= 1e15;
      const outcome o = s.run(j);
      for (const double p : o.probs) CHECK((p >= 0 && p <= 1));
      CHECK(o.nonfinite_tokens == 0);
    }
  if (tried == 0) SKIP("built without uniform<float> and uniform<double>");
}

TEST_CASE("capacity zero drops everything, capacity above the group keeps everything", "[errors]") {
  for (const subject& s : subjects()) {
    sy::switch_config c{.d_model = 4, .d_ff = 6, .experts = 3, .capacity_factor = 0.1, .min_capacity = 0};
    const outcome none = s.run(random_job(c, 1, 9, 44));
    CHECK(none.dropped_fraction == 1);
    for (const double v : none.y) CHECK(v == 0);
    for (const double v : none.gradient.wo) CHECK(v == 0);
    c.min_capacity = 1000;
    CHECK(s.run(random_job(c, 1, 9, 44)).dropped_fraction == 0);
  }
}

TEST_CASE("an expert without tokens has a gradient of exact zeros", "[errors]") {
  for (const subject& s : subjects()) {
    job j = random_job(good(), 1, 9, 45);
    j.config.dropless = true;
    j.weights.router.assign(12, 0);
    for (std::size_t t = 0; t < 9; ++t) j.x[t * 4] = 5;
    j.weights.router[1] = 3; // all to expert 1
    const outcome o = s.run(j);
    for (std::size_t i = 0; i < 72; ++i)
      if (i / 24 != 1) CHECK((o.gradient.wi[i] == 0 && o.gradient.wo[i] == 0));
  }
}

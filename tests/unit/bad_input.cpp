// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "allocations.hpp"
#include "built.hpp"
#include "harness.hpp"
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <switchyard/switchyard.hpp>

// Bad configurations, extents, views, weights and tapes have their own clear errors; numbers that are not, a result.

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

TEST_CASE("views with gaps or without memory are refused", "[errors]") {
  sy::switch_config c = good();
  c.d_model = 33;
  const Kokkos::DefaultExecutionSpace exec;
  const layer_type layer(c);
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  const auto gradients = layer.zeros(exec);
  auto tape = layer.make_tape(exec, 2, 5);
  const view x("x", 2, 5, 33), y("y", 2, 5, 33), dy("dy", 2, 5, 33), dx("dx", 2, 5, 33);
  const view padded(Kokkos::view_alloc("padded", Kokkos::AllowPadding), 2, 5, 33),
      nowhere(static_cast<double*>(nullptr), 2, 5, 33);
  REQUIRE_FALSE(padded.span_is_contiguous());
  const std::string gaps = ": its values must lie in a row", memory = ": a view of 330 values without memory";
  CHECK_SAYS(layer.forward(exec, packed, padded, y, tape), "x" + gaps);
  CHECK_SAYS(layer.forward(exec, packed, x, padded, tape), "y" + gaps);
  CHECK_SAYS(layer.forward(exec, packed, nowhere, y, tape), "x" + memory);
  CHECK_SAYS(layer.forward(exec, packed, x, nowhere, tape), "y" + memory);
  layer.forward(exec, packed, x, y, tape);
  CHECK_SAYS(layer.backward(exec, packed, padded, dx, tape, gradients), "dy" + gaps);
  CHECK_SAYS(layer.backward(exec, packed, dy, padded, tape, gradients), "dx" + gaps);
  CHECK_SAYS(layer.backward(exec, packed, nowhere, dx, tape, gradients), "dy" + memory);
  CHECK_SAYS(layer.backward(exec, packed, dy, nowhere, tape, gradients), "dx" + memory);

  auto weights = layer.init(exec, sy::seed{1});
  using stack = decltype(weights.wo);
  weights.wo = stack(Kokkos::view_alloc("padded", Kokkos::AllowPadding), 3, 6, 33);
  CHECK_SAYS(layer.pack(exec, weights), "weights.wo" + gaps);
  weights.wo = stack(static_cast<double*>(nullptr), 3, 6, 33);
  CHECK_SAYS(layer.pack(exec, weights), "weights.wo: a view of 594 values without memory");
}

TEST_CASE("a mask may have gaps, but not lack memory", "[errors]") {
  using mask_view = Kokkos::View<float**, Kokkos::LayoutRight, layer_type::space>;
  const Kokkos::DefaultExecutionSpace exec;
  const layer_type layer(good());
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  auto tape = layer.make_tape(exec, 2, 5);
  const view x("x", 2, 5, 4), y("y", 2, 5, 4);
  sy::forward_options<layer_type::space> options;
  options.mask = mask_view(static_cast<float*>(nullptr), 2, 5);
  CHECK_SAYS(layer.forward(exec, packed, x, y, tape, options), "mask: a view of 10 values without memory");
  const mask_view all("all", 2, 40);
  Kokkos::deep_copy(Kokkos::subview(all, Kokkos::ALL, std::pair(0, 3)), 1.0f); // of each group 3 tokens are real
  options.mask = Kokkos::subview(all, Kokkos::ALL, std::pair(0, 5));
  REQUIRE_FALSE(options.mask.span_is_contiguous());
  layer.forward(exec, packed, x, y, tape, options);
  CHECK(layer.summary(exec, tape).tokens == 6);
}

TEST_CASE("weights, gradients, packed weights and tapes of another configuration are refused", "[errors]") {
  const Kokkos::DefaultExecutionSpace exec;
  const layer_type layer(good());
  const auto weights = layer.init(exec, sy::seed{1});
  const auto packed = layer.pack(exec, weights);
  const auto gradients = layer.zeros(exec);
  auto tape = layer.make_tape(exec, 2, 5);
  const view x("x", 2, 5, 4), y("y", 2, 5, 4), dx("dx", 2, 5, 4);
  layer.forward(exec, packed, x, y, tape);

  struct other {
    std::function<void(sy::switch_config&)> change;
    std::string parameters, packed, tape; // how each is refused; "" where it serves as well
  };
  const std::string none = ": must be 0 for this layer, whose configuration has none";
  const other all[] = {
      {[](auto& c) { c.d_model = 8; }, "router.extent(0) = 8: must be 4", "d_model = 8", "d_model = 8"},
      {[](auto& c) { c.d_ff = 5; }, "wi.extent(2) = 5: must be 6", "d_ff here = 5", "d_ff here = 5"},
      {[](auto& c) { c.experts = 2; }, "router.extent(1) = 2: must be 3", "experts = 2", "experts = 2"},
      {[](auto& c) { c.gated = true; }, "wi_gate.extent(0) = 3" + none, "gated = 1", "gated = 1"},
      {[](auto& c) { c.bias = true; }, "bi.extent(0) = 3" + none, "bias = 1", "bias = 1"},
      {[](auto& c) { c.canonical = 2; }, "", "canonical = 2", "canonical = 2"},
      {[](auto& c) { c.routing = sy::routing_policy::expert_choice; }, "", "", "routing = "},
      {[](auto& c) { c.routing = sy::routing_policy::top_k, c.k = 1; }, "", "", "routing = "},
      {[](auto& c) { c.order = sy::slot_order::batch_prioritized; }, "", "", "slot order = "},
      {[](auto& c) { c.min_capacity = 5; }, "", "", "capacity = 5, but this layer has 4"},
      {[](auto& c) { c.dropless = true; }, "", "", "capacity = 5, but this layer has 4"},
      {[](auto& c) { c.activation = sy::activation_kind::gelu; }, "", "", "activation = "},
      {[](auto& c) { c.jitter = 0.1; }, "", "", "noise on the router's input = 1"},
      {[](auto& c) { c.load_balance = 1, c.seed = 3, c.expert_dropout = 0.1; }, "", "", ""},
  };
  for (const other& o : all) {
    sy::switch_config c = good();
    o.change(c);
    const layer_type another(c);
    const auto said = [](const auto& call) -> std::string {
      try {
        call();
      } catch (const sy::invalid_argument& e) {
        return e.what();
      }
      return "";
    };
    const auto check = [&](const std::string& is, const std::string& what, const std::string& why) {
      INFO(is);
      CHECK((why.empty() ? is.empty() : is.find(what + why) != std::string::npos));
    };
    const auto its_weights = another.init(exec, sy::seed{1});
    const auto its_packed = another.pack(exec, its_weights);
    const auto its_gradients = another.zeros(exec);
    auto its_tape = another.make_tape(exec, 2, 5);
    its_tape.x = tape.x;
    check(said([&] { layer.pack(exec, its_weights); }), "weights.", o.parameters);
    check(said([&] { layer.pack(exec, weights, its_packed); }), "packed weights: made for ", o.packed);
    check(said([&] { layer.forward(exec, its_packed, x, y, tape); }), "packed weights: made for ", o.packed);
    check(said([&] { layer.backward(exec, its_packed, y, dx, tape, gradients); }), "packed weights: made for ",
          o.packed);
    check(said([&] { layer.backward(exec, packed, y, dx, tape, its_gradients); }), "gradients.", o.parameters);
    check(said([&] { layer.backward(exec, packed, y, dx, tape, its_gradients, {.accumulate = true}); }), "gradients.",
          o.parameters);
    check(said([&] { layer.forward(exec, packed, x, y, its_tape); }), "tape: made for ", o.tape);
    its_tape.forward_done = true;
    check(said([&] { layer.backward(exec, packed, y, dx, its_tape, gradients); }), "tape: made for ", o.tape);
  }
  CHECK_SAYS(layer.forward(exec, layer_type::packed_type{}, x, y, tape), "packed weights: made for d_model = 0");
  layer_type::tape_type nothing;
  CHECK_SAYS(layer.forward(exec, packed, x, y, nothing), "tape: made for d_model = 0");
}

TEST_CASE("a tape that is too large is refused before anything is allocated", "[errors]") {
  const Kokkos::DefaultExecutionSpace exec;
  constexpr std::int64_t many = std::int64_t{1} << 31;
  allocation_watch watch(false);
  CHECK_SAYS(layer_type(good()).make_tape(exec, 1, many), "tokens = 2147483648: must be in [0, 2^31)");
  CHECK_SAYS(layer_type(good()).make_tape(exec, many, many - 1), "more than 64 bits can address");
  CHECK_SAYS(layer_type(good()).make_tape(exec, std::numeric_limits<std::int64_t>::max(), 1),
             "groups = 9223372036854775807");
  sy::switch_config c = good();
  c.d_ff = many - 1; // groups times tokens fits, the hidden layer does not
  CHECK_SAYS(layer_type(c).make_tape(exec, 1, many - 1), "more than 64 bits can address");
  c = good();
  c.min_capacity = std::int64_t{1} << 62;
  CHECK_SAYS(layer_type(c).make_tape(exec, 1, 1), "more than 64 bits can address");
  CHECK(watch.count() == 0);
}

#ifndef __SANITIZE_ADDRESS__ // which ends the program where memory is refused
TEST_CASE("memory that there is not is an error that says how much it was", "[errors]") {
  sy::switch_config c = good();
  c.experts = std::int64_t{1} << 28;
  const layer_type layer(c);
  const Kokkos::DefaultExecutionSpace exec;
  const std::string bytes = std::to_string(sy::memory_of<sy::uniform<double>>(c, 1, 1 << 20).tape); // 2^48 logits
  CHECK_THROWS_MATCHES(layer.make_tape(exec, 1, 1 << 20), sy::error,
                       MessageMatches(ContainsSubstring("tokens = 1048576: no memory for the tape, which needs about " +
                                                        bytes + " bytes")));
  CHECK_NOTHROW(layer_type(good()).make_tape(exec, 1, 5));
}
#endif

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

TEST_CASE("NaN in the weights of one expert stays in its tokens and is counted", "[errors]") {
  for (const subject& s : subjects())
    for (const auto routing : {sy::routing_policy::top_1, sy::routing_policy::top_k,
                               sy::routing_policy::no_token_left_behind, sy::routing_policy::expert_choice})
      for (const auto& [weights, bad] :
           {std::pair(&sy::reference_weights::wi, nan_value), std::pair(&sy::reference_weights::wo, nan_value),
            std::pair(&sy::reference_weights::wo, infinity)}) {
        INFO(s.precision << " routing " << static_cast<int>(routing) << " weight " << bad);
        const sy::switch_config c{.d_model = 4, .d_ff = 6, .experts = 3, .routing = routing};
        const job j = random_job(c, 1, 17, 47);
        const outcome clean = s.run(j);
        job broken = j;
        for (std::size_t i = 24; i < 48; ++i) (broken.weights.*weights)[i] = bad; // expert 1
        const outcome o = s.run(broken);
        CHECK(o.choice == clean.choice);
        CHECK(o.slot == clean.slot);
        CHECK(o.nonfinite_tokens == 0);
        const std::size_t k = o.choice.size() / 17;
        double taken = 0;
        for (std::size_t t = 0; t < 17; ++t) {
          bool reached = false;
          for (std::size_t i = t * k; i < (t + 1) * k; ++i) reached = reached || (o.choice[i] == 1 && o.slot[i] >= 0);
          taken += reached;
          for (std::size_t i = t * 4; i < (t + 1) * 4; ++i)
            if (reached)
              CHECK_FALSE(std::isfinite(o.y[i]));
            else
              CHECK((o.y[i] == clean.y[i] && o.dx[i] == clean.dx[i]));
        }
        CHECK((taken > 0 && taken < 17));
        CHECK(o.nonfinite_outputs == taken);
        for (std::size_t i = 0; i < 72; ++i)
          if (i / 24 != 1)
            CHECK((o.gradient.wi[i] == clean.gradient.wi[i] && o.gradient.wo[i] == clean.gradient.wo[i]));
        CHECK(o.guards_intact);
      }
}

TEST_CASE("a zero is a zero, whatever its sign", "[errors]") {
  for (const subject& s : subjects())
    for (const auto routing : {sy::routing_policy::top_1, sy::routing_policy::top_k,
                               sy::routing_policy::no_token_left_behind, sy::routing_policy::expert_choice}) {
      INFO(s.precision << " routing " << static_cast<int>(routing));
      sy::switch_config c{.d_model = 4, .d_ff = 6, .experts = 3, .routing = routing};
      job plus = random_job(c, 1, 17, 48);
      for (std::size_t i = 0; i < plus.x.size(); ++i)
        if (i < 12 || i % 3 == 0) plus.x[i] = plus.dy[i] = 0; // the first 3 tokens whole
      job minus = plus;
      for (auto* v : {&minus.x, &minus.dy})
        for (double& d : *v)
          if (d == 0) d = -0.0;
      const outcome a = s.run(plus), b = s.run(minus);
      CHECK(std::signbit(b.x[0]));
      CHECK((a.choice == b.choice && a.slot == b.slot && a.logits == b.logits && a.gate == b.gate));
      CHECK((a.y == b.y && a.dx == b.dx && a.gradient.router == b.gradient.router));
      CHECK((a.gradient.wi == b.gradient.wi && a.gradient.wo == b.gradient.wo));
      CHECK(b.nonfinite_outputs == 0);
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

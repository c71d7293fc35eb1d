// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The reference layer against numbers from elsewhere: golden vectors, constants of public test suites, cases small
// enough for a hand. Its gradients have tests/gradients/reference_gradients.cpp.

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <switchyard/layer/reference_layer.hpp>
#include <utility>
#include <vector>

namespace sw = switchyard;
using Catch::Matchers::WithinAbs;
using ints = std::vector<std::int64_t>;
using doubles = std::vector<double>;

namespace {

/// Eight tokens, three experts: the logits of the golden vectors.
const doubles golden_logits{2, 1, 0, 1.5, 1, .5, 3, 0, 2, 0, 1, .5, 2.5, 2, 0, 1, .9, .8, .2, .1, 4, 5, 1, 0};

/// A layer over tokens that are their own logits (the router is the identity).
struct identity_layer {
  sw::switch_config config;
  sw::reference_weights weights;
  sw::reference_input input;

  identity_layer(std::int64_t groups, std::int64_t experts, doubles logits) {
    config.d_model = config.experts = experts;
    config.d_ff = 1;
    config.min_capacity = 0;
    const auto E = static_cast<std::size_t>(experts);
    weights.router.assign(E * E, 0.0);
    for (std::size_t e = 0; e < E; ++e) weights.router[e * E + e] = 1;
    weights.wi.assign(E * E, 1.0);
    weights.wo.assign(E * E, 1.0);
    input.groups = groups;
    input.tokens = groups == 0 ? 0 : static_cast<std::int64_t>(logits.size()) / (groups * experts);
    input.x = std::move(logits);
  }
  /// Exactly `slots` slots per expert; the factor survives truncation at the sizes used here.
  void set_capacity(std::int64_t slots) {
    config.capacity_factor = static_cast<double>(slots * config.experts) / static_cast<double>(input.tokens);
  }
  sw::reference_output forward() const { return sw::reference_forward(config, weights, input); }
};

/// The golden layer with `slots` slots per expert.
identity_layer golden(sw::routing_policy routing, std::int64_t slots, int k = 0) {
  identity_layer layer(1, 3, golden_logits);
  layer.config.routing = routing;
  layer.config.k = k;
  layer.set_capacity(slots);
  return layer;
}

/// One expert of width 1: y = act(x) with unit weights.
double scalar_expert(sw::activation_kind activation, double x) {
  identity_layer layer(1, 1, {x});
  layer.config.activation = activation;
  layer.config.dropless = true;
  return layer.forward().y[0];
}

void check_close(const doubles& actual, const doubles& expected, double tolerance) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(i);
    CHECK_THAT(actual[i], WithinAbs(expected[i], tolerance));
  }
}

} // namespace

TEST_CASE("golden top-1: experts, slots, drops", "[reference]") {
  auto layer = golden(sw::routing_policy::top_1, 2);
  const auto out = layer.forward();
  CHECK(out.capacity == 2);
  CHECK(out.expert_index == ints{0, 0, 0, 1, 0, 0, 2, 0});
  CHECK(out.kept == ints{1, 1, 0, 1, 0, 0, 1, 0});
  CHECK(out.slot == ints{0, 1, -1, 0, -1, -1, 0, -1});
  CHECK(out.load == ints{2, 1, 1});
  CHECK(out.dropped_fraction == 0.5);
  layer.config.dropless = true;
  CHECK(layer.forward().slot == ints{0, 1, 2, 0, 3, 4, 0, 5});
}

TEST_CASE("golden top-2: choice-major slots", "[reference]") {
  const auto out = golden(sw::routing_policy::top_k, 3).forward();
  CHECK(out.expert_index == ints{0, 1, 0, 1, 0, 2, 1, 2, 0, 1, 0, 1, 2, 0, 0, 1});
  CHECK(out.kept == ints{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0});
  CHECK(out.slot == ints{0, 1, 1, 2, 2, 1, 0, 2, -1, -1, -1, -1, 0, -1, -1, -1});
}

TEST_CASE("golden top-2: renormalized gates and the threshold", "[reference]") {
  auto layer = golden(sw::routing_policy::top_k, 8);
  layer.config.renormalize = sw::renormalize_policy::before_drop;
  check_close(layer.forward().gate,
              {.731059, .268941, .622459, .377541, .731059, .268941, .622459, .377541, .622459, .377541, .524979,
               .475021, .978119, .021881, .982014, .017986},
              1e-6);
  layer.config.second_expert = sw::second_expert_policy::threshold;
  for (const auto renormalize :
       {sw::renormalize_policy::none, sw::renormalize_policy::before_drop, sw::renormalize_policy::after_drop}) {
    layer.config.renormalize = renormalize;
    const auto out = layer.forward();
    CHECK(out.kept == ints{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0});
    CHECK(out.expert_index == ints{0, 1, 0, 1, 0, 2, 1, 2, 0, 1, 0, 1, 2, -1, 0, -1});
    CHECK(out.slot[13] == -1);
    CHECK(out.gate[15] == 0);
    CHECK(out.dropped_fraction == 0); // what the policy removes was not wanted
  }
}

TEST_CASE("golden batch-prioritized order", "[reference]") {
  auto layer = golden(sw::routing_policy::top_1, 2);
  layer.config.order = sw::slot_order::batch_prioritized;
  const auto out = layer.forward();
  CHECK(out.kept == ints{0, 0, 1, 1, 0, 0, 1, 1});
  doubles confidence;
  for (std::size_t t = 0; t < 8; ++t)
    confidence.push_back(std::max({out.probs[t * 3], out.probs[t * 3 + 1], out.probs[t * 3 + 2]}));
  CHECK(sw::detail::largest(confidence, 8) == std::vector<std::size_t>{7, 6, 2, 0, 4, 1, 3, 5});
  layer.config.dropless = true;
  CHECK(layer.forward().slot == ints{2, 4, 1, 0, 3, 5, 0, 0});
}

TEST_CASE("golden no-token-left-behind", "[reference]") {
  const auto out = golden(sw::routing_policy::no_token_left_behind, 3, 3).forward();
  // three stages per token
  CHECK(out.expert_index ==
        ints{0, -1, -1, 0, -1, -1, 0, -1, -1, 1, -1, -1, -1, 1, -1, -1, 1, -1, 2, -1, -1, -1, -1, 2});
  CHECK(out.slot == ints{0, -1, -1, 1, -1, -1, 2, -1, -1, 0, -1, -1, -1, 1, -1, -1, 2, -1, 0, -1, -1, -1, -1, 1});
  for (std::size_t i = 0; i < 24; ++i) {
    CAPTURE(i);
    CHECK(out.kept[i] == (out.slot[i] >= 0 ? 1 : 0));
  }
  CHECK(out.gate[4 * 3 + 1] == out.probs[4 * 3 + 1]); // token 4 at its second expert, token 7 at its third
  CHECK(out.gate[7 * 3 + 2] == out.probs[7 * 3 + 2]);
  CHECK(out.gate[7 * 3 + 0] == 0);
  CHECK(out.dropped_fraction == 0);

  const auto tight = golden(sw::routing_policy::no_token_left_behind, 2, 3).forward(); // 6 slots for 8 tokens
  CHECK(tight.dropped_fraction == 0.25);
}

TEST_CASE("golden expert choice", "[reference]") {
  const auto out = golden(sw::routing_policy::expert_choice, 3).forward();
  CHECK(out.token_index == ints{7, 2, 0, 3, 4, 5, 6, 3, 5});
  CHECK(out.gate[0] == out.probs[7 * 3 + 0]);
  CHECK(out.gate[5] == out.probs[5 * 3 + 1]);
  CHECK(out.load == ints{3, 3, 3});
  CHECK(out.dropped_fraction == 0.125); // token 1
  CHECK(out.load_balance_loss == 0);
  CHECK(out.kept.empty());
}

TEST_CASE("golden losses", "[reference]") {
  auto layer = golden(sw::routing_policy::top_k, 3);
  auto out = layer.forward();
  CHECK(out.fraction == doubles{.75, .125, .125});
  doubles P(3, 0.0);
  for (std::size_t i = 0; i < out.probs.size(); ++i) P[i % 3] += out.probs[i] / 8;
  check_close(P, {.502476, .227777, .269746}, 1e-6);
  CHECK_THAT(out.load_balance_loss, WithinAbs(1.317143, 1e-6));
  CHECK_THAT(out.load_balance_loss / 9, WithinAbs(.146349, 1e-6)); // the scale of the GShard paper
  CHECK_THAT(out.router_z_loss, WithinAbs(9.915597, 1e-6));
  CHECK_THAT(out.importance_loss, WithinAbs(.131384, 1e-6));
  layer.config.load_balance_form = sw::balance_form::any_of_k;
  CHECK_THAT(layer.forward().load_balance_loss, WithinAbs(2.134964, 1e-6));
  layer.config.second_expert = sw::second_expert_policy::none; // f counts the choices before the policy
  CHECK_THAT(layer.forward().load_balance_loss, WithinAbs(2.134964, 1e-6));
}

TEST_CASE("golden capacities", "[reference]") {
  struct row {
    std::int64_t tokens, experts;
    double factor;
    std::int64_t minimum, truncate, half_even, multiple_of_4;
  };
  for (const row& r :
       {row{4096, 128, 1.25, 4, 40, 40, 40}, row{1000, 64, 1.25, 4, 19, 20, 20}, row{28, 8, 1.0, 0, 3, 4, 4},
        row{20, 8, 1.0, 0, 2, 2, 4}, row{6, 3, 1.0, 0, 2, 2, 4}, row{6, 3, 1.5, 0, 3, 3, 4},
        row{392, 8, 1.05, 4, 51, 51, 52}, row{1024, 512, 1.25, 4, 4, 4, 4}, row{1024, 512, 1.25, 0, 2, 2, 4}}) {
    CAPTURE(r.tokens, r.experts, r.factor, r.minimum);
    sw::switch_config c{.experts = r.experts, .capacity_factor = r.factor, .min_capacity = r.minimum};
    const auto slots = [&](sw::capacity_policy rounding) {
      c.capacity_rounding = rounding;
      return sw::reference_capacity(c, r.tokens, true);
    };
    CHECK(slots(sw::capacity_policy::truncate) == r.truncate);
    CHECK(slots(sw::capacity_policy::half_even) == r.half_even);
    CHECK(slots(sw::capacity_policy::multiple_of_4) == r.multiple_of_4);
  }
}

TEST_CASE("capacity: clamps, rounding, evaluation", "[reference]") {
  using enum sw::capacity_policy;
  const auto slots = [](sw::switch_config c, std::int64_t tokens, bool training = true) {
    return sw::reference_capacity(c, tokens, training);
  };
  CHECK(slots({.experts = 2, .capacity_factor = 100}, 9) == 9);   // the group
  CHECK(slots({.experts = 2, .capacity_factor = 1e300}, 9) == 9); // the group, whatever the factor
  CHECK(slots({.experts = 2, .capacity_factor = 100}, 3) == 4);   // the minimum exceeds the group
  CHECK(slots({.experts = 2}, 0) == 4);                           // even an empty one
  CHECK(slots({.experts = 8, .capacity_factor = .1, .min_capacity = 0}, 8) == 0);
  CHECK(slots({.experts = 2, .capacity_factor = 100, .dropless = true}, 3) == 3);
  CHECK(slots({.experts = 2, .routing = sw::routing_policy::expert_choice}, 3) == 3);
  CHECK(slots({.experts = 8, .capacity_factor = 1, .capacity_rounding = ceil, .min_capacity = 0}, 17) == 3);
  CHECK(slots({.experts = 8, .capacity_factor = 1, .capacity_rounding = ceil, .min_capacity = 0}, 16) == 2);
  CHECK(slots({.experts = 8, .capacity_factor = 1, .capacity_rounding = half_even, .min_capacity = 0}, 12) == 2);
  CHECK(slots({.experts = 1, .capacity_factor = 1, .capacity_rounding = multiple_of_4, .min_capacity = 0}, 5) == 5);
  CHECK(slots({.experts = 9, .capacity_factor = 1, .capacity_rounding = multiple_of_4, .min_capacity = 0}, 8) == 0);
  const sw::switch_config evaluated{.experts = 4, .capacity_factor = 1, .eval_capacity_factor = 2};
  CHECK(slots(evaluated, 32, true) == 8);
  CHECK(slots(evaluated, 32, false) == 16);
  CHECK(slots({.experts = 4, .capacity_factor = 1}, 32, false) == 8);
}

// The inputs and values of SwitchTransformerRouterTest in huggingface/transformers
// (tests/models/switch_transformers/test_modeling_switch_transformers.py), which are those of flaxformer's routing
// tests.
TEST_CASE("constants of public test suites", "[reference]") {
  SECTION("load-balancing loss of given probabilities and choices") {
    const doubles probs{0.35490513, 0.60419905, 0.4275843,  0.23061597, 0.32985854,
                        0.43953657, 0.25099766, 0.27730572, 0.7678207,  0.71474564};
    doubles P(2, 0.0);
    for (std::size_t i = 0; i < probs.size(); ++i) P[i % 2] += probs[i] / 5;
    CHECK_THAT(sw::detail::load_balance_of({3.0 / 5, 2.0 / 5}, P), WithinAbs(0.8741043912, 1e-9));
  }
  SECTION("router z-loss") {
    const doubles logits{-4.2124424,  3.891939,   -3.6481273,  1.8849981,   0.32625437, 2.918651,   0.84758997,
                         -4.556842,   -3.32062,   4.6977115,   -0.15439987, 0.44086337, 3.4467149,  4.3436565,
                         -4.7224274,  -4.264637,  -2.224406,   -2.5318158,  -1.3832569, 1.1891162,  -2.320062,
                         -0.44705987, 4.289819,   -0.00662684, 0.99470854,  -0.6992364, 0.25503993, 4.2952085,
                         3.5937333,   -3.2408535, -4.298278,   4.426601,    0.7669008,  2.6588762,  2.4505413,
                         4.6051874,   0.23330331, -3.0845237,  0.6262374,   -2.9865491, 0.7595146,  -2.1099675,
                         -4.155346,   -2.8326452, 2.3771453,   1.004138,    -3.1781673, 0.7581556};
    CHECK_THAT(identity_layer(2, 4, logits).forward().router_z_loss, WithinAbs(13.7867195288, 1e-9));
  }
  SECTION("router") {
    const sw::switch_config config{.d_model = 4, .d_ff = 1, .experts = 2};
    const sw::reference_weights weights{
        .router = {0.02008116, 0.00620062, -0.00811031, -0.00031623, -0.03542127, 0.02703803, 0.02335377, -0.02971946},
        .wi = doubles(8, 1.0),
        .wo = doubles(8, 1.0)};
    sw::reference_input input{.groups = 2, .tokens = 3};
    input.x = {0.6433916,  0.18188512, 0.02240455, 0.563781,   0.5526401,  0.0958724,  0.34253013, 0.03644359,
               0.08744538, 0.7909105,  0.35205448, 0.53364205, 0.02900076, 0.4168595,  0.5802449,  0.91486526,
               0.27414513, 0.14991808, 0.9383501,  0.5209162,  0.51207185, 0.90618336, 0.7309413,  0.95533276};
    const auto out = sw::reference_forward(config, weights, input);
    CHECK(out.expert_index == ints{0, 1, 0, 0, 1, 0});
    CHECK_THAT(out.router_z_loss, WithinAbs(0.4789799025, 1e-9));
    CHECK_THAT(out.load_balance_loss, WithinAbs(1.0003087348, 1e-9));
  }
}

TEST_CASE("activations", "[reference]") {
  using enum sw::activation_kind;
  CHECK(scalar_expert(relu, 1.5) == 1.5);
  CHECK(scalar_expert(relu, -1.5) == 0);
  CHECK(std::isnan(sw::detail::reference_activation(relu, std::numeric_limits<double>::quiet_NaN())));
  CHECK_THAT(scalar_expert(gelu, 1), WithinAbs(0.8413447460685429, 1e-15));
  CHECK_THAT(scalar_expert(gelu, -1), WithinAbs(-0.1586552539314571, 1e-15));
  CHECK_THAT(scalar_expert(gelu_tanh, 1), WithinAbs(0.8411919906082768, 1e-15));
  CHECK_THAT(scalar_expert(gelu_tanh, -1), WithinAbs(-0.1588080093917232, 1e-15));
  CHECK_THAT(scalar_expert(silu, 1), WithinAbs(0.7310585786300049, 1e-15));
  CHECK_THAT(scalar_expert(silu, -1), WithinAbs(-0.2689414213699951, 1e-15));
  CHECK(sw::detail::reference_activation_derivative(relu, 0) == 0);
}

TEST_CASE("experts by hand: gate and bias", "[reference]") {
  // Two groups of one token, two experts, M = F = 1. Token 0 (x = 3) goes to expert 0, token 1 (x = -2) to expert 1;
  // the softmax of (ln 3, 0) is (3/4, 1/4).
  sw::switch_config config{.d_model = 1, .d_ff = 1, .experts = 2};
  const double ln3 = std::log(3.0);
  sw::reference_weights weights{.router = {ln3, 0}, .wi = {2, 5}, .wo = {7, 11}};
  sw::reference_input input{.groups = 2, .tokens = 1, .x = {3, -2}};
  input.input_scale = {1.0 / 3, 0.5}; // the router sees 1 and -1, the experts 3 and -2
  CHECK(sw::reference_forward(config, weights, input).expert_index == ints{0, 1});

  check_close(sw::reference_forward(config, weights, input).y, {0.75 * 6 * 7, 0}, 1e-14); // relu(-10) = 0
  config.bias = true;
  weights.bi = {1, 20};
  weights.bo = {100, 1000};
  check_close(sw::reference_forward(config, weights, input).y, {0.75 * (7 * 7 + 100), 0.75 * (10 * 11 + 1000)}, 1e-12);
  config.gated = true; // hidden = relu(x wi_gate + bi_gate) (x wi + bi)
  weights.wi_gate = {1, -1};
  weights.bi_gate = {0.5, 0.25};
  check_close(sw::reference_forward(config, weights, input).y,
              {0.75 * (3.5 * 7 * 7 + 100), 0.75 * (2.25 * 10 * 11 + 1000)}, 1e-11);
}

TEST_CASE("expert dropout is indexed [E,G,C,F]", "[reference]") {
  // Three groups of two tokens; (2,-1) goes to expert 0, (-1,2) to expert 1, hidden layers are (1,1).
  identity_layer layer(3, 2, {2, -1, 2, -1, -1, 2, -1, 2, -1, 2, 2, -1});
  layer.config.d_ff = 2;
  layer.weights.wi.assign(8, 1.0);
  layer.weights.wo = {1, 0, 0, 1, 1, 0, 0, 1};
  layer.set_capacity(2);
  for (int i = 0; i < 24; ++i) layer.input.hidden_scale.push_back(i);
  const auto out = layer.forward();
  const std::vector<std::size_t> row{0, 1, 8, 9, 10, 4}; // (e G + g) C + c
  for (std::size_t t = 0; t < 6; ++t)
    for (std::size_t f = 0; f < 2; ++f)
      CHECK_THAT(out.y[t * 2 + f], WithinAbs(out.gate[t] * static_cast<double>(row[t] * 2 + f), 1e-13));
}

TEST_CASE("top-k gates with a dropped choice", "[reference]") {
  // Softmax (1/2, 3/10, 1/5) for both tokens, one slot per expert: the second token is dropped everywhere but at none.
  const doubles row{std::log(5.0), std::log(3.0), std::log(2.0)};
  identity_layer layer(1, 3, {row[0], row[1], row[2], row[0], row[2], row[1]});
  layer.config.routing = sw::routing_policy::top_k;
  layer.config.capacity_factor = 1.5; // C = 1
  auto out = layer.forward();
  CHECK(out.expert_index == ints{0, 1, 0, 2});
  CHECK(out.kept == ints{1, 1, 0, 1});
  check_close(out.gate, {.5, .3, 0, .3}, 1e-15);
  CHECK(out.dropped_fraction == 0.25);
  layer.config.renormalize = sw::renormalize_policy::before_drop;
  check_close(layer.forward().gate, {.5 / (.8 + 1e-9), .3 / (.8 + 1e-9), 0, .3 / (.8 + 1e-9)}, 1e-15);
  layer.config.renormalize = sw::renormalize_policy::after_drop;
  check_close(layer.forward().gate, {.625, .375, 0, 1}, 1e-15);
  layer.config.second_expert = sw::second_expert_policy::none;
  out = layer.forward();
  check_close(out.gate, {1, 0, 0, 0}, 0);
  CHECK(out.expert_index == ints{0, -1, 0, -1});
  CHECK(out.dropped_fraction == 0.5);
  for (std::size_t m = 0; m < 3; ++m) CHECK((out.y[3 + m] == 0 && !std::signbit(out.y[3 + m]))); // dropped: exactly +0

  layer.config.k = 1; // literally p / (p + 1e-9)
  layer.config.renormalize = sw::renormalize_policy::before_drop;
  CHECK(layer.forward().gate[0] == out.probs[0] / (out.probs[0] + 1e-9));
}

TEST_CASE("second-expert policy random", "[reference]") {
  identity_layer layer(1, 2, {std::log(9.0), 0, std::log(9.0), 0, std::log(9.0), 0}); // share of the second: 1/10
  layer.config.routing = sw::routing_policy::top_k;
  layer.config.dropless = true;
  layer.config.second_expert = sw::second_expert_policy::random;
  layer.config.threshold = 0.2; // kept with probability 1/2
  CHECK_THROWS_AS(layer.forward(), sw::invalid_argument);
  layer.input.second_uniform = {.99, .49, .99, .51, .99, 0};
  CHECK(layer.forward().kept == ints{1, 1, 1, 0, 1, 1});
  CHECK(layer.forward().slot == ints{0, 0, 1, -1, 2, 1}); // a removed choice takes no slot
  layer.config.threshold = 0;
  layer.input.second_uniform.assign(6, .999);
  CHECK(layer.forward().kept == ints(6, 1));
  layer.input.x = {28, 0, 28, 0, 28, 0}; // a share of 7e-13, over the least divisor 1e-9
  CHECK(layer.forward().kept == ints{1, 0, 1, 0, 1, 0});
}

TEST_CASE("the threshold: strict, on shares of the k, for every later choice", "[reference]") {
  identity_layer layer(1, 4, {std::log(5.0), std::log(3.0), std::log(2.0), std::log(.5)});
  layer.config.routing = sw::routing_policy::top_k;
  layer.config.k = 3;
  layer.config.dropless = true;
  layer.config.second_expert = sw::second_expert_policy::threshold;
  const auto probs = layer.forward().probs;
  const double sum = probs[0] + probs[1] + probs[2] + 1e-9; // shares 1/2, 3/10, 1/5: more than p
  const auto kept = [&](double threshold) {
    layer.config.threshold = threshold;
    return layer.forward().kept;
  };
  CHECK(kept(.6) == ints{1, 0, 0}); // the first stays
  CHECK(kept(.295) == ints{1, 1, 0});
  CHECK(kept(.195) == ints{1, 1, 1});
  CHECK(kept(probs[2] / sum) == ints{1, 1, 0});
}

TEST_CASE("renormalization and second-expert policies act on top_k alone", "[reference]") {
  for (const auto routing : {sw::routing_policy::top_1, sw::routing_policy::no_token_left_behind}) {
    auto layer = golden(routing, 2, 3);
    const auto before = layer.forward();
    layer.config.renormalize = sw::renormalize_policy::before_drop;
    layer.config.second_expert = sw::second_expert_policy::none;
    const auto after = layer.forward();
    CHECK(after.gate == before.gate);
    CHECK(after.expert_index == before.expert_index);
    CHECK(after.y == before.y);
  }
}

TEST_CASE("sampled experts keep the gate p", "[reference]") {
  identity_layer layer(1, 2, {1, 0, 1, 0});
  layer.config.dropless = true;
  layer.config.sample_temperature = 2;
  CHECK(layer.forward().expert_index == ints{0, 0}); // no noise, no sampling
  layer.input.gumbel = {0, .49, 0, .51};             // h / T = (1/2, 0)
  const auto out = layer.forward();
  CHECK(out.expert_index == ints{0, 1});
  CHECK(out.gate == doubles{out.probs[0], out.probs[3]});
  CHECK(out.fraction == doubles{.5, .5}); // f counts the sampled choices
  layer.config.load_balance_form = sw::balance_form::any_of_k;
  CHECK(layer.forward().fraction == doubles{.5, .5});
  layer.config.order = sw::slot_order::batch_prioritized; // by the largest p, not by that of the choice
  layer.input.x = {1, 0, 2, 0};
  layer.input.gumbel = {0, 9, 0, 9};
  CHECK(layer.forward().slot == ints{1, 0});
  layer.config.sample_temperature = 0;
  CHECK_THROWS_AS(layer.forward(), sw::invalid_argument);
}

TEST_CASE("ties go to the lowest index", "[reference]") {
  identity_layer layer(1, 4, doubles(20, 0.25));
  layer.config.routing = sw::routing_policy::top_k;
  layer.config.k = 3;
  layer.config.dropless = true;
  layer.config.order = sw::slot_order::batch_prioritized;
  const auto out = layer.forward();
  for (std::size_t t = 0; t < 5; ++t)
    for (std::size_t j = 0; j < 3; ++j) {
      CHECK(out.expert_index[t * 3 + j] == static_cast<std::int64_t>(j));
      CHECK(out.slot[t * 3 + j] == static_cast<std::int64_t>(t));
    }
  layer.config.routing = sw::routing_policy::expert_choice;
  layer.config.dropless = false;
  layer.set_capacity(2);
  CHECK(layer.forward().token_index == ints{0, 1, 0, 1, 0, 1, 0, 1});
}

TEST_CASE("softcap", "[reference]") {
  identity_layer layer(1, 2, {3, -1});
  layer.config.logit_softcap = 2;
  const auto out = layer.forward();
  check_close(out.logits, {2 * std::tanh(1.5), 2 * std::tanh(-.5)}, 1e-15);
  const double lse = std::log(std::exp(out.logits[0]) + std::exp(out.logits[1]));
  CHECK_THAT(out.router_z_loss, WithinAbs(lse * lse, 1e-14));
  CHECK_THAT(out.probs[0], WithinAbs(std::exp(out.logits[0] - lse), 1e-15));
}

TEST_CASE("load loss by hand", "[reference]") {
  // One token, E = 2, sigma = 1/2: z = (0, 2), so the load is (1/2, 1 - Phi(2)); CV^2 of (a, b) is ((a-b)/(a+b))^2.
  const double tail2 = 0.02275013194817921, phi3 = 0.9986501019683699, tail6 = 9.865876450376946e-10;
  CHECK_THAT(identity_layer(1, 2, {1, 0}).forward().load_loss,
             WithinAbs(std::pow((0.5 - tail2) / (0.5 + tail2), 2), 1e-14));
  // E = 3, k = 2: the second largest logit is the threshold, z = (-3, 0, 6).
  identity_layer layer(1, 3, {3, 2, 0});
  layer.config.routing = sw::routing_policy::top_k;
  const double mean = (phi3 + .5 + tail6) / 3, square = (phi3 * phi3 + .25 + tail6 * tail6) / 3;
  CHECK_THAT(layer.forward().load_loss, WithinAbs((square - mean * mean) / (mean * mean), 1e-13));
  // Two mirrored tokens: perfectly balanced.
  CHECK_THAT(identity_layer(1, 2, {1, 0, 0, 1}).forward().load_loss, WithinAbs(0, 1e-30));
}

TEST_CASE("metrics by hand", "[reference]") {
  identity_layer layer(1, 4, {0, 0, 0, 0, std::log(3.0), 0, -1000, -1000});
  const auto out = layer.forward();
  const double second = -.75 * std::log(.75) - .25 * std::log(.25);
  CHECK_THAT(out.router_entropy, WithinAbs((std::log(4.0) + second) / 2, 1e-14));
  CHECK_THAT(out.router_confidence, WithinAbs((.25 + .75) / 2, 1e-15));
}

TEST_CASE("padding takes no slot and enters no loss", "[reference]") {
  for (const auto routing :
       {sw::routing_policy::top_1, sw::routing_policy::top_k, sw::routing_policy::no_token_left_behind}) {
    CAPTURE(static_cast<int>(routing));
    // Real tokens 0 and 2 among padding, in the second of two groups; the first is all padding.
    identity_layer padded(2, 3, doubles{9, 0, 0, 9, 0, 0, 9, 0, 0, 2, 1, 0, 9, 0, 0, 2, 0, 1});
    padded.input.mask = {0, -1, 0, 0.5, 0, 1};
    identity_layer plain(1, 3, doubles{2, 1, 0, 2, 0, 1});
    for (auto* layer : {&padded, &plain}) {
      layer->config.routing = routing;
      layer->config.k = 2;
      layer->config.order = sw::slot_order::batch_prioritized;
    }
    padded.set_capacity(1);
    plain.set_capacity(1);
    const auto a = padded.forward(), b = plain.forward();
    const std::size_t k = b.kept.size() / 2;
    for (std::size_t t = 0; t < 6; ++t)
      for (std::size_t j = 0; j < k; ++j) {
        CAPTURE(t, j);
        const bool real = t == 3 || t == 5;
        const std::size_t other = (t == 5 ? k : 0) + j;
        CHECK(a.expert_index[t * k + j] == (real ? b.expert_index[other] : -1));
        CHECK(a.slot[t * k + j] == (real ? b.slot[other] : -1));
        CHECK(a.kept[t * k + j] == (real ? b.kept[other] : 0));
        CHECK(a.gate[t * k + j] == (real ? b.gate[other] : 0.0));
      }
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(a.y[i] == 0);
      CHECK(a.y[9 + i] == b.y[i]);
      CHECK(a.y[12 + i] == 0);
      CHECK(a.y[15 + i] == b.y[3 + i]);
    }
    CHECK(a.load_balance_loss == b.load_balance_loss / 2); // the empty group counts as 0
    CHECK(a.router_z_loss == b.router_z_loss);
    CHECK(a.importance_loss == b.importance_loss);
    CHECK(a.load_loss == b.load_loss);
    CHECK(a.dropped_fraction == b.dropped_fraction);
    CHECK(a.router_entropy == b.router_entropy);
    CHECK(a.router_confidence == b.router_confidence);
    CHECK_THAT(a.probs[0], WithinAbs(1 / (1 + 2 * std::exp(-9.0)), 1e-15)); // the plain softmax
  }
}

TEST_CASE("expert choice with padding", "[reference]") {
  identity_layer layer(1, 2, {9, 0, 1, 0, 9, 0, -2000, 0});
  layer.config.routing = sw::routing_policy::expert_choice;
  layer.config.capacity_factor = 1.5; // C = 3 of 4
  layer.input.mask = {0, 1, 0, 1};
  const auto out = layer.forward();
  CHECK(out.capacity == 3);
  // Token 3 has score 0 at expert 0 and still comes before padding; then padding from the lowest token on, gate 0.
  CHECK(out.token_index == ints{1, 3, 0, 3, 1, 0});
  CHECK(out.gate == doubles{out.probs[2], 0, 0, 1, out.probs[3], 0});
  CHECK(out.load == ints{2, 2});
  CHECK(out.dropped_fraction == 0);
  CHECK(out.y[0] == 0);
}

TEST_CASE("the balance loss is 1 at balance, E at collapse, and may be below 1", "[reference]") {
  const auto balance = [](std::int64_t experts, doubles logits) {
    return identity_layer(1, experts, std::move(logits)).forward().load_balance_loss;
  };
  CHECK_THAT(balance(2, {1, 0, 0, 1}), WithinAbs(1, 1e-15));
  CHECK_THAT(balance(3, {900, 0, 0, 900, 0, 0}), WithinAbs(3, 1e-15));
  const double a = std::log(.34), b = std::log(.33), c = std::log(.501), d = std::log(.499);
  CHECK_THAT(balance(3, {a, b, b, a, b, b, a, b, b, -1000, c, d, -1000, c, d}), WithinAbs(0.845, 5e-4));
}

TEST_CASE("one expert is a dense FFN", "[reference]") {
  const sw::switch_config config{.d_model = 2, .d_ff = 2, .experts = 1};
  const sw::reference_weights weights{.router = {3, -4}, .wi = {1, 2, 3, 4}, .wo = {5, 6, 7, 8}};
  const sw::reference_input input{.groups = 1, .tokens = 2, .x = {1, 1, -1, 0.5}};
  const auto out = sw::reference_forward(config, weights, input);
  // (1,1) wi = (4,6), wo: (62,72); (-1,.5) wi = (.5,0), wo: (2.5,3)
  CHECK(out.y == doubles{62, 72, 2.5, 3});
  CHECK(out.gate == doubles{1, 1});
  CHECK(out.load_balance_loss == 1);
  CHECK(out.importance_loss == 0);
  CHECK(out.load_loss == 0);
  CHECK(sw::reference_backward(config, weights, input, out, {1, 2, 3, 4}).weights.router == doubles{0, 0});
}

TEST_CASE("identical experts give p times the FFN", "[reference]") {
  auto layer = golden(sw::routing_policy::top_k, 8, 3); // every expert takes every token, the gates sum to 1
  const auto out = layer.forward();
  for (std::size_t t = 0; t < 8; ++t) {
    double sum = 0; // one hidden unit of ones: relu(sum of x) in each of the three outputs
    for (std::size_t m = 0; m < 3; ++m) sum += golden_logits[t * 3 + m];
    for (std::size_t m = 0; m < 3; ++m) CHECK_THAT(out.y[t * 3 + m], WithinAbs(sum, 1e-13));
  }
}

TEST_CASE("nothing to do: no tokens, no slots, no real token", "[reference]") {
  for (const auto routing : {sw::routing_policy::top_1, sw::routing_policy::top_k,
                             sw::routing_policy::no_token_left_behind, sw::routing_policy::expert_choice}) {
    CAPTURE(static_cast<int>(routing));
    for (const std::int64_t groups : {0, 2}) {
      identity_layer empty(groups, 3, {});
      empty.config.routing = routing;
      const auto out = empty.forward();
      CHECK(out.y.empty());
      CHECK(out.load_balance_loss + out.router_z_loss + out.importance_loss + out.load_loss == 0);
      CHECK(out.dropped_fraction == 0);
    }
    auto closed = golden(routing, 0, 3);
    closed.config.capacity_factor = 0.1;
    const auto out = closed.forward();
    CHECK(out.capacity == 0);
    CHECK(out.y == doubles(24, 0.0));
    CHECK(out.dropped_fraction == 1);
    CHECK(out.router_z_loss > 0);

    auto padding = golden(routing, 4, 3);
    padding.config.router_z = padding.config.importance = 1;
    padding.input.mask.assign(8, 0.0);
    const auto none = padding.forward();
    CHECK(none.y == doubles(24, 0.0));
    CHECK(none.load_balance_loss + none.router_z_loss + none.importance_loss + none.load_loss == 0);
    CHECK(none.dropped_fraction + none.router_entropy + none.router_confidence == 0);
    const auto d = sw::reference_backward(padding.config, padding.weights, padding.input, none, doubles(24, 1.0));
    CHECK(d.dx == doubles(24, 0.0));
    CHECK(d.weights.router == doubles(9, 0.0));
    CHECK(d.weights.wo == doubles(9, 0.0));
  }
}

TEST_CASE("sizes that do not fit are refused", "[reference]") {
  const auto layer = golden(sw::routing_policy::top_1, 2);
  auto broken = layer;
  broken.input.x.pop_back();
  CHECK_THROWS_AS(broken.forward(), sw::invalid_argument);
  broken = layer;
  broken.weights.wi_gate.assign(9, 0.0); // given, though the layer is not gated
  CHECK_THROWS_AS(broken.forward(), sw::invalid_argument);
  broken = layer;
  broken.input.mask.assign(7, 1.0);
  CHECK_THROWS_AS(broken.forward(), sw::invalid_argument);
  CHECK_THROWS_AS(sw::reference_backward(layer.config, layer.weights, layer.input, layer.forward(), doubles(23)),
                  sw::invalid_argument);
}

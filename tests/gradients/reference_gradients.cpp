// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// reference_backward against central differences of the total loss, for every input and every weight.
//
// Routing is piecewise constant and ReLU has a kink: a draw that comes near one is thrown away and drawn again.

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <switchyard/layer/reference_layer.hpp>
#include <vector>

namespace sw = switchyard;
using doubles = std::vector<double>;

namespace {

constexpr double step = 1e-6, absolute = 1e-6, relative = 1e-5, margin = 1e-3;

struct problem {
  sw::switch_config config;
  sw::reference_weights weights;
  sw::reference_input input;
  doubles dy;
};

/// Two groups of five tokens, one of them padding, with jitter and dropout on the router's input and expert dropout.
problem draw(const sw::switch_config& config, std::mt19937_64& engine) {
  const std::int64_t G = 2, S = 5, M = config.d_model, F = config.d_ff, E = config.experts;
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  const auto fill = [](std::int64_t size, auto value) {
    doubles v(static_cast<std::size_t>(size));
    for (double& element : v) element = value();
    return v;
  };
  const auto gaussian = [&] { return normal(engine); };
  problem p{config, {}, {.groups = G, .tokens = S}, fill(G * S * M, gaussian)};
  p.weights.router = fill(M * E, gaussian);
  p.weights.wi = fill(E * M * F, gaussian);
  p.weights.wo = fill(E * F * M, gaussian);
  if (config.gated) p.weights.wi_gate = fill(E * M * F, gaussian);
  if (config.bias) {
    p.weights.bi = fill(E * F, gaussian);
    p.weights.bo = fill(E * M, gaussian);
    if (config.gated) p.weights.bi_gate = fill(E * F, gaussian);
  }
  p.input.x = fill(G * S * M, gaussian);
  p.input.mask = {1, 1, 0, 1, 1, 1, 0.5, 1, 1, 0};
  p.input.training = true;
  p.input.input_scale =
      fill(G * S * M, [&] { return uniform(engine) < 0.2 ? 0 : (0.7 + 0.6 * uniform(engine)) / 0.8; }); // jitter 0.3
  p.input.hidden_scale =
      fill(E * G * sw::reference_capacity(config, S, true) * F, [&] { return uniform(engine) < 0.25 ? 0 : 1 / 0.75; });
  if (config.sample_temperature > 0)
    p.input.gumbel = fill(G * S * E, [&] { return -std::log(-std::log(std::max(uniform(engine), 1e-9))); });
  if (config.second_expert == sw::second_expert_policy::random)
    p.input.second_uniform = fill(G * S * config.choices(), [&] { return uniform(engine); });
  return p;
}

/// Whether two of these are closer than the margin.
bool close_pair(doubles values) {
  std::sort(values.begin(), values.end());
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] - values[i - 1] < margin) return true;
  return false;
}

/// Whether a small step could change a choice, an order, a policy's verdict or the side of a ReLU.
bool near_edge(const problem& p, const sw::reference_output& out) {
  const auto& c = p.config;
  const auto n = sw::detail::shape_of(c, p.weights, p.input);
  for (std::size_t t = 0; t < n.G * n.S; ++t) {
    if (!p.input.real(t)) continue;
    const doubles probs = sw::detail::row_of(out.probs, t, n.E);
    if (close_pair(probs)) return true;
    doubles scores;
    for (std::size_t e = 0; !p.input.gumbel.empty() && e < n.E; ++e)
      scores.push_back(out.logits[t * n.E + e] / c.sample_temperature + p.input.gumbel[t * n.E + e]);
    if (close_pair(scores)) return true;
    if (c.routing != sw::routing_policy::top_k) continue;
    double sum = 0;
    for (std::size_t j = 0; j < n.K; ++j) sum += probs[out.chosen[t * n.K + j]];
    for (std::size_t j = 1; j < n.K; ++j) {
      const double share = probs[out.chosen[t * n.K + j]] / sum;
      const double u = p.input.second_uniform.empty() ? 1 : p.input.second_uniform[t * n.K + j];
      if (std::abs(share - c.threshold * u) < margin) return true;
    }
  }
  for (std::size_t g = 0; g < n.G; ++g) {
    doubles confidence;
    std::vector<doubles> scores(n.E);
    for (std::size_t t = g * n.S; t < (g + 1) * n.S; ++t) {
      if (!p.input.real(t)) continue;
      const doubles probs = sw::detail::row_of(out.probs, t, n.E);
      for (std::size_t e = 0; e < n.E; ++e) scores[e].push_back(probs[e]);
      confidence.push_back(*std::max_element(probs.begin(), probs.end()));
    }
    if (c.order == sw::slot_order::batch_prioritized && close_pair(confidence)) return true;
    for (std::size_t e = 0; c.routing == sw::routing_policy::expert_choice && e < n.E; ++e)
      if (close_pair(scores[e])) return true;
  }
  for (const auto& slot : out.assignments) {
    const sw::detail::expert_row row(c, n, p.weights, p.input, slot);
    for (double a : c.gated ? row.b : row.a)
      if (c.activation == sw::activation_kind::relu && std::abs(a) < margin) return true;
  }
  return false;
}

/// A draw away from every edge; with finite capacity also one in which something is dropped and something is kept.
problem draw_smooth(const sw::switch_config& config, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  for (int attempt = 0; attempt < 500; ++attempt) {
    problem p = draw(config, engine);
    const auto out = sw::reference_forward(p.config, p.weights, p.input);
    const bool mixed = config.dropless || (out.dropped_fraction > 0 && out.dropped_fraction < 1);
    if (mixed && !near_edge(p, out)) return p;
  }
  FAIL("500 draws, all near an edge of the routing");
  return {};
}

/// <y,dy> + sum of coefficient * loss
double total_loss(const problem& p) {
  const auto out = sw::reference_forward(p.config, p.weights, p.input);
  double sum = p.config.load_balance * out.load_balance_loss + p.config.router_z * out.router_z_loss +
               p.config.importance * out.importance_loss + p.config.load * out.load_loss;
  for (std::size_t i = 0; i < out.y.size(); ++i) sum += out.y[i] * p.dy[i];
  return sum;
}

/// `values` lie inside p.
void check_derivative(const std::string& name, problem& p, doubles& values, const doubles& gradient) {
  REQUIRE(gradient.size() == values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double kept = values[i];
    values[i] = kept + step;
    const double above = total_loss(p);
    values[i] = kept - step;
    const double below = total_loss(p);
    values[i] = kept;
    const double difference = (above - below) / (2 * step);
    CAPTURE(name, i, difference, gradient[i]);
    CHECK(std::abs(gradient[i] - difference) <= absolute + relative * std::abs(difference));
  }
}

void check_gradients(const sw::switch_config& config, std::uint64_t seed) {
  problem p = draw_smooth(config, seed);
  const auto out = sw::reference_forward(p.config, p.weights, p.input);
  const auto d = sw::reference_backward(p.config, p.weights, p.input, out, p.dy);
  check_derivative("x", p, p.input.x, d.dx);
  check_derivative("router", p, p.weights.router, d.weights.router);
  check_derivative("wi", p, p.weights.wi, d.weights.wi);
  check_derivative("wi_gate", p, p.weights.wi_gate, d.weights.wi_gate);
  check_derivative("wo", p, p.weights.wo, d.weights.wo);
  check_derivative("bi", p, p.weights.bi, d.weights.bi);
  check_derivative("bi_gate", p, p.weights.bi_gate, d.weights.bi_gate);
  check_derivative("bo", p, p.weights.bo, d.weights.bo);
}

/// Every loss on, softcap on, biases on, too few slots.
sw::switch_config everything() {
  sw::switch_config c{.d_model = 3, .d_ff = 4, .experts = 4};
  c.capacity_factor = 1;
  c.min_capacity = 0;
  c.activation = sw::activation_kind::silu;
  c.bias = true;
  c.load_balance = 0.9;
  c.router_z = 0.4;
  c.importance = 0.8;
  c.load = 0.7;
  c.logit_softcap = 3;
  return c;
}

/// The layer's output alone.
sw::switch_config plain() {
  sw::switch_config c = everything();
  c.load_balance = c.router_z = c.importance = c.load = c.logit_softcap = 0;
  return c;
}

constexpr auto top_1 = sw::routing_policy::top_1;
constexpr auto top_k = sw::routing_policy::top_k;
constexpr auto no_token_left_behind = sw::routing_policy::no_token_left_behind;
constexpr auto expert_choice = sw::routing_policy::expert_choice;

} // namespace

TEST_CASE("gradients of every routing policy", "[reference][gradient]") {
  for (const auto routing : {top_1, top_k, no_token_left_behind, expert_choice})
    for (const auto order : {sw::slot_order::token, sw::slot_order::batch_prioritized})
      for (const int k : {1, 2, 3}) {
        CAPTURE(static_cast<int>(routing), static_cast<int>(order), k);
        if (k != 2 && (routing == top_1 || routing == expert_choice)) continue; // they have no k
        sw::switch_config c = everything();
        c.routing = routing;
        c.order = order;
        c.k = k;
        if (routing == no_token_left_behind) c.capacity_factor = 0.8; // one slot per expert: some token stays behind
        if (routing == expert_choice) c.load = 0;
        check_gradients(c, 1);
      }
}

TEST_CASE("gradients of every renormalization and second-expert policy", "[reference][gradient]") {
  using enum sw::second_expert_policy;
  for (const auto renormalize :
       {sw::renormalize_policy::none, sw::renormalize_policy::before_drop, sw::renormalize_policy::after_drop})
    for (const auto second : {all, none, threshold, random})
      for (const int k : {2, 3}) {
        CAPTURE(static_cast<int>(renormalize), static_cast<int>(second), k);
        sw::switch_config c = everything();
        c.routing = top_k;
        c.k = k;
        c.renormalize = renormalize;
        c.second_expert = second;
        c.threshold = 0.3;
        check_gradients(c, 2);
      }
}

TEST_CASE("gradients of every activation", "[reference][gradient]") {
  using enum sw::activation_kind;
  for (const auto activation : {relu, gelu, gelu_tanh, silu})
    for (const bool gated : {false, true})
      for (const bool bias : {false, true})
        for (const auto routing : {top_1, top_k}) {
          CAPTURE(static_cast<int>(activation), gated, bias, static_cast<int>(routing));
          sw::switch_config c = everything();
          c.activation = activation;
          c.gated = gated;
          c.bias = bias;
          c.routing = routing;
          check_gradients(c, 3);
        }
}

TEST_CASE("gradients of every loss alone", "[reference][gradient]") {
  for (const auto routing : {top_1, top_k, no_token_left_behind, expert_choice})
    for (double sw::switch_config::*loss : {&sw::switch_config::load_balance, &sw::switch_config::router_z,
                                            &sw::switch_config::importance, &sw::switch_config::load})
      for (const auto form : {sw::balance_form::first_choice, sw::balance_form::any_of_k}) {
        if (routing == expert_choice && loss == &sw::switch_config::load) continue;
        sw::switch_config c = plain();
        c.routing = routing;
        c.k = 2;
        c.capacity_factor = routing == no_token_left_behind ? 0.8 : 1;
        c.load_balance_form = form;
        c.*loss = 1;
        CAPTURE(static_cast<int>(routing), c.load_balance, c.router_z, c.importance, c.load, static_cast<int>(form));
        problem p = draw_smooth(c, 4);
        p.dy.assign(p.dy.size(), 0.0);
        const auto out = sw::reference_forward(p.config, p.weights, p.input);
        const auto d = sw::reference_backward(p.config, p.weights, p.input, out, p.dy);
        check_derivative("x", p, p.input.x, d.dx);
        check_derivative("router", p, p.weights.router, d.weights.router);
        CHECK(d.weights.wi == doubles(p.weights.wi.size(), 0.0)); // losses never reach the experts
        CHECK(d.weights.wo == doubles(p.weights.wo.size(), 0.0));
        p.dy = p.input.x; // and the same on top of <y,dy>
        check_derivative("router", p, p.weights.router,
                         sw::reference_backward(p.config, p.weights, p.input, out, p.dy).weights.router);
      }
}

TEST_CASE("gradients: load loss of every k, sampling, dropless", "[reference][gradient]") {
  sw::switch_config c = everything();
  c.routing = top_k;
  for (c.k = 1; c.k <= 4; ++c.k) { // up to k = E
    CAPTURE(c.k);
    check_gradients(c, 5);
  }
  c.k = 2;
  c.sample_temperature = 1.5;
  c.load_balance_form = sw::balance_form::any_of_k;
  check_gradients(c, 6);
  c.routing = top_1;
  check_gradients(c, 6);
  c.sample_temperature = 0;
  c.dropless = true;
  for (const auto routing : {top_1, top_k, no_token_left_behind, expert_choice}) {
    c.routing = routing;
    c.load = routing == expert_choice ? 0 : 0.7;
    check_gradients(c, 7);
  }
}

TEST_CASE("gradients at perfect balance are finite", "[reference][gradient]") {
  sw::switch_config c = everything();
  problem p = draw_smooth(c, 8);
  p.weights.router.assign(p.weights.router.size(), 0.0); // uniform probabilities
  const auto out = sw::reference_forward(p.config, p.weights, p.input);
  const auto d = sw::reference_backward(p.config, p.weights, p.input, out, p.dy);
  for (double v : d.weights.router) CHECK(std::isfinite(v));
  for (double v : d.dx) CHECK(std::isfinite(v));
}

TEST_CASE("who gets no gradient", "[reference][gradient]") {
  sw::switch_config c = plain();
  c.capacity_factor = 0.8; // one slot per expert and group
  const problem p = draw_smooth(c, 9);
  const auto out = sw::reference_forward(p.config, p.weights, p.input);
  const auto d = sw::reference_backward(p.config, p.weights, p.input, out, p.dy);
  for (std::size_t t = 0; t < 10; ++t)
    for (std::size_t m = 0; m < 3; ++m) {
      const bool reached = out.kept[t] == 1;
      CHECK((d.dx[t * 3 + m] != 0) == reached); // without losses, a dropped token has no gradient; neither has padding
    }

  problem q = draw_smooth(everything(), 10);
  q.input.x.assign(q.input.x.size(), 1.0);
  q.input.input_scale.clear();
  q.weights.router = {2, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0}; // all want expert 0, none gets to expert 3
  const auto crowded = sw::reference_forward(q.config, q.weights, q.input);
  CHECK(crowded.load == std::vector<std::int64_t>{2, 0, 0, 0});
  const auto e = sw::reference_backward(q.config, q.weights, q.input, crowded, q.dy);
  for (std::size_t i = 0; i < 12; ++i) {
    CHECK(e.weights.wi[3 * 12 + i] == 0);
    CHECK(e.weights.wo[3 * 12 + i] == 0);
  }
  for (std::size_t m = 0; m < 3; ++m) {
    CHECK(e.dx[2 * 3 + m] == 0); // padding, losses on
    CHECK(e.dx[9 * 3 + m] == 0);
  }
}

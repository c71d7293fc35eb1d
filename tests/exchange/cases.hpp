// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "files.hpp"
#include <cmath>
#include <functional>
#include <random>
#include <switchyard/layer/config.hpp>

/// \file
/// Configurations as the program reads them (JSON) beside what they mean (switch_config), written here once more and
/// by hand, and random tensors for them.

namespace exchange_test {

namespace sy = switchyard;

/// One value of one key.
struct option {
  std::string text;
  std::function<void(sy::switch_config&)> apply;
};

/// All values of all keys that take words or switches; numbers are drawn.
struct policies {
  sy::routing_policy routing = sy::routing_policy::top_1;
  sy::renormalize_policy renormalize = sy::renormalize_policy::none;
  sy::second_expert_policy second = sy::second_expert_policy::all;
  sy::slot_order order = sy::slot_order::token;
  int rounding = 0; // 0..3 as capacity_policy, 4: dropless
  sy::activation_kind activation = sy::activation_kind::relu;
  bool gated = false, any_of_k = false, mask = false, losses = false;
};

struct test_case {
  std::string config; // JSON
  sy::switch_config meaning;
  std::int64_t groups = 0, tokens = 0;
  tensor_map in;
};

/// Every combination of policies that act; the routings without second experts keep those at their defaults.
inline std::vector<policies> every_combination() {
  std::vector<policies> all;
  for (const auto routing : {sy::routing_policy::top_1, sy::routing_policy::top_k,
                             sy::routing_policy::no_token_left_behind, sy::routing_policy::expert_choice})
    for (int renormalize = 0; renormalize < (routing == sy::routing_policy::top_k ? 3 : 1); ++renormalize)
      for (int second = 0; second < (routing == sy::routing_policy::top_k ? 3 : 1); ++second)
        for (const auto order : {sy::slot_order::token, sy::slot_order::batch_prioritized})
          for (int rounding = 0; rounding < 5; ++rounding)
            for (const auto activation : {sy::activation_kind::relu, sy::activation_kind::gelu,
                                          sy::activation_kind::gelu_tanh, sy::activation_kind::silu})
              for (int bits = 0; bits < 16; ++bits)
                all.push_back({routing, static_cast<sy::renormalize_policy>(renormalize),
                               static_cast<sy::second_expert_policy>(second), order, rounding, activation,
                               (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0});
  return all;
}

/// A case with these policies; sizes, k, capacity, coefficients and tensors are drawn. `wide`: no size is so small that
/// a result is one rounding error away from cancelling.
inline test_case make_case(const policies& p, std::uint64_t seed, bool wide = false) {
  std::mt19937_64 bits(seed);
  const auto whole = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(bits);
  };
  const auto pick = [&](std::initializer_list<double> values) {
    return values.begin()[whole(0, static_cast<std::int64_t>(values.size()) - 1)];
  };
  test_case c;
  c.groups = whole(1, 3);
  c.tokens = wide ? whole(4, 20) : whole(0, 40);
  sy::switch_config& m = c.meaning;
  m.d_model = wide ? whole(4, 9) : whole(1, 6);
  m.d_ff = wide ? whole(4, 9) : whole(1, 7);
  m.experts = whole(1, 9);
  m.load_balance = 0;

  std::string keys;
  const auto key = [&](const char* name, const auto& value) {
    std::ostringstream text;
    text.precision(17);
    text << (keys.empty() ? "" : ", ") << '"' << name << "\": " << value;
    keys += text.str();
  };
  const auto word = [&](const char* name, const char* value) { key(name, '"' + std::string(value) + '"'); };

  constexpr const char* routings[] = {"switch", "top_k", "no_token_left_behind", "expert_choice"};
  word("routing", routings[static_cast<int>(m.routing = p.routing)]);
  const bool chooses_k =
      p.routing == sy::routing_policy::top_k || p.routing == sy::routing_policy::no_token_left_behind;
  if (!chooses_k || whole(0, 3) > 0 || m.experts == 1) {
    const auto k = static_cast<int>(whole(1, m.experts));
    key("k", k);
    if (chooses_k) m.k = k;
  } else {
    m.k = p.routing == sy::routing_policy::top_k ? 2 : static_cast<int>(std::min<std::int64_t>(4, m.experts));
  }
  constexpr const char* renormalizes[] = {"none", "before_drop", "after_drop"};
  constexpr const char* seconds[] = {"all", "none", "threshold"};
  const bool ignored = p.routing != sy::routing_policy::top_k; // any word is as good as another
  word("renormalize", renormalizes[ignored ? whole(0, 2) : static_cast<int>(m.renormalize = p.renormalize)]);
  word("second_expert", seconds[ignored ? whole(0, 2) : static_cast<int>(m.second_expert = p.second)]);
  if (whole(0, 1) == 0) key("threshold", m.threshold = pick({0.0, 0.1, 0.3, 0.45}));
  word("order", p.order == sy::slot_order::token ? "token" : "batch_prioritized");
  m.order = p.order;

  constexpr const char* roundings[] = {"truncate", "half_even", "ceil", "multiple_of_4"};
  if (p.rounding == 4) {
    word("capacity_factor", "dropless");
    m.dropless = true;
  } else {
    if (whole(0, 3) > 0) key("capacity_factor", m.capacity_factor = pick({0.1, 0.3, 0.5, 0.75, 0.9, 1, 2, 50}));
    word("capacity_rounding", roundings[p.rounding]);
    m.capacity_rounding = static_cast<sy::capacity_policy>(p.rounding);
  }
  if (whole(0, 3) > 0) key("min_capacity", m.min_capacity = static_cast<std::int64_t>(pick({0, 0, 0, 1, 2, 5, 60})));

  constexpr const char* activations[] = {"relu", "gelu", "gelu_tanh", "silu"};
  word("activation", activations[static_cast<int>(m.activation = p.activation)]);
  key("gated", (m.gated = p.gated) ? "true" : "false");
  word("load_balance_form", p.any_of_k ? "any_of_k" : "first_choice");
  m.load_balance_form = p.any_of_k ? sy::balance_form::any_of_k : sy::balance_form::first_choice;
  if (seed % 2 == 1) { // no draw, so that the others stay what they were
    word("load_balance_scope", "batch");
    m.load_balance_scope = sy::balance_scope::batch;
    key("exchange_chunks", m.exchange_chunks = static_cast<int>(2 + seed % 3));
  }
  if (p.losses) {
    key("load_balance", m.load_balance = pick({0.01, 0.3, 1}));
    key("router_z", m.router_z = pick({0, 0.1, 1}));
    key("importance", m.importance = pick({0, 0.2, 1}));
  }
  c.config = '{' + keys + '}';

  std::normal_distribution<double> normal;
  const auto fill = [&](const char* name, std::vector<std::int64_t> shape, double scale) {
    std::int64_t size = 1;
    for (const std::int64_t n : shape) size *= n;
    std::vector<double> values(static_cast<std::size_t>(size));
    for (double& v : values) v = scale * normal(bits);
    c.in[name] = {std::move(shape), std::move(values)};
  };
  const std::int64_t G = c.groups, S = c.tokens, M = m.d_model, F = m.d_ff, E = m.experts;
  const double in = 1 / std::sqrt(static_cast<double>(M)), hidden = 1 / std::sqrt(static_cast<double>(F));
  fill("x", {G, S, M}, 1);
  fill("dy", {G, S, M}, 1);
  fill("router.weight", {M, E}, 2 * in);
  fill("wi.weight", {E, M, F}, in);
  if (p.gated) fill("wi_gate.weight", {E, M, F}, in);
  fill("wo.weight", {E, F, M}, hidden);
  if (p.mask) {
    fill("mask", {G, S}, 1); // real iff > 0
    if (whole(0, 9) == 0) c.in["mask"].values.assign(static_cast<std::size_t>(G * S), -1);
  }
  // Ties: every expert has a twin, every other token is the one before it. Not with two experts: all probabilities
  // would be 1/2 up to the last bit, which is then what orders the tokens.
  if (whole(0, 3) == 0 && E != 2) {
    auto& router = c.in["router.weight"].values;
    for (std::int64_t i = 0; i < M * E; ++i)
      if (i % E % 2 == 1) router[static_cast<std::size_t>(i)] = router[static_cast<std::size_t>(i - 1)];
    auto& x = c.in["x"].values;
    for (std::int64_t i = 0; i < G * S * M; ++i)
      if (i / M % 2 == 1) x[static_cast<std::size_t>(i)] = x[static_cast<std::size_t>(i - M)];
  }
  return c;
}

} // namespace exchange_test

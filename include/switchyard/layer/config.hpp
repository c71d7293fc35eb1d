// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <switchyard/core/error.hpp>
#include <switchyard/experts/activation.hpp>
#include <switchyard/router/capacity.hpp>
#include <switchyard/router/policy.hpp>

namespace switchyard {

/// What a Switch layer computes. A plain aggregate for designated initializers; the order of the fields is part of the
/// API. The defaults are the Switch Transformer's: top-1, capacity factor 1.25, ReLU, no bias, balance loss 1e-2.
struct switch_config {
  // sizes
  std::int64_t d_model = 0; ///< M, width of a token
  std::int64_t d_ff = 0;    ///< F, hidden width of one expert
  std::int64_t experts = 0; ///< E

  // routing
  routing_policy routing = routing_policy::top_1;
  int k = 0; ///< choices per token; 0: 1 for top_1, 2 for top_k, min(4, E) for no_token_left_behind
  renormalize_policy renormalize = renormalize_policy::none;      ///< top_k only
  second_expert_policy second_expert = second_expert_policy::all; ///< top_k only
  double threshold = 0.2;                                         ///< of second_expert threshold and random
  slot_order order = slot_order::token;                           ///< not for expert_choice

  // capacity
  double capacity_factor = 1.25;   ///< slots per expert over tokens per expert; above 0, below 1 drops by design
  double eval_capacity_factor = 0; ///< the same outside training; 0: as in training (flaxformer: 2.0)
  capacity_policy capacity_rounding = capacity_policy::truncate;
  std::int64_t min_capacity = 4; ///< never fewer slots than this
  bool dropless = false;         ///< no limit at all; capacity_factor and min_capacity are then ignored

  // experts
  activation_kind activation = activation_kind::relu;
  bool gated = false;        ///< hidden = act(x wi_gate) * (x wi)
  bool bias = false;         ///< biases on both products of the experts (never on the router)
  double expert_dropout = 0; ///< training only: dropout on the hidden layer

  // losses: coefficients in the gradient; the losses themselves are always reported without them
  double load_balance = 1e-2;
  balance_form load_balance_form = balance_form::first_choice;
  balance_scope load_balance_scope = balance_scope::group;
  double router_z = 0;
  double importance = 0;
  double load = 0;

  // exploration: training only, except the softcap
  double jitter = 0;             ///< router input times U[1 - jitter, 1 + jitter], per element
  double input_dropout = 0;      ///< dropout on the router input
  double sample_temperature = 0; ///< > 0: experts are drawn from softmax(logits / temperature), gates stay p
  double logit_softcap = 0;      ///< > 0: logits become cap * tanh(logits / cap)

  // initialization and randomness
  double init_scale = 0.1; ///< s of the truncated normal with sigma = sqrt(s / fan_in)
  std::uint64_t seed = 0;  ///< of jitter, dropout and the random policies

  // where experts are split over ranks: how, not what
  /// Pieces in which slots travel, each of some of the experts of every rank, while the products of another one run; at
  /// most as many as a rank has experts, one where d_ff is split too. The same bytes, more messages.
  int exchange_chunks = 1;
  /// For proofs, slow: the number V of fixed global points at which the sums are cut that ranks may share, those over
  /// d_ff, d_model and groups. The pieces are added in their order on one process too, so that everything has the same
  /// bytes under every layout (layer/canonical.hpp). V is a multiple of the ranks that share a sum; d_ff and d_model
  /// are multiples of V; so are the groups, or there are no more than V. 0: off.
  int canonical = 0;

  /// Choices per token that the routing makes (0 in `k` resolved); E for expert choice, where any expert may take it.
  int choices() const {
    switch (routing) {
    case routing_policy::top_1:
      return 1;
    case routing_policy::top_k:
      return k == 0 ? 2 : k;
    case routing_policy::no_token_left_behind:
      return k == 0 ? static_cast<int>(std::min<std::int64_t>(4, experts)) : k;
    default:
      return static_cast<int>(experts);
    }
  }

  /// Slots per expert and group of `tokens` tokens. Dropless: every token fits.
  std::int64_t capacity(std::int64_t tokens, bool training = true) const {
    if (dropless) return tokens;
    const double factor = !training && eval_capacity_factor > 0 ? eval_capacity_factor : capacity_factor;
    const auto slots = router::capacity(tokens, experts, factor, capacity_rounding, min_capacity);
    return routing == routing_policy::expert_choice ? std::min(slots, tokens) : slots;
  }
};

/// Throws invalid_argument, naming the field, its value, what is allowed and what to do.
inline void validate(const switch_config& c) {
  using detail::require;
  const auto positive = [](const char* name, std::int64_t value) {
    require(value >= 1, name, " = ", value, ": must be at least 1; set it in switch_config");
    require(value <= std::numeric_limits<std::int32_t>::max(), name, " = ", value, ": must be below 2^31");
  };
  positive("d_model", c.d_model);
  positive("d_ff", c.d_ff);
  positive("experts", c.experts);
  require(c.k >= 0, "k = ", c.k, ": must be at least 1, or 0 for the routing's default");
  if (c.routing == routing_policy::top_k || c.routing == routing_policy::no_token_left_behind) {
    require(c.choices() <= c.experts, "k = ", c.choices(),
            ": a token cannot choose more experts than there are (experts = ", c.experts, "); lower k");
    require(c.choices() <= max_choices, "k = ", c.choices(), ": at most ", max_choices, " choices per token");
  }
  require(c.canonical >= 0, "canonical = ", c.canonical, ": must be at least 0, which is off");
  if (c.canonical > 0)
    for (const auto& [name, value] : {std::pair("d_model", c.d_model), std::pair("d_ff", c.d_ff)})
      require(value % c.canonical == 0, "canonical = ", c.canonical, ": cannot cut ", name, " = ", value,
              " (remainder ", value % c.canonical, "); make it a multiple");
  require(c.exchange_chunks >= 1, "exchange_chunks = ", c.exchange_chunks, ": must be at least 1, all slots at once");
  const auto finite = [](const char* name, double value, double least, bool inclusive) {
    require(std::isfinite(value) && (inclusive ? value >= least : value > least), name, " = ", value,
            ": must be finite and ", inclusive ? "at least " : "above ", least);
  };
  if (!c.dropless) {
    require(std::isfinite(c.capacity_factor) && c.capacity_factor > 0, "capacity_factor = ", c.capacity_factor,
            ": must be finite and above 0; for no limit at all set dropless = true");
    finite("eval_capacity_factor", c.eval_capacity_factor, 0, true);
    require(c.min_capacity >= 0, "min_capacity = ", c.min_capacity, ": must be at least 0");
  }
  if (c.routing == routing_policy::top_k &&
      (c.second_expert == second_expert_policy::threshold || c.second_expert == second_expert_policy::random))
    finite("threshold", c.threshold, 0, true);
  const auto probability = [](const char* name, double value) {
    require(value >= 0 && value < 1, name, " = ", value, ": must be in [0, 1)");
  };
  probability("expert_dropout", c.expert_dropout);
  probability("input_dropout", c.input_dropout);
  probability("jitter", c.jitter);
  finite("load_balance", c.load_balance, 0, true);
  finite("router_z", c.router_z, 0, true);
  finite("importance", c.importance, 0, true);
  finite("load", c.load, 0, true);
  finite("sample_temperature", c.sample_temperature, 0, true);
  finite("logit_softcap", c.logit_softcap, 0, true);
  finite("init_scale", c.init_scale, 0, false);
  require(!(c.routing == routing_policy::expert_choice && c.sample_temperature > 0),
          "sample_temperature = ", c.sample_temperature,
          ": expert choice has nothing to sample, its experts rank the tokens; set it to 0");
  require(!(c.routing == routing_policy::expert_choice && c.load > 0), "load = ", c.load,
          ": the load loss is defined for tokens that choose experts; set it to 0 for expert choice");
}

} // namespace switchyard

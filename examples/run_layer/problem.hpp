// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <switchyard/layer/config.hpp>
#include <vector>

/// \file
/// What goes into a layer and what comes out of it, in double whatever the precision of the layer: every number of a
/// smaller type is a double, so nothing is lost on the way between the files and the layer.
///
/// G groups of S tokens, width M, E experts of hidden width F, k choices per token, C slots per expert and group.

namespace run_layer {

/// --precision: the types in which the layer computes.
enum class precision : std::uint8_t { f64, f32, bf16, f16 };

struct weights {
  std::vector<double> router;  ///< [M,E]
  std::vector<double> wi;      ///< [E,M,F]
  std::vector<double> wi_gate; ///< [E,M,F], gated experts only
  std::vector<double> wo;      ///< [E,F,M]
};

struct problem {
  switchyard::switch_config config;
  std::int64_t groups = 0, tokens = 0; ///< G, S
  std::vector<double> x;               ///< [G,S,M]
  weights weight;
  std::optional<std::vector<double>> dy;   ///< [G,S,M]; given: the backward is wanted
  std::optional<std::vector<double>> mask; ///< [G,S], a token is real iff > 0

  std::int64_t choices() const { return config.choices(); }                             ///< k
  std::int64_t capacity() const { return config.capacity(tokens, /*training=*/false); } ///< C
  bool by_experts() const { return config.routing == switchyard::routing_policy::expert_choice; }
};

struct answer {
  std::vector<double> y;                                                ///< [G,S,M]
  std::vector<double> probs;                                            ///< [G,S,E]
  std::vector<std::int32_t> expert_index, slot;                         ///< [G,S,k], not for expert choice
  std::vector<std::uint8_t> kept;                                       ///< [G,S,k], not for expert choice
  std::vector<std::int32_t> token_index;                                ///< [G,E,C], expert choice only
  std::vector<double> gate;                                             ///< [G,S,k]; expert choice: [G,E,C]
  double load_balance_loss = 0, router_z_loss = 0, importance_loss = 0; ///< without their coefficients
  std::vector<double> dx;                                               ///< [G,S,M], with dy only
  weights gradient;                                                     ///< with dy only
};

/// Throws an input that cannot be worked with: "what = value: what is allowed; what to do".
template <class... Part>
[[noreturn]] void fail(const Part&... part) {
  std::ostringstream message;
  (message << ... << part);
  throw std::runtime_error(message.str());
}

} // namespace run_layer

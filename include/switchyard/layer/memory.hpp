// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/core/precision.hpp>
#include <switchyard/layer/config.hpp>
#include <switchyard/router/losses.hpp>
#include <switchyard/router/slots.hpp>

/// \file
/// What a layer on one process needs in memory, known before it exists. With T tokens in G groups, K choices each, E
/// experts of d_model M and d_ff F, R = min(T K, E G C) rows, a = 1 (gated: 2), and v and r bytes of an activation and
/// of a number of the router:
///
///   tape = v R (F (1 + a) + F a + 3 M)  the hidden layer, its gradient, its pre-activation (not for plain ReLU);
///                                       expert outputs, their gradients and those of the inputs
///        + r T (3 E + 2 K + 1)          logits, probabilities, their gradient, gates, their gradient, lse
///        + lists of rows, choices and slots, counters and sums: tens of bytes per choice and row, and O(G E) numbers
///          for every 64 tokens of a group
///
/// There is no tensor of tokens times experts times capacity, and none of [E, C] slots that are not in use.

namespace switchyard {

/// Bytes.
struct layer_memory {
  std::int64_t weights = 0;   ///< switch_layer::init
  std::int64_t gradients = 0; ///< switch_layer::zeros
  std::int64_t tape = 0;      ///< switch_layer::make_tape: all that forward and backward work in
};

namespace detail {

template <precision P>
std::int64_t tape_bytes(const switch_config& c, std::int64_t groups, std::int64_t group_tokens) {
  constexpr std::int64_t v = sizeof(typename P::value_type), r = sizeof(typename P::router_type);
  constexpr std::int64_t index = sizeof(std::int64_t), small = sizeof(std::int32_t);
  const auto blocks_of = [](std::int64_t n, std::int64_t block) { return (n + block - 1) / block; };
  const std::int64_t tokens = groups * group_tokens, experts = c.experts, choices = c.choices();
  const std::int64_t capacity = std::max(c.capacity(group_tokens, true), c.capacity(group_tokens, false));
  const std::int64_t rows = std::min(tokens * choices, experts * groups * capacity);
  const std::int64_t wide = c.gated ? 2 * c.d_ff : c.d_ff;
  const bool keeps_pre_activation = c.gated || c.activation != activation_kind::relu;

  const std::int64_t expert_rows = v * rows * (c.d_ff + wide + (keeps_pre_activation ? wide : 0) + 3 * c.d_model);
  const std::int64_t decisions =
      r * tokens * (3 * experts + 2 * choices + 1) + small * (2 * tokens * choices + groups * experts);
  const std::int64_t lists = index * (3 * rows + experts * groups + experts + 2 + 2); // the last 2: {0, T}
  const std::int64_t scaled_input = c.jitter > 0 || c.input_dropout > 0 ? r * tokens * c.d_model : 0;

  constexpr std::int64_t scalars = router::statistics_scalars, results = router::summary_numbers;
  const std::int64_t sums =
      r * (groups * blocks_of(group_tokens, router::detail::loss_block) * (3 * experts + scalars) +
           groups * (4 * experts + scalars) + groups * experts + groups + 5 * experts) +
      2 * static_cast<std::int64_t>(sizeof(double)) * results;

  const bool by_expert = c.routing == routing_policy::expert_choice;
  std::int64_t sort = 0;
  if (!by_expert) sort += small * groups * blocks_of(group_tokens, router::detail::slot_block) * experts;
  if (by_expert || c.order == slot_order::batch_prioritized) {
    const std::int64_t segments = by_expert ? groups * experts : groups;
    using sorter = router::detail::sorter<typename P::router_type, Kokkos::HostSpace>;
    sort += 2 * (r + small) * segments * group_tokens +
            small * segments * blocks_of(group_tokens, sorter::block) * sorter::digits;
  }
  return expert_rows + decisions + lists + scaled_input + sums + sort;
}

} // namespace detail

/// Bytes that switch_layer<Exec, P> allocates for `groups` routing groups of `tokens` tokens. Beside them: the packed
/// weights, two orders of the experts' and the router's in the types of the products, columns padded to the width of
/// the engine's panels; and some 100 KB for every thread of a product. Throws invalid_argument for a configuration that
/// cannot be.
template <precision P>
layer_memory memory_of(const switch_config& config, std::int64_t groups, std::int64_t tokens) {
  validate(config);
  const std::int64_t matrices = config.gated ? 3 : 2, hidden = config.gated ? 2 : 1;
  const std::int64_t per_expert =
      matrices * config.d_model * config.d_ff + (config.bias ? hidden * config.d_ff + config.d_model : 0);
  const std::int64_t parameters = config.experts * (per_expert + config.d_model);
  return {parameters * static_cast<std::int64_t>(sizeof(typename P::weight_type)),
          parameters * static_cast<std::int64_t>(sizeof(typename P::gradient_type)),
          detail::tape_bytes<P>(config, groups, tokens)};
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>

/// \file
/// The choices a router can be built with, each an enum of its own. docs/routing.md explains every one and its source.

namespace switchyard {

/// Who chooses whom.
enum class routing_policy : std::uint8_t {
  top_1,                ///< Switch: the most probable expert, gate = its probability, never renormalized
  top_k,                ///< the k most probable experts (Shazeer 2017, GShard, ST-MoE)
  no_token_left_behind, ///< a token refused by a full expert tries its next choice, k stages (paper, appendix B)
  expert_choice         ///< every expert takes the `capacity` tokens that score it highest (Zhou 2022)
};

/// How the gates of top_k follow from the k selected probabilities r.
enum class renormalize_policy : std::uint8_t {
  none,        ///< q_j = r_j (flaxformer, V-MoE)
  before_drop, ///< q_j = r_j / (sum of all k r + 1e-9), dropped choices included (Mesh TensorFlow, GShard)
  after_drop   ///< q_j = r_j / sum of the kept r, 1 where that sum is 0 (lingvo)
};

/// Which choices after the first top_k keeps. They compare r_j / (sum of all k r + 1e-9) with the threshold.
enum class second_expert_policy : std::uint8_t {
  all,       ///< keep
  none,      ///< remove
  threshold, ///< keep iff above the threshold
  random     ///< keep with probability min(1, it / threshold)
};

/// Who comes first where an expert has fewer slots than tokens.
enum class slot_order : std::uint8_t {
  token,            ///< left to right
  batch_prioritized ///< falling largest probability of the token (Riquelme 2021); encoders only, it sees the whole
                    ///< group
};

/// How capacity_factor * tokens / experts becomes a whole number of slots per expert and group.
enum class capacity_policy : std::uint8_t {
  truncate,     ///< Mesh TensorFlow
  half_even,    ///< flaxformer
  ceil,         ///< Megatron-LM, DeepSpeed
  multiple_of_4 ///< lingvo: truncate, then up to a multiple of 4
};

/// Which choices of a token the load-balancing loss counts.
enum class balance_form : std::uint8_t {
  first_choice, ///< the most probable expert; 1 at perfect balance (paper, equation 4)
  any_of_k      ///< each of the k choices; k at perfect balance (flaxformer)
};

/// Over which tokens the load-balancing loss takes f and P.
enum class balance_scope : std::uint8_t {
  group, ///< those of each routing group, then the mean over the groups (Mesh TensorFlow, flaxformer)
  batch  ///< all of the batch, on whichever ranks they lie
};

/// Most experts that one token may choose.
inline constexpr int max_choices = 64;

} // namespace switchyard

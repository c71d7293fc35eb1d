// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/layout.hpp>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/model/parameters.hpp>

/// \file
/// What a mesh and its rules mean for a transformer. Each axis of the mesh may split
///
///   nothing               its ranks do the same work
///   group                 the batch: routing groups, which are whole sequences; several axes may, the outer one first
///   group and experts     the batch, and the experts of the Switch layers; the innermost of the axes that split groups
///
///   tokens, activations      [batch, length, ...]   S<group>
///   wi, wi_gate, wo, sparse  [experts, ...]         S<experts>
///   all other parameters                            R; their gradients are P over the axes that split groups

namespace switchyard {

template <class Mesh, class Rules>
struct transformer_layout;

template <class Mesh, class... Split>
struct transformer_layout<Mesh, rules<Split...>> : switch_layout<Mesh, rules<Split...>> {
  static_assert((detail::lawful<detail::one_of<typename Split::dimension, dims::group, dims::experts>,
                                illegal::transformer_cannot_split<transformer_layout, typename Split::dimension>> &&
                 ...));
};

/// Which elements of a parameter are here. Optimizers' norms count, and checkpoints write, what is `owned`.
struct parameter_slice {
  std::vector<std::int64_t> shape;          ///< of the whole parameter
  std::vector<std::int64_t> offset, extent; ///< of the part here, a box
  bool owned = true;                        ///< of all ranks that have this part, exactly one owns it
};

namespace detail {

/// Throws disagreement on every rank alike where one of them was given another configuration; of the Switch layers'
/// own fields those that they do not compare themselves, before anything is validated. Collective.
inline void agree_on_config(const communicator& world, const transformer_config& c) {
  const auto number = [](auto policy) { return static_cast<int>(policy); };
  agree_on(world, {{"vocabulary", c.vocabulary},
                   {"d_model", c.d_model},
                   {"d_ff", c.d_ff},
                   {"heads", c.heads},
                   {"d_kv", c.d_kv},
                   {"encoder_layers", c.encoder_layers},
                   {"decoder_layers", c.decoder_layers},
                   {"activation", number(c.activation)},
                   {"gated", c.gated},
                   {"sparse", number(c.sparse)},
                   {"sparse_n", c.sparse_n},
                   {"sequences_per_group", c.sequences_per_group},
                   {"auxiliary", number(c.auxiliary)},
                   {"relative_buckets", c.relative_buckets},
                   {"relative_max_distance", c.relative_max_distance},
                   {"tied", c.tied},
                   {"pad_token", c.pad_token},
                   {"dropout", c.dropout},
                   {"z_loss", c.z_loss},
                   {"norm_epsilon", c.norm_epsilon},
                   {"init_scale", c.init_scale},
                   {"seed", c.seed}});
  if (c.sparse != sparse_pattern::none) agree_on_config(world, c.switch_layers());
}

} // namespace detail
} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/layout.hpp>
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

} // namespace switchyard

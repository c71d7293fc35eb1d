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
///   heads, d_ff, vocab    weights, any or all of the three: of attention, of dense FFNs and inside of experts, of the
///                         embedding and the projection to logits. Their ranks read the same sequences
///
///   tokens, activations      [batch, length, ...]   S<group>, R over the axes of weights
///   q, k, v, relative_bias   [..., heads]           S<heads>
///   o                        [heads, d_model]       S<heads>
///   wi, wi_gate, wo          [(experts), ...]       S<experts> where sparse, S<d_ff>
///   embedding, head          [vocab, d_model]       S<vocab>
///   norms, routers           R; gradients of all are P over the axes that split groups, but for split experts

namespace switchyard {

template <class Mesh, class Rules>
struct transformer_layout;

template <class Mesh, class... Split>
struct transformer_layout<Mesh, rules<Split...>> : switch_layout<Mesh, rules<Split...>> {
 private:
  using base = switch_layout<Mesh, rules<Split...>>;
  template <class Dimension>
  using axis_of = typename splitting_axis<Dimension, Mesh, rules<Split...>, dims::d_model, Dimension>::type;
  template <class Dimension>
  static constexpr bool apart =
      detail::lawful<!base::template splits_groups<axis_of<Dimension>>,
                     illegal::weights_are_split_where_groups_are<transformer_layout, Dimension, axis_of<Dimension>>>;
  static_assert(apart<dims::heads> && apart<dims::d_ff> && apart<dims::vocab>);

 public:
  /// The axes that split weights, void for none. That of d_ff is the Switch layer's too.
  using heads_axis = axis_of<dims::heads>;
  using vocab_axis = axis_of<dims::vocab>;
  static constexpr bool heads_split = !std::is_void_v<heads_axis>;
  static constexpr bool vocab_split = !std::is_void_v<vocab_axis>;
  static constexpr bool weights_split = heads_split || vocab_split || base::d_ff_split;

  /// Positions in the mesh; the number of axes where there is none.
  static constexpr std::size_t heads_axis_index = Mesh::template index<heads_axis>;
  static constexpr std::size_t vocab_axis_index = Mesh::template index<vocab_axis>;

  /// Position of the axis that splits that dimension of weights.
  static constexpr std::size_t axis_index(weight_dimension d) {
    return d == weight_dimension::heads        ? heads_axis_index
           : d == weight_dimension::d_ff       ? base::d_ff_axis_index
           : d == weight_dimension::vocabulary ? vocab_axis_index
                                               : Mesh::rank;
  }

  /// What this rank has of a model.
  static model_parts parts_here(const Mesh& m, const transformer_config& c) {
    model_parts here(c);
    here.experts = m.part_along(base::expert_axis_index, c.routing.experts);
    here.heads = m.part_along(heads_axis_index, c.heads);
    here.d_ff = m.part_along(base::d_ff_axis_index, c.d_ff);
    here.vocabulary = m.part_along(vocab_axis_index, c.vocabulary);
    return here;
  }

  /// Throws invalid_argument where an axis cannot cut the model, naming the dimension and what to do. Local.
  static void check(const Mesh& m, const transformer_config& c) {
    const auto divides = [&](const char* what, std::int64_t extent, std::size_t axis) {
      if (axis == Mesh::rank) return;
      const std::int64_t ranks = m.extent(axis);
      detail::require(extent % ranks == 0, what, " = ", extent, ": cannot be split over axis ", Mesh::labels[axis],
                      " of size ", ranks, " (remainder ", extent % ranks, "); make it a multiple of ", ranks,
                      " or change the mesh");
    };
    divides("heads", c.heads, heads_axis_index);
    divides("d_ff", c.d_ff, base::d_ff_axis_index);
    divides("vocabulary", c.vocabulary, vocab_axis_index);
  }
};

} // namespace switchyard

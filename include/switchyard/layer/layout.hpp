// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/rules.hpp>

namespace switchyard {

/// What a mesh and its rules mean for a Switch layer. Everything here is known at compile time.
///
///   x, y, dx, dy   [group, token, d_model]      group may be split
///   wi, wi_gate    [experts, d_model, d_ff]     experts may be split, over the axis that splits the groups
///   wo             [experts, d_ff, d_model]     as wi
///   router         [d_model, experts]           replicated: every token needs the logits of all experts
template <class Mesh, class Rules>
struct switch_layout;

template <class Mesh, class... Split>
struct switch_layout<Mesh, rules<Split...>> {
 private:
  template <class Dimension>
  static constexpr bool known = detail::one_of<Dimension, dims::group, dims::token, dims::experts, dims::capacity,
                                               dims::d_model, dims::d_ff, dims::heads, dims::vocab>;
  template <class Dimension>
  static constexpr bool whole = detail::one_of<Dimension, dims::token, dims::capacity, dims::d_model, dims::d_ff>;

  static_assert((detail::lawful<Mesh::template has<typename Split::axis>, illegal::axis_is_not_in_mesh<Split, Mesh>> &&
                 ...));
  static_assert((detail::lawful<known<typename Split::dimension>, illegal::dimension_is_not_of_any_tensor<Split>> &&
                 ...));
  static_assert((detail::lawful<!whole<typename Split::dimension>,
                                illegal::layer_cannot_split<switch_layout, typename Split::dimension>> &&
                 ...));

 public:
  /// The axis that splits the routing groups, void for none.
  using group_axis =
      typename splitting_axis<dims::group, Mesh, rules<Split...>, dims::group, dims::token, dims::d_model>::type;
  /// The axis that splits the experts, void for none.
  using expert_axis =
      typename splitting_axis<dims::experts, Mesh, rules<Split...>, dims::experts, dims::d_model, dims::d_ff>::type;

  static constexpr bool groups_split = !std::is_void_v<group_axis>;
  static constexpr bool experts_split = !std::is_void_v<expert_axis>;

  static_assert(detail::lawful < !experts_split || std::is_same_v<group_axis, expert_axis>,
                illegal::experts_are_split_where_groups_are_not < switch_layout, group_axis, expert_axis >>);
};

} // namespace switchyard

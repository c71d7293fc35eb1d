// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/plan.hpp>
#include <switchyard/mesh/rules.hpp>

namespace switchyard {

/// What a mesh and its rules mean for a Switch layer. Everything here is known at compile time. Each axis of the mesh
/// may split
///
///   nothing               its ranks do the same work
///   group                 data parallelism; several axes may, the outer one first
///   group and experts     data and expert parallelism; the innermost of the axes that split groups. With another one
///                         outside of it the experts are replicated there: for more ranks than experts
///   d_ff                  model parallelism inside each expert
///
///   x, y, dx, dy   [group, token, d_model]      S<group>
///   wi, wi_gate    [experts, d_model, d_ff]     S<experts>, S<d_ff>
///   wo             [experts, d_ff, d_model]     as wi
///   router         [d_model, experts]           replicated: every token needs the logits of all experts
///
/// and the slots [experts, group, capacity, d_model] on their way:
///
///   token_slots    S<group>
///   sent_slots     where experts are split: S<group>, and S<d_model> where d_ff is split: a slice, nothing is sent
///   arrived_slots  S<experts>, S<d_model>       all-to-all
///   expert_slots   S<experts>, R                all-gather; the experts multiply
///   expert_sums    S<experts>, P                back: reduce-scatter and all-to-all to sent_slots; where experts are
///                                               whole, all-reduce to token_slots
template <class Mesh, class Rules>
struct switch_layout;

template <class... A, class... Split>
struct switch_layout<mesh<A...>, rules<Split...>> {
 private:
  using mesh_type = mesh<A...>;
  using rules_type = rules<Split...>;
  template <class Dimension>
  static constexpr bool known = detail::one_of<Dimension, dims::group, dims::token, dims::experts, dims::capacity,
                                               dims::d_model, dims::d_ff, dims::heads, dims::vocab>;
  template <class Dimension>
  static constexpr bool whole = detail::one_of<Dimension, dims::token, dims::capacity, dims::d_model>;

  static_assert(
      (detail::lawful<mesh_type::template has<typename Split::axis>, illegal::axis_is_not_in_mesh<Split, mesh_type>> &&
       ...));
  static_assert((detail::lawful<known<typename Split::dimension>, illegal::dimension_is_not_of_any_tensor<Split>> &&
                 ...));
  static_assert((detail::lawful<!whole<typename Split::dimension>,
                                illegal::layer_cannot_split<switch_layout, typename Split::dimension>> &&
                 ...));

 public:
  /// The axis that splits the experts, void for none.
  using expert_axis =
      typename splitting_axis<dims::experts, mesh_type, rules_type, dims::experts, dims::d_model, dims::d_ff>::type;
  /// The axis that splits the hidden layer of each expert, void for none.
  using d_ff_axis =
      typename splitting_axis<dims::d_ff, mesh_type, rules_type, dims::experts, dims::d_model, dims::d_ff>::type;
  /// Does this axis split the routing groups?
  template <class Axis>
  static constexpr bool splits_groups =
      std::is_same_v<typename detail::placed_on<Axis, rules_type, dims::group, dims::token, dims::d_model>::type,
                     S<dims::group>>;

  static constexpr bool groups_split = (splits_groups<typename A::id> || ...);
  static constexpr bool experts_split = !std::is_void_v<expert_axis>;
  static constexpr bool d_ff_split = !std::is_void_v<d_ff_axis>;
  /// Are gradients of the experts sums over ranks?
  static constexpr bool experts_summed =
      ((splits_groups<typename A::id> && !std::is_same_v<typename A::id, expert_axis>) || ...);

  /// Positions in the mesh; the number of axes where there is none.
  static constexpr std::size_t expert_axis_index = mesh_type::template index<expert_axis>;
  static constexpr std::size_t d_ff_axis_index = mesh_type::template index<d_ff_axis>;
  static constexpr std::array<bool, sizeof...(A)> axis_splits_groups{splits_groups<typename A::id>...};

  /// Of `groups`, those of this rank and of all that differ from it in the axes from number `axes` on.
  static part groups_within(const mesh_type& m, std::int64_t groups, std::size_t axes = sizeof...(A)) {
    part here{0, groups};
    for (std::size_t a = 0; a < axes; ++a) {
      if (!axis_splits_groups[a]) continue;
      const part inside = part_of(here.count, m.extent(a), m.coordinate(a));
      here = {here.begin + inside.begin, inside.count};
    }
    return here;
  }

 private:
  /// The innermost axis that splits groups.
  static constexpr std::size_t innermost = [] {
    std::size_t found = sizeof...(A), i = 0;
    ((found = splits_groups<typename A::id> ? i : found, ++i), ...);
    return found;
  }();
  static constexpr bool nested = !experts_split || !splits_groups<expert_axis> || innermost == expert_axis_index;
  static_assert(detail::lawful < !experts_split || splits_groups<expert_axis>,
                illegal::experts_are_split_where_groups_are_not < switch_layout, expert_axis >>);
  static_assert(detail::lawful<nested, illegal::experts_are_split_outside_of_groups<switch_layout, expert_axis>>);
  static_assert(detail::lawful < !d_ff_split || !splits_groups<d_ff_axis>,
                illegal::d_ff_is_split_where_groups_are < switch_layout, d_ff_axis >>);

  template <class Axis, class Split1, class OnModel>
  using choose = std::conditional_t<splits_groups<Axis>, Split1,
                                    std::conditional_t<d_ff_split && std::is_same_v<Axis, d_ff_axis>, OnModel, R>>;
  template <class Axis>
  using held = std::conditional_t<experts_split && std::is_same_v<Axis, expert_axis>, S<dims::experts>, S<dims::group>>;
  using cut = std::conditional_t<experts_split, S<dims::d_model>, R>;

 public:
  using tokens = placements<choose<typename A::id, S<dims::group>, R>...>;
  using token_columns = placements<choose<typename A::id, S<dims::group>, S<dims::d_model>>...>;
  using token_slots = tokens;
  using sent_slots = placements<choose<typename A::id, S<dims::group>, cut>...>;
  using arrived_slots = placements<choose<typename A::id, held<typename A::id>, cut>...>;
  using expert_slots = placements<choose<typename A::id, held<typename A::id>, R>...>;
  using expert_sums = placements<choose<typename A::id, held<typename A::id>, P>...>;

  template <class T, class Placements>
  using slots_tensor =
      tensor<T, mesh_type, dimensions<dims::experts, dims::group, dims::capacity, dims::d_model>, Placements>;
  template <class T, class Placements>
  using tokens_tensor = tensor<T, mesh_type, dimensions<dims::group, dims::token, dims::d_model>, Placements>;
};

} // namespace switchyard

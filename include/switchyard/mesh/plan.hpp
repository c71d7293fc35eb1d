// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/tensor.hpp>

/// \file
/// How a tensor gets from one placement to another, decided by the two types. On each mesh axis
///
///   from     to       movement
///   R        S<d>     slice            sends nothing
///   P        S<d>     reduce_scatter
///   S<d>     S<e>     all_to_all
///   P        R        all_reduce
///   S<d>     R        all_gather
///
/// in this order: what shrinks a tensor comes first, what grows it last. A dimension that two axes split is cut by the
/// outer one first, so an axis is only changed while no inner axis splits the same dimension.

namespace switchyard {

enum class movement { none, slice, reduce_scatter, all_to_all, all_reduce, all_gather };
constexpr const char* label(movement kind) {
  constexpr const char* labels[] = {"none", "slice", "reduce_scatter", "all_to_all", "all_reduce", "all_gather"};
  return labels[static_cast<int>(kind)];
}

/// One movement along one axis: dimension `joined` becomes whole there, dimension `cut` is split (-1: none).
struct reshard_step {
  movement kind = movement::none;
  int axis = 0, joined = -1, cut = -1;
};

/// The movements of a reshard, in order, and what each sends.
template <std::size_t Axes>
struct reshard_plan {
  std::array<reshard_step, Axes> steps{};
  std::size_t count = 0;
  int stuck = -1; ///< an axis that cannot be changed, -1 for none
};

namespace detail {

constexpr movement movement_between(int from, int to) {
  if (from == to) return movement::none;
  if (from == replicated) return movement::slice;
  if (from == partial) return to == replicated ? movement::all_reduce : movement::reduce_scatter;
  return to == replicated ? movement::all_gather : movement::all_to_all;
}

template <std::size_t Axes>
constexpr reshard_plan<Axes> make_plan(std::array<int, Axes> now, const std::array<int, Axes>& to) {
  reshard_plan<Axes> result;
  const auto free = [&](std::size_t axis, int dimension) { // no inner axis splits it
    for (std::size_t inner = axis + 1; inner < Axes; ++inner)
      if (dimension >= 0 && now[inner] == dimension) return false;
    return true;
  };
  const auto next = [&](reshard_step& found) {
    for (int kind = 1; kind <= static_cast<int>(movement::all_gather); ++kind)
      for (std::size_t i = 0; i < Axes; ++i) {
        // Cuts start at the outer axis, joins at the inner one.
        const std::size_t axis = kind == static_cast<int>(movement::all_gather) ? Axes - 1 - i : i;
        if (static_cast<int>(movement_between(now[axis], to[axis])) != kind) continue;
        result.stuck = static_cast<int>(axis);
        if (!free(axis, now[axis]) || !free(axis, to[axis])) continue;
        found = {static_cast<movement>(kind), static_cast<int>(axis), now[axis] >= 0 ? now[axis] : -1,
                 to[axis] >= 0 ? to[axis] : -1};
        return true;
      }
    return false;
  };
  reshard_step s;
  while (result.stuck = -1, next(s)) {
    result.steps[result.count++] = s;
    now[static_cast<std::size_t>(s.axis)] = to[static_cast<std::size_t>(s.axis)];
  }
  return result;
}

/// May From become To? Holds, or speaks, once per pair.
template <class From, class To>
struct reshard_rules;
template <class T, class... A, class... D, class... F, class... G, class Space>
struct reshard_rules<tensor<T, mesh<A...>, dimensions<D...>, placements<F...>, Space>,
                     tensor<T, mesh<A...>, dimensions<D...>, placements<G...>, Space>> {
  using all = dimensions<D...>;
  template <class From, class To>
  static constexpr bool kept = !std::is_same_v<To, P> || std::is_same_v<From, P>;
  static constexpr bool no_new_sums = (kept<F, G> && ...);
  static_assert((lawful<kept<F, G>, illegal::reshard_makes_partial_sums<typename A::id, F>> && ...));

  static constexpr auto value = make_plan(codes<all, placements<F...>>, codes<all, placements<G...>>);

  /// The evidence: which dimension, and which inner axis holds it.
  template <std::size_t I, class... X>
  struct nth {
    using type = void;
  };
  template <class First, class... Rest>
  struct nth<0, First, Rest...> {
    using type = First;
  };
  template <std::size_t I, class First, class... Rest>
  requires(I > 0) struct nth<I, First, Rest...> : nth<I - 1, Rest...> {
  };
  static constexpr std::size_t outer = value.stuck < 0 ? 0 : static_cast<std::size_t>(value.stuck);
  static constexpr std::size_t inner = [] {
    constexpr auto from = codes<all, placements<F...>>, to = codes<all, placements<G...>>;
    for (std::size_t i = sizeof...(A); i-- > outer + 1;)
      if (to[i] >= 0 && (to[i] == from[outer] || to[i] == to[outer])) return i;
    return outer;
  }();
  static constexpr int held = sizeof...(A) == 0 ? -1 : std::array<int, sizeof...(A) + 1>{code<all, G>..., -1}[inner];
  static constexpr bool gets_there = !no_new_sums || value.stuck < 0;
  using dimension_held =
      typename nth<static_cast<std::size_t>(held < 0 ? 0 : held), typename dimension_entry<D>::id...>::type;
  using outer_axis = typename nth<outer, typename A::id...>::type;
  using inner_axis = typename nth<inner, typename A::id...>::type;
  static_assert(lawful<gets_there, illegal::inner_split_is_in_the_way<dimension_held, outer_axis, inner_axis>>);
};

/// reshard<To>: To is placements<...> or a tensor type.
template <class From, class To>
struct reshard_target {
  static_assert(lawful<!is_tensor<To>, illegal::reshard_changes_more_than_placements<From, To>>);
  using type = From;
};
template <class From, class... Pl>
struct reshard_target<From, placements<Pl...>> {
  using type = replaced<From, placements<Pl...>>;
};
template <class T, class M, class D, class F, class G, class Space>
struct reshard_target<tensor<T, M, D, F, Space>, tensor<T, M, D, G, Space>> {
  using type = tensor<T, M, D, G, Space>;
};

} // namespace detail

/// The type of reshard<To>(exec, from): To is placements<...>, or a tensor type that differs from From in nothing else.
template <placed_tensor From, class To>
using resharded = typename detail::reshard_target<From, To>::type;

/// The movements from one tensor type to another. Known at compile time.
template <placed_tensor From, placed_tensor To>
inline constexpr auto plan_of = detail::reshard_rules<From, To>::value;

/// Bytes that the rank at `coordinates` addresses to other ranks, axis by axis, when a tensor of these global extents
/// is resharded. constexpr: with static extents it is a constant. A run counts the same (counting.hpp).
template <placed_tensor From, placed_tensor To>
constexpr std::array<std::int64_t, From::mesh_type::rank>
bytes_sent(const std::array<std::int64_t, From::rank>& extents,
           const std::array<std::int64_t, From::mesh_type::rank>& mesh_extents,
           const std::array<std::int64_t, From::mesh_type::rank>& coordinates) {
  constexpr auto steps = plan_of<From, To>;
  std::array<std::int64_t, From::mesh_type::rank> bytes{};
  auto now = detail::codes<typename From::dimensions_type, typename From::placements_type>;
  constexpr auto to = detail::codes<typename To::dimensions_type, typename To::placements_type>;
  for (std::size_t i = 0; i < steps.count; ++i) {
    const reshard_step s = steps.steps[i];
    const auto axis = static_cast<std::size_t>(s.axis);
    const std::int64_t ranks = mesh_extents[axis];
    std::int64_t held = 1; // elements before the step
    for (std::size_t d = 0; d < From::rank; ++d)
      held *= detail::part_at(now, mesh_extents, coordinates, d, extents[d]).count;
    std::int64_t kept = held; // of these, what stays here
    if (s.cut >= 0) {
      const auto d = static_cast<std::size_t>(s.cut);
      const std::int64_t along = detail::part_at(now, mesh_extents, coordinates, d, extents[d]).count;
      kept = along == 0 ? 0 : held / along * part_of(along, ranks, coordinates[axis]).count;
    }
    std::int64_t sent = 0;
    if (s.kind == movement::reduce_scatter || s.kind == movement::all_to_all) sent = held - kept;
    if (s.kind == movement::all_gather) sent = held * (ranks - 1);
    if (s.kind == movement::all_reduce) {
      const std::int64_t mine = part_of(held, ranks, coordinates[axis]).count;
      sent = held - mine + mine * (ranks - 1);
    }
    bytes[axis] += sent * static_cast<std::int64_t>(sizeof(typename From::value_type));
    now[axis] = to[axis];
  }
  return bytes;
}

} // namespace switchyard

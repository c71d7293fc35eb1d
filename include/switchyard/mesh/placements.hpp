// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <span>
#include <switchyard/mesh/illegal_tensor.hpp>
#include <switchyard/mesh/rules.hpp>

/// \file
/// Where a tensor lies, as types: its dimensions and one placement per mesh axis; and as numbers, for what is computed
/// from them. Everything here is constexpr and communicates nothing.

namespace switchyard {

/// A dimension whose extent the type knows. A bare name, dims::d_ff, is one whose extent is given at run time.
template <named Name, std::int64_t Extent>
struct dimension {
  static_assert(Extent >= 0, "switchyard: an extent is not negative");
  using id = Name;
  static constexpr std::int64_t extent = Extent;
};

namespace detail {
template <class D>
struct dimension_entry {
  using id = D;
  static constexpr std::int64_t extent = run_time;
};
template <named Name, std::int64_t Extent>
struct dimension_entry<dimension<Name, Extent>> {
  using id = Name;
  static constexpr std::int64_t extent = Extent;
};
} // namespace detail

/// The dimensions of a tensor, the last one varying fastest: names, or dimension<name, extent>.
template <class... D>
struct dimensions {
  static constexpr std::size_t rank = sizeof...(D);
  static constexpr std::array<std::int64_t, rank> fixed_extents{detail::dimension_entry<D>::extent...};
  static constexpr std::array<std::string_view, rank> labels{detail::dimension_entry<D>::id::label()...};

  /// Position of a dimension, `rank` if there is none of that name.
  template <class Name>
  static constexpr std::size_t index = [] {
    std::size_t found = rank, i = 0;
    ((found = std::is_same_v<Name, typename detail::dimension_entry<D>::id> ? i : found, ++i), ...);
    return found;
  }();
  template <class Name>
  static constexpr bool has = index<Name> < rank;
};

/// One placement per mesh axis, in the order of the mesh: R, S<dimension> or P.
template <class... Placement>
struct placements {
  static constexpr std::size_t axes = sizeof...(Placement);
  static constexpr bool partial = (std::is_same_v<Placement, P> || ...);
  /// Does any axis split this dimension?
  template <class Dimension>
  static constexpr bool splits = (std::is_same_v<Placement, S<Dimension>> || ...);
};

/// Which dimensions may have parts that differ by one; all others must divide.
template <class Dimension>
inline constexpr bool may_be_uneven = detail::one_of<Dimension, dims::group, dims::experts>;

/// A placement by the name of its axis.
template <named Axis, class Placement>
struct on {
  using axis = Axis;
  using type = Placement;
};

namespace detail {

template <class Axis, class... On>
struct placement_of_axis {
  using type = R;
};
template <class Axis, class First, class... Rest>
struct placement_of_axis<Axis, First, Rest...> {
  using type = typename std::conditional_t<std::is_same_v<Axis, typename First::axis>, First,
                                           placement_of_axis<Axis, Rest...>>::type;
};

template <class Mesh, class... On>
struct placed_by_name;
template <class... A, class... On>
struct placed_by_name<mesh<A...>, On...> {
  template <class Axis>
  static constexpr int times = (0 + ... + (std::is_same_v<Axis, typename On::axis> ? 1 : 0));
  static_assert((lawful<mesh<A...>::template has<typename On::axis>, illegal::axis_is_not_in_mesh<On, mesh<A...>>> &&
                 ...));
  static_assert((lawful<times<typename A::id> <= 1, illegal::axis_is_placed_twice<mesh<A...>, typename A::id>> && ...));
  using type = placements<typename placement_of_axis<typename A::id, On...>::type...>;
};

template <class Mesh, class Rules, class Dimensions>
struct placed_by_rules;
template <class... A, class... Split, class... D>
struct placed_by_rules<mesh<A...>, rules<Split...>, dimensions<D...>> {
  static_assert(
      (lawful<mesh<A...>::template has<typename Split::axis>, illegal::axis_is_not_in_mesh<Split, mesh<A...>>> && ...));
  using type = placements<placement<typename A::id, rules<Split...>, typename dimension_entry<D>::id...>...>;
};

/// A placement as a number: the index of the split dimension, or one of these.
inline constexpr int replicated = -1, partial = -2;
template <class Dimensions, class Placement>
inline constexpr int code = replicated;
template <class Dimensions>
inline constexpr int code<Dimensions, P> = partial;
template <class Dimensions, class D>
inline constexpr int code<Dimensions, S<D>> = static_cast<int>(Dimensions::template index<D>);

template <class Dimensions, class Placements>
inline constexpr std::array<int, 0> codes{};
template <class Dimensions, class... Placement>
inline constexpr std::array<int, sizeof...(Placement)> codes<Dimensions, placements<Placement...>>{
    code<Dimensions, Placement>...};

/// The part of dimension `which` (of `extent`) that lies at `coordinates`: cut over the axes that split it, in the
/// order of the mesh, each cut inside the one before it.
constexpr part part_at(std::span<const int> codes, std::span<const std::int64_t> mesh_extents,
                       std::span<const std::int64_t> coordinates, std::size_t which, std::int64_t extent) {
  part here{0, extent};
  for (std::size_t a = 0; a < codes.size(); ++a) {
    if (codes[a] != static_cast<int>(which)) continue;
    const part inside = part_of(here.count, mesh_extents[a], coordinates[a]);
    here = {here.begin + inside.begin, inside.count};
  }
  return here;
}

/// Into how many parts the axes cut dimension `which`; run_time where an axis leaves its extent open.
constexpr std::int64_t ways(std::span<const int> codes, std::span<const std::int64_t> mesh_extents, std::size_t which) {
  std::int64_t product = 1;
  for (std::size_t a = 0; a < codes.size(); ++a) {
    if (codes[a] != static_cast<int>(which)) continue;
    if (mesh_extents[a] == run_time) return run_time;
    product *= mesh_extents[a];
  }
  return product;
}

constexpr bool divides(std::int64_t parts, std::int64_t extent) {
  return parts == run_time || extent == run_time || extent % parts == 0;
}

/// Holds, or speaks, once per combination of mesh, dimensions and placements.
template <class Mesh, class Dimensions, class Placements>
struct tensor_rules;
template <class... A, class... D, class... Pl>
struct tensor_rules<mesh<A...>, dimensions<D...>, placements<Pl...>> {
  using all = dimensions<D...>;
  using laid = placements<Pl...>;

  static constexpr bool one_each = sizeof...(A) == sizeof...(Pl);
  static_assert(lawful<one_each, illegal::placements_do_not_match_mesh<laid, mesh<A...>>>);

  template <class Name>
  static constexpr int times = (0 + ... + (std::is_same_v<Name, typename dimension_entry<D>::id> ? 1 : 0));
  static_assert((lawful<times<typename dimension_entry<D>::id> == 1,
                        illegal::dimension_is_repeated<all, typename dimension_entry<D>::id>> &&
                 ...));

  template <class Placement>
  static constexpr bool known = code<all, Placement> != static_cast<int>(all::rank);
  static constexpr bool all_known = (known<Pl> && ...);
  static_assert((lawful<known<Pl>, illegal::split_dimension_is_not_in_tensor<all, Pl>> && ...));

  template <class Entry>
  static constexpr bool even = [] {
    if constexpr (!one_each || !all_known || may_be_uneven<typename dimension_entry<Entry>::id>)
      return true;
    else
      return divides(
          ways(codes<all, laid>, mesh<A...>::fixed_extents, all::template index<typename dimension_entry<Entry>::id>),
          dimension_entry<Entry>::extent);
  }();
  static_assert((lawful<even<D>, illegal::dimension_does_not_divide<D, mesh<A...>, laid>> && ...));

  static constexpr bool ok = true;
};

} // namespace detail

/// Placements by name, in any order; an axis that is not named is R: placed<Mesh, on<data, S<dims::experts>>>.
template <class Mesh, class... On>
using placed = typename detail::placed_by_name<Mesh, On...>::type;

/// Placements by rules: on each axis the first rule whose dimension the tensor has, R where there is none.
template <class Mesh, class Rules, class... D>
using placed_by = typename detail::placed_by_rules<Mesh, Rules, dimensions<D...>>::type;

} // namespace switchyard

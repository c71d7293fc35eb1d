// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/mesh.hpp>

/// \file
/// From names to placements. On each mesh axis a tensor is exactly one of
///   R      replicated: every rank along the axis holds the same values
///   S<D>   split: rank r holds part r of dimension D
///   P      partial: the value is the sum over the ranks
/// Rules are a priority list: on each axis, the first rule whose dimension the tensor has decides. So `group` before
/// `experts` on the same axis puts the slots of the token side on S<group>, the expert weights on S<experts>.

namespace switchyard {

struct R {};
template <named Dimension>
struct S {};
struct P {};

/// A rule: dimension D of any tensor that has it is split over axis A.
template <named D, named A>
struct split {
  using dimension = D;
  using axis = A;
};

template <class... Split>
struct rules {};

namespace detail {

template <class Dimension, class... D>
inline constexpr bool one_of = (std::is_same_v<Dimension, D> || ...);

/// The first rule for Axis whose dimension is among D.
template <class Axis, class Rules, class... D>
struct placed_on {
  using type = R;
};
template <class Axis, class First, class... Rest, class... D>
struct placed_on<Axis, rules<First, Rest...>, D...> {
  using type =
      typename std::conditional_t<std::is_same_v<typename First::axis, Axis> && one_of<typename First::dimension, D...>,
                                  std::type_identity<S<typename First::dimension>>,
                                  placed_on<Axis, rules<Rest...>, D...>>::type;
};

} // namespace detail

/// Placement of a tensor with dimensions D on mesh axis Axis: R or S<one of D>.
template <named Axis, class Rules, named... D>
using placement = typename detail::placed_on<Axis, Rules, D...>::type;

/// The mesh axis over which the rules split `Dimension` of a tensor with dimensions D; void where they do not.
template <class Dimension, class Mesh, class Rules, class... D>
struct splitting_axis;
template <class Dimension, class... Axis, class Rules, class... D>
struct splitting_axis<Dimension, mesh<Axis...>, Rules, D...> {
 private:
  template <class...>
  struct first {
    using type = void;
  };
  template <class A, class... More>
  struct first<A, More...> {
    static constexpr bool here = std::is_same_v<placement<typename A::id, Rules, D...>, S<Dimension>>;
    using rest = typename first<More...>::type;
    static_assert(detail::lawful < !here || std::is_void_v<rest>, illegal::dimension_is_split_twice < Dimension,
                  typename A::id, rest >>);
    using type = std::conditional_t<here, typename A::id, rest>;
  };

 public:
  using type = typename first<Axis...>::type;
};

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <type_traits>

/// \file
/// One struct per crime. Its name and its template arguments are the message; the sentence says what to do.
/// Each has ok = true, so that one crime gives one error and not a cascade.

namespace switchyard {
namespace detail {
template <class...>
inline constexpr bool never = false;
}

namespace illegal {

template <class Axis>
struct axis_is_repeated_in_mesh {
  static_assert(detail::never<Axis>, "switchyard: a mesh names the same axis twice; give every axis its own name");
  static constexpr bool ok = true;
};

template <class Split, class Mesh>
struct axis_is_not_in_mesh {
  static_assert(
      detail::never<Split>,
      "switchyard: a rule names an axis that the mesh does not have; add the axis to the mesh or drop the rule");
  static constexpr bool ok = true;
};

template <class Split>
struct dimension_is_not_of_any_tensor {
  static_assert(detail::never<Split>,
                "switchyard: a rule names a dimension that none of the layer's tensors has; use one "
                "of switchyard::dims that the layer knows or drop the rule");
  static constexpr bool ok = true;
};

template <class Dimension, class Axis1, class Axis2>
struct dimension_is_split_twice {
  static_assert(detail::never<Dimension>,
                "switchyard: one dimension of a tensor is split over two mesh axes here; split "
                "it over one of them");
  static constexpr bool ok = true;
};

template <class Layer, class Dimension>
struct layer_cannot_split {
  static_assert(detail::never<Layer>, "switchyard: this layer cannot be split over that dimension; split dims::group, "
                                      "dims::experts over the same axis, and dims::d_ff over another one");
  static constexpr bool ok = true;
};

template <class Layout, class Dimension, class Axis>
struct weights_are_split_where_groups_are {
  static_assert(detail::never<Layout>,
                "switchyard: heads, d_ff or the vocabulary are split over an axis that splits the routing groups, but "
                "every token needs all of them; split them over an axis of their own");
  static constexpr bool ok = true;
};

template <class Layer, class ExpertAxis>
struct experts_are_split_where_groups_are_not {
  static_assert(detail::never<Layer>, "switchyard: experts are split over an axis that does not split the routing "
                                      "groups; split dims::group over the same axis");
  static constexpr bool ok = true;
};

template <class Layer, class ExpertAxis>
struct experts_are_split_outside_of_groups {
  static_assert(detail::never<Layer>, "switchyard: experts are split over an axis with another one inside of it that "
                                      "splits the routing groups; put the axis of the replicas first in the mesh");
  static constexpr bool ok = true;
};

template <class Layer, class Axis>
struct d_ff_is_split_where_groups_are {
  static_assert(detail::never<Layer>,
                "switchyard: dims::d_ff is split over an axis that splits the routing groups, but "
                "every token needs all of its expert; split dims::d_ff over an axis of its own");
  static constexpr bool ok = true;
};

template <class View>
struct view_is_not_layout_right {
  static_assert(detail::never<View>, "switchyard: tokens must be in a LayoutRight view [group, token, d_model]; "
                                     "Kokkos::deep_copy yours into one");
  static constexpr bool ok = true;
};

template <class Engine, class Space, class Type>
struct engine_does_not_support {
  static_assert(detail::never<Engine>, "switchyard: this engine has no product of that type on that execution space; "
                                       "use switchyard::gemm::default_engine or portable_engine");
  static constexpr bool ok = true;
};

} // namespace illegal

namespace detail {
/// static_assert(lawful<condition, illegal::crime<...>>): the crime is instantiated, and speaks, only where it
/// happened.
template <bool Condition, class Crime>
inline constexpr bool lawful = true;
template <class Crime>
inline constexpr bool lawful<false, Crime> = Crime::ok;
} // namespace detail

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/illegal.hpp>

/// \file
/// The crimes of the tensor algebra; see illegal.hpp.

namespace switchyard {
namespace illegal {

template <class Placements, class Mesh>
struct placements_do_not_match_mesh {
  static_assert(detail::never<Placements>,
                "switchyard: a tensor has one placement per axis of its mesh, in the mesh's order; write one of R, "
                "S<dimension> and P for each, or use placed<Mesh, on<axis, S<dimension>>>");
  static constexpr bool ok = true;
};

template <class Mesh, class Axis>
struct axis_is_placed_twice {
  static_assert(detail::never<Axis>, "switchyard: an axis of the mesh is given two placements; keep one of them");
  static constexpr bool ok = true;
};

template <class Dimensions, class Dimension>
struct dimension_is_repeated {
  static_assert(detail::never<Dimension>,
                "switchyard: a tensor names the same dimension twice; give every dimension its own name");
  static constexpr bool ok = true;
};

template <class Dimensions, class Placement>
struct split_dimension_is_not_in_tensor {
  static_assert(detail::never<Dimensions>, "switchyard: a placement splits a dimension that the tensor does not have; "
                                           "split one that it has, or replicate with R");
  static constexpr bool ok = true;
};

template <class Dimension, class Mesh, class Placements>
struct dimension_does_not_divide {
  static_assert(detail::never<Dimension>,
                "switchyard: the extent of a dimension is not a multiple of the extents of the mesh axes that split "
                "it; change one of them (only dims::group and dims::experts may be uneven)");
  static constexpr bool ok = true;
};

template <class A, class B>
struct operands_are_on_different_meshes {
  static_assert(detail::never<A>,
                "switchyard: two tensors of one operation live on different meshes; give both the same mesh");
  static constexpr bool ok = true;
};

template <class A, class B>
struct operands_have_different_dimensions {
  static_assert(
      detail::never<A>,
      "switchyard: an elementwise operation needs tensors of the same type and the same dimensions in the same order");
  static constexpr bool ok = true;
};

template <class A, class B>
struct operands_are_placed_differently {
  static_assert(detail::never<A>, "switchyard: an elementwise operation needs both tensors placed alike, and "
                                  "communicates nothing; reshard one of them first");
  static constexpr bool ok = true;
};

template <class A, class B>
struct added_to_partial_sums {
  static_assert(detail::never<A>, "switchyard: a tensor that is not partial is added to partial sums, where every rank "
                                  "would add it once; reshard the partial sums first");
  static constexpr bool ok = true;
};

template <class Tensor>
struct nonlinear_on_partial_sums {
  static_assert(detail::never<Tensor>, "switchyard: a function is applied to partial sums, whose value is the sum over "
                                       "the ranks; reshard them to R or S<dimension> first");
  static constexpr bool ok = true;
};

template <class Tensor, class Dimension>
struct dimension_must_be_whole {
  static_assert(detail::never<Tensor>, "switchyard: an operation along a dimension needs it whole on every rank; "
                                       "reshard the tensor so that no axis splits it");
  static constexpr bool ok = true;
};

template <class Tensor>
struct partial_sums_are_used_twice {
  static_assert(detail::never<Tensor>,
                "switchyard: partial sums are resharded once, and then gone; hand them over with std::move");
  static constexpr bool ok = true;
};

template <class Dimension, class A, class B>
struct einsum_dimension_is_in_no_operand {
  static_assert(detail::never<Dimension>, "switchyard: einsum's result names a dimension that neither operand has");
  static constexpr bool ok = true;
};

template <class Dimension, class A, class B>
struct einsum_sums_one_operand_alone {
  static_assert(detail::never<Dimension>, "switchyard: einsum's result leaves out a dimension that only one operand "
                                          "has; name it in the result, or give it to both operands");
  static constexpr bool ok = true;
};

template <class Axis, class A, class B>
struct einsum_of_partial_sums {
  static_assert(
      detail::never<Axis>,
      "switchyard: an operand of einsum holds partial sums on this axis; reshard it to R or S<dimension> first");
  static constexpr bool ok = true;
};

template <class Axis, class A, class B>
struct einsum_operands_are_split_apart {
  static_assert(detail::never<Axis>,
                "switchyard: a dimension that both operands of einsum have is split over this axis in one of them "
                "only; reshard the other to the same S<dimension> first: from R that sends nothing");
  static constexpr bool ok = true;
};

template <class Axis, class A, class B>
struct einsum_placements_clash {
  static_assert(
      detail::never<Axis>,
      "switchyard: the operands of einsum split different dimensions over the same axis; reshard one of them first");
  static constexpr bool ok = true;
};

template <class Axis, class From>
struct reshard_makes_partial_sums {
  static_assert(
      detail::never<Axis>,
      "switchyard: reshard would have to turn a tensor into partial sums on this axis; only einsum makes partial sums");
  static constexpr bool ok = true;
};

template <class From, class To>
struct reshard_changes_more_than_placements {
  static_assert(detail::never<From>, "switchyard: reshard changes where a tensor lies and nothing else; mesh, "
                                     "dimensions, value type and space stay the same");
  static constexpr bool ok = true;
};

template <class Dimension, class Axis, class InnerAxis>
struct inner_split_is_in_the_way {
  static_assert(detail::never<Dimension>, "switchyard: a dimension is split over two axes and reshard changes the "
                                          "outer one alone; gather it over the inner axis first");
  static constexpr bool ok = true;
};

template <class Weight, class Gradient>
struct not_a_gradient_of {
  static_assert(
      detail::never<Weight>,
      "switchyard: a gradient has the mesh and the dimensions, in the same order, of what it is the gradient of");
  static constexpr bool ok = true;
};

} // namespace illegal
} // namespace switchyard

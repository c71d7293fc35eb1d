// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/detail/tensor_kernels.hpp>
#include <switchyard/mesh/tensor.hpp>

/// \file
/// What one does to tensors between two einsums. Nothing here communicates, so each operation says by its types where
/// it is allowed: partial sums may be added to partial sums, and nothing else may be done with them; an operation along
/// a dimension needs that dimension whole.

namespace switchyard {

namespace detail {
template <class Tensor>
std::int64_t local_size(const Tensor& x) {
  return static_cast<std::int64_t>(x.flat().size());
}

/// Two operands of an elementwise operation: the same but for their values.
template <class A, class B>
inline constexpr bool elementwise = [] {
  constexpr bool alike = std::is_same_v<typename A::value_type, typename B::value_type> &&
                         std::is_same_v<typename A::dimensions_type, typename B::dimensions_type> &&
                         std::is_same_v<typename A::space, typename B::space>;
  constexpr bool meet = std::is_same_v<typename A::mesh_type, typename B::mesh_type>;
  constexpr bool placed_alike = std::is_same_v<typename A::placements_type, typename B::placements_type>;
  static_assert(lawful<meet, illegal::operands_are_on_different_meshes<A, B>>);
  constexpr bool comparable = !meet || alike;
  static_assert(lawful<comparable, illegal::operands_have_different_dimensions<A, B>>);
  constexpr bool settled = !meet || !alike || placed_alike; // nothing more to say
  constexpr bool no_bias = settled || A::partial == B::partial;
  constexpr bool no_reshard = settled || A::partial != B::partial;
  static_assert(lawful<no_bias, illegal::added_to_partial_sums<A, B>>);
  static_assert(lawful<no_reshard, illegal::operands_are_placed_differently<A, B>>);
  return meet && alike && placed_alike;
}();

template <class A, class B>
void require_same_extents(const char* what, const A& a, const B& b) {
  for (std::size_t d = 0; d < A::rank; ++d)
    require(a.extents()[d] == b.extents()[d], what, ": ", A::dimensions_type::labels[d], " = ", a.extents()[d],
            " in one operand and ", b.extents()[d], " in the other; give both the same extent");
}
} // namespace detail

/// y = f(x), value by value; f is a functor double(double), or float(float) for float and 16-bit values, callable on
/// the device. Not for partial sums: f of a sum is not the sum of f. Allocates y; communicates nothing; the same bytes
/// on every run.
template <class Exec, class F, placed_tensor X>
auto map(const Exec& exec, const F& f, const X& x) {
  static_assert(detail::lawful<!X::partial, illegal::nonlinear_on_partial_sums<X>>);
  X y(x.on_mesh(), x.extents());
  Kokkos::parallel_for("switchyard::mesh::map", indices(exec, detail::local_size(x)),
                       detail::mapped<F, typename X::value_type, typename X::space>{f, x.flat(), y.flat()});
  return y;
}

/// y = f(a, b), value by value, for a and b placed alike. Not for partial sums. Allocates y; communicates nothing.
template <class Exec, class F, placed_tensor A, placed_tensor B>
auto map(const Exec& exec, const F& f, const A& a, const B& b) {
  constexpr bool ok = detail::elementwise<A, B>;
  constexpr bool no_sums = !ok || !A::partial;
  static_assert(detail::lawful<no_sums, illegal::nonlinear_on_partial_sums<A>>);
  A y(a.on_mesh(), a.extents());
  if constexpr (ok) {
    detail::require_same_extents("map", a, b);
    Kokkos::parallel_for(
        "switchyard::mesh::map", indices(exec, detail::local_size(a)),
        detail::mapped_pairs<F, typename A::value_type, typename A::space>{f, a.flat(), b.flat(), y.flat()});
  }
  return y;
}

/// a + b, for a and b placed alike; partial sums to partial sums too, since a sum is linear. A bias that is not partial
/// cannot be added to partial sums: every rank would add it once. Allocates; communicates nothing.
template <class Exec, placed_tensor A, placed_tensor B>
auto add(const Exec& exec, const A& a, const B& b) {
  constexpr bool ok = detail::elementwise<A, B>;
  A y(a.on_mesh(), a.extents());
  if constexpr (ok) {
    detail::require_same_extents("add", a, b);
    Kokkos::parallel_for("switchyard::mesh::add", indices(exec, detail::local_size(a)),
                         detail::added<typename A::value_type, typename A::space>{a.flat(), b.flat(), y.flat()});
  }
  return y;
}

/// y = f along dimension D: f(x_line, y_line) is called once per line of values that differ in D only, a functor
/// callable on the device; a line has size() and operator[]. For softmax, arg-max, cumulative sums. D must be whole.
/// Allocates y; communicates nothing.
template <named D, class Exec, class F, placed_tensor X>
auto along(const Exec& exec, const F& f, const X& x) {
  static_assert(X::dimensions_type::template has<D>, "switchyard: the tensor has no such dimension");
  constexpr bool whole = !X::placements_type::template splits<D>;
  static_assert(detail::lawful<whole, illegal::dimension_must_be_whole<X, D>>);
  constexpr bool no_sums = !whole || !X::partial;
  static_assert(detail::lawful<no_sums, illegal::nonlinear_on_partial_sums<X>>);
  X y(x.on_mesh(), x.extents());
  constexpr std::size_t which = X::dimensions_type::template index<D>;
  const auto local = x.local_extents();
  std::int64_t inner = 1;
  for (std::size_t d = which + 1; d < X::rank; ++d) inner *= local[d];
  const std::int64_t lines = local[which] == 0 ? 0 : detail::local_size(x) / local[which];
  Kokkos::parallel_for(
      "switchyard::mesh::along", indices(exec, lines),
      detail::along_lines<F, typename X::value_type, typename X::space>{f, local[which], inner, x.flat(), y.flat()});
  return y;
}

} // namespace switchyard

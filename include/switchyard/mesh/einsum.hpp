// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/detail/tensor_kernels.hpp>
#include <switchyard/mesh/tensor.hpp>

/// \file
/// Products of tensors, and where their results lie. einsum never communicates: on each mesh axis
///
///   a        b        result
///   S<b>     S<b>     S<b>    b in both operands and in the result
///   S<m>     R        S<m>    m in a and in the result
///   R        S<n>     S<n>    n in b and in the result
///   S<k>     S<k>     P       k in both operands, summed
///   R        R        R       every rank along the axis computes the same
///
/// and everything else is an error that says which operand to reshard.

namespace switchyard {

namespace detail {

template <class D>
struct is_split : std::false_type {
  using dimension = void;
};
template <class D>
struct is_split<S<D>> : std::true_type {
  using dimension = D;
};

/// One row of the table.
template <class Axis, class A, class B, class DimsA, class DimsB, class DimsOut>
struct einsum_axis {
  using a = typename is_split<A>::dimension;
  using b = typename is_split<B>::dimension;
  template <class D>
  static constexpr bool shared = DimsA::template has<D>&& DimsB::template has<D>;

  static constexpr bool whole = !std::is_same_v<A, P> && !std::is_same_v<B, P>;
  static_assert(lawful<whole, illegal::einsum_of_partial_sums<Axis, A, B>>);
  static constexpr bool both = is_split<A>::value && is_split<B>::value;
  static constexpr bool apart =
      whole && !std::is_same_v<A, B> && ((!both && (shared<a> || shared<b>)) || (both && shared<a> && shared<b>));
  static_assert(lawful<!apart, illegal::einsum_operands_are_split_apart<Axis, A, B>>);
  static constexpr bool clash = whole && both && !std::is_same_v<A, B> && !apart;
  static_assert(lawful<!clash, illegal::einsum_placements_clash<Axis, A, B>>);

  using split_here = std::conditional_t<is_split<A>::value, A, B>;
  using split_dimension = typename is_split<split_here>::dimension;
  using type = std::conditional_t<std::is_void_v<split_dimension>, R,
                                  std::conditional_t<DimsOut::template has<split_dimension>, split_here, P>>;
};

template <class Entry, class A, class B>
struct einsum_entry { // the operand's entry: it may know the extent
  template <class>
  struct find;
  template <class... D>
  struct find<dimensions<D...>> {
    template <class... X>
    struct first {
      using type = void;
    };
    template <class X, class... Rest>
    struct first<X, Rest...> {
      using type = typename std::conditional_t<std::is_same_v<typename dimension_entry<X>::id, Entry> &&
                                                   dimension_entry<X>::extent != run_time,
                                               std::type_identity<X>, first<Rest...>>::type;
    };
    using type = typename first<D...>::type;
  };
  using from_a = typename find<A>::type;
  using from_b = typename find<B>::type;
  using known = std::conditional_t<std::is_void_v<from_a>, from_b, from_a>;
  using type = std::conditional_t<std::is_void_v<known>, Entry, known>;
};

template <class T, class A, class B, class Out>
struct einsum_rule;
template <class T, class TA, class TB, class... Axis, class OtherMesh, class... DA, class... DB, class... PA,
          class... PB, class Space, class... D>
struct einsum_rule<T, tensor<TA, mesh<Axis...>, dimensions<DA...>, placements<PA...>, Space>,
                   tensor<TB, OtherMesh, dimensions<DB...>, placements<PB...>, Space>, dimensions<D...>> {
  using one_mesh = mesh<Axis...>;
  static constexpr bool same_mesh = std::is_same_v<one_mesh, OtherMesh>;
  static_assert(lawful<same_mesh, illegal::operands_are_on_different_meshes<one_mesh, OtherMesh>>);

  using out = dimensions<D...>;
  using dims_a = dimensions<DA...>;
  using dims_b = dimensions<DB...>;
  template <class X>
  using id = typename dimension_entry<X>::id;
  template <class X>
  static constexpr bool from_somewhere = dims_a::template has<X> || dims_b::template has<X>;
  static_assert((lawful<from_somewhere<D>, illegal::einsum_dimension_is_in_no_operand<D, dims_a, dims_b>> && ...));
  template <class X>
  static constexpr bool in_two = (dims_a::template has<X> + dims_b::template has<X> + out::template has<X>) >= 2;
  static_assert((lawful<in_two<id<DA>>, illegal::einsum_sums_one_operand_alone<id<DA>, dims_a, dims_b>> && ...));
  static_assert((lawful<in_two<id<DB>>, illegal::einsum_sums_one_operand_alone<id<DB>, dims_a, dims_b>> && ...));

  template <bool Same, class... Pairs>
  struct result { // of different meshes: one error is enough
    using type = placements<std::conditional_t<true, R, Axis>...>;
  };
  template <class... OtherAxis>
  struct result<true, mesh<OtherAxis...>> {
    using type = placements<typename einsum_axis<typename OtherAxis::id, PA, PB, dims_a, dims_b, out>::type...>;
  };
  using type = tensor<T, one_mesh, dimensions<typename einsum_entry<D, dims_a, dims_b>::type...>,
                      typename result<same_mesh, OtherMesh>::type, Space>;
};

/// stride[d]: how far one step in dimension d of a LayoutRight array of these extents goes.
template <std::size_t Rank>
std::array<std::int64_t, Rank> strides(const std::array<std::int64_t, Rank>& extents) {
  std::array<std::int64_t, Rank> stride{};
  std::int64_t next = 1;
  for (std::size_t d = Rank; d-- > 0;) {
    stride[d] = next;
    next *= extents[d];
  }
  return stride;
}

} // namespace detail

/// The type of einsum's result, of value type T and with dimensions D.
template <storage_type T, placed_tensor A, placed_tensor B, named... D>
using einsum_t = typename detail::einsum_rule<T, A, B, dimensions<D...>>::type;

/// How many ranks compute the same part of einsum's result: the ranks along the axes on which both operands are R. More
/// than one is work done in vain, unless the result is wanted on each of them.
template <placed_tensor A, placed_tensor B>
constexpr std::int64_t einsum_copies(const std::array<std::int64_t, A::mesh_type::rank>& mesh_extents) {
  constexpr auto a = detail::codes<typename A::dimensions_type, typename A::placements_type>;
  constexpr auto b = detail::codes<typename B::dimensions_type, typename B::placements_type>;
  std::int64_t copies = 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] == detail::replicated && b[i] == detail::replicated) copies *= mesh_extents[i];
  return copies;
}

/// out[D...] = sum a b over the dimensions that D leaves out, as values of type T. Sums in float for 16-bit types
/// (double for double), in the order of the indices: the same bytes on every run. Never communicates; what the sum over
/// the mesh still owes stands in the result's type. Allocates the result. A portable kernel for any rank: for tests,
/// small tensors and new ideas; the layer's products go through gemm/. Throws invalid_argument where the extents of a
/// shared dimension differ.
template <storage_type T, named... D, class Exec, placed_tensor A, placed_tensor B>
einsum_t<T, A, B, D...> einsum_as(const Exec& exec, const A& a, const B& b) {
  using result_type = einsum_t<T, A, B, D...>;
  using dims_a = typename A::dimensions_type;
  using dims_b = typename B::dimensions_type;
  using dims_out = dimensions<D...>;
  static_assert(dims_a::rank <= detail::most_dimensions && dims_b::rank <= detail::most_dimensions);

  typename result_type::shape extents;
  const auto local_a = a.local_extents(), stride_a = detail::strides(local_a);
  const auto local_b = b.local_extents(), stride_b = detail::strides(local_b);
  detail::walk kept, summed;
  const auto visit = [&](std::size_t in_a, std::size_t in_b, detail::walk& walk) { // rank: not there
    if (in_a < A::rank && in_b < B::rank)
      detail::require(a.extents()[in_a] == b.extents()[in_b], "einsum: ", dims_a::labels[in_a], " = ",
                      a.extents()[in_a], " in one operand and ", b.extents()[in_b],
                      " in the other; give both the same extent");
    walk.add(in_a < A::rank ? local_a[in_a] : local_b[in_b], in_a < A::rank ? stride_a[in_a] : 0,
             in_b < B::rank ? stride_b[in_b] : 0);
    return in_a < A::rank ? a.extents()[in_a] : b.extents()[in_b];
  };
  [[maybe_unused]] std::size_t next = 0;
  ((extents[next++] = visit(dims_a::template index<D>, dims_b::template index<D>, kept)), ...);
  const auto sum_over = [&]<class... E>(dimensions<E...>) {
    const auto one = [&]<class Name>(std::type_identity<Name>) {
      if constexpr (!dims_out::template has<Name>)
        visit(dims_a::template index<Name>, dims_b::template index<Name>, summed);
    };
    (one(std::type_identity<typename detail::dimension_entry<E>::id>()), ...);
  };
  sum_over(dims_a());

  result_type out(a.on_mesh(), extents);
  for_each_index("switchyard::mesh::einsum", exec, static_cast<std::int64_t>(out.flat().size()),
                 detail::contraction<T, typename A::value_type, typename B::value_type, typename A::space>{
                     kept, summed, a.flat(), b.flat(), out.flat()});
  return out;
}

/// The same, as values of a's type.
template <named... D, class Exec, placed_tensor A, placed_tensor B>
auto einsum(const Exec& exec, const A& a, const B& b) {
  return einsum_as<typename A::value_type, D...>(exec, a, b);
}

namespace detail {
template <class T, class Dimensions>
struct einsum_named;
template <class T, class... D>
struct einsum_named<T, dimensions<D...>> {
  template <class Exec, class A, class B>
  static auto run(const Exec& exec, const A& a, const B& b) {
    return einsum_as<T, typename dimension_entry<D>::id...>(exec, a, b);
  }
};
} // namespace detail

/// The gradients of einsum<D...>(exec, a, b) = out, for d_out the gradient of out: two einsums,
///
///   d_a = sum d_out b   over what a does not have,      d_b = sum a d_out   over what b does not have,
///
/// whose types follow from the same table. What is P there is owed: reshard it to grad_of<A>, grad_of<B> before it is a
/// gradient (gradient_of does). Never communicates, allocates both, deterministic.
template <class Exec, placed_tensor A, placed_tensor B, placed_tensor G>
auto einsum_backward(const Exec& exec, const A& a, const B& b, const G& d_out) {
  return std::pair(detail::einsum_named<typename A::value_type, typename A::dimensions_type>::run(exec, d_out, b),
                   detail::einsum_named<typename B::value_type, typename B::dimensions_type>::run(exec, a, d_out));
}

} // namespace switchyard

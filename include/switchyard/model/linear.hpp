// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/grouped_product.hpp>
#include <switchyard/model/detail/linear_kernels.hpp>

/// \file
/// Projections without bias, products of one group:
///
///   forward    y = T(x W)              y = T(x + D ∘ (a W)), into the residual stream
///   backward   dx (=|+=) T(dy W^T)     dW (=|+=) x^T dy
///
/// W [in, out] is packed once per update. Several that read the same x are one `merged_linear`: their backward is one
/// product with the gradients side by side, (dq | dk | dv) [Wq Wk Wv]^T, one sum that is rounded once.

namespace switchyard::model {

/// One weight, or several side by side, as the products want them.
template <class Engine, class Exec, class T>
struct packed_linear {
  using matrix_type = typename Engine::template packed<Exec, T>;
  std::vector<matrix_type> forward; // of each: [in, out]
  matrix_type transposed;           // of all, one below the other: [sum of out, in]
};

/// Room for weights [in, out_i] that read the same rows. Allocates.
template <class Engine, class Exec, class T>
packed_linear<Engine, Exec, T> make_packed_linear(const Exec& exec, std::int64_t in,
                                                  const std::vector<std::int64_t>& out) {
  packed_linear<Engine, Exec, T> to;
  std::int64_t sum = 0;
  for (const std::int64_t columns : out) {
    to.forward.push_back(Engine::template allocate<Exec, T>(exec, 1, in, columns));
    sum += columns;
  }
  to.transposed = Engine::template allocate<Exec, T>(exec, 1, sum, in);
  return to;
}

/// weight [in, out] -> number `which` of `to`, its columns starting at `begin` of all. Rounds to T.
template <class Engine, class Exec, class T, class Weight>
void pack_linear(const Exec& exec, const Weight& weight, const packed_linear<Engine, Exec, T>& to,
                 std::size_t which = 0, std::int64_t begin = 0) {
  const detail::as_group<const typename Weight::non_const_value_type, typename Exec::memory_space> w(
      weight.data(), 1, weight.extent(0), weight.extent(1));
  const auto source = detail::owned(w);
  Engine::template pack<Exec, T>(exec, to.forward[which], source, gemm::orientation::forward);
  Engine::template pack<Exec, T>(exec, to.transposed, source, gemm::orientation::transposed, begin);
}

/// x [rows, in] -> y [rows, out], either of them columns of a wider matrix. add: y += instead of =. For the input
/// gradient x is dy, y is dx and the weight the transposed one.
template <class Engine, class Exec, class Space, class X, class Packed, class Y>
void linear(const Exec& exec, const one_group<Space>& all, const X& x, const Packed& weight, const Y& y,
            bool add = false) {
  using T = typename Y::non_const_value_type;
  gemm::grouped_product<Engine>(exec, all.groups(), gemm::rows<typename X::non_const_value_type, Space>(x), weight,
                                detail::linear_epilogue<T, Space>{y, add});
}

/// y = T(x + D ∘ (a W)). a [rows, in], x, y [rows, out]; y may be x. D is drawn for element row * out + column.
template <class Engine, class Exec, class Space, class A, class Packed, class X, class Real, class Y>
void linear_residual(const Exec& exec, const one_group<Space>& all, const A& a, const Packed& weight, const X& x,
                     const dropout<Real>& drop, const Y& y) {
  using T = typename Y::non_const_value_type;
  gemm::grouped_product<Engine>(exec, all.groups(), gemm::rows<typename A::non_const_value_type, Space>(a), weight,
                                detail::residual_epilogue<T, Space>{x, drop, y});
}

/// gradient [in, out] (=|+=) x^T dy. of: the packed weight (either orientation that is [in, out]).
template <class Engine, class Exec, class Space, class X, class DY, class Packed, class Gradient>
void linear_weight_gradient(const Exec& exec, const one_group<Space>& all, const X& x, const DY& dy, const Packed& of,
                            const Gradient& gradient, bool accumulate) {
  const detail::as_group<typename Gradient::value_type, Space> to(gradient.data(), 1, gradient.extent(0),
                                                                  gradient.extent(1));
  gemm::grouped_weight_gradient<Engine>(exec, all.groups(), gemm::rows<typename X::non_const_value_type, Space>(x),
                                        gemm::rows<typename DY::non_const_value_type, Space>(dy), of, detail::owned(to),
                                        accumulate);
}

} // namespace switchyard::model

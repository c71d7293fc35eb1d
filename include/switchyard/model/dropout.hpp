// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/random.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/model/types.hpp>

/// \file
/// Dropout (Srivastava et al., JMLR 15, 2014) in its inverted form, alone and on the way into the residual stream.
///
///   D_i = 0 with probability rate, else 1 / (1 - rate), drawn for the global number of element i
///   forward    y = D ∘ x              y = x + D ∘ s
///   backward   dx = D ∘ dy            ds = D ∘ dy
///
/// The backward draws the same numbers again: nothing is stored.

namespace switchyard::model {

/// Which elements of one tensor of one pass are dropped.
template <class Real>
struct dropout {
  Real rate = 0; ///< 0: nothing is drawn
  generator draw;
  std::int64_t first = 0; ///< global number of element 0 here

  KOKKOS_FUNCTION Real factor(std::int64_t element) const {
    return draw.template uniform<Real>(static_cast<std::uint64_t>(first + element)) < rate ? Real(0)
                                                                                           : Real(1) / (Real(1) - rate);
  }
};

namespace detail {

/// to = T(keep + D ∘ from), row by row; without keep: T(D ∘ from).
template <class T, class Space>
struct dropout_kernel {
  using acc = accumulate_t<T>;
  matrix<const T, Space> keep, from; // [rows, columns]
  dropout<acc> drop;
  matrix<T, Space> to;

  KOKKOS_FUNCTION void operator()(std::int64_t row) const {
    in_vector_code([&] { run(row); });
  }
  KOKKOS_FUNCTION void run(std::int64_t row) const {
    const auto n = static_cast<std::int64_t>(from.extent(1));
    const T* x = from.data() + row * n;
    T* y = to.data() + row * n;
    const T* k = keep.data() == nullptr ? nullptr : keep.data() + row * n;
    if (k == nullptr)
      for (std::int64_t i = 0; i < n; ++i) y[i] = T(static_cast<acc>(x[i]) * drop.factor(row * n + i));
    else if (drop.rate > 0)
      for (std::int64_t i = 0; i < n; ++i)
        y[i] = T(static_cast<acc>(k[i]) + static_cast<acc>(x[i]) * drop.factor(row * n + i));
    else
      for (std::int64_t i = 0; i < n; ++i) y[i] = T(static_cast<acc>(k[i]) + static_cast<acc>(x[i]));
  }
};

} // namespace detail

/// y = D ∘ x. x, y [rows, columns], may be the same. Also its backward, dx = D ∘ dy.
template <class Exec, class X, class Y, class Real>
void apply_dropout(const Exec& exec, const X& x, const dropout<Real>& drop, const Y& y) {
  using T = typename Y::non_const_value_type;
  for_each_index("switchyard::model::dropout", exec, detail::extent(x, 0),
                 detail::dropout_kernel<T, typename Exec::memory_space>{{}, x, drop, y});
}

/// y = x + D ∘ s: a sublayer's result into the residual stream. x, s, y [rows, columns], y may be x.
template <class Exec, class X, class S, class Real, class Y>
void add_residual(const Exec& exec, const X& x, const S& s, const dropout<Real>& drop, const Y& y) {
  using T = typename Y::non_const_value_type;
  for_each_index("switchyard::model::add_residual", exec, detail::extent(x, 0),
                 detail::dropout_kernel<T, typename Exec::memory_space>{x, s, drop, y});
}

} // namespace switchyard::model

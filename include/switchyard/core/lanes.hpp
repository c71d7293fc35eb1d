// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

/// \file
/// Reductions and searches of short arrays by one thread, in 32 lanes: an order that is fixed and that compilers turn
/// into vector code, which the plain loop's is not.

namespace switchyard {

namespace detail {

inline constexpr int lanes = 32; // two vectors of the widest kind: one waits for its result while the other works

/// Folds f(0), ..., f(n - 1) into 32 partial results, element i into lane i % 32, and those by halves.
template <class R, class Combine, class F>
KOKKOS_INLINE_FUNCTION R fold_lanes(std::int64_t n, R start, const Combine& combine, const F& f) {
  R folded[lanes];
  for (int l = 0; l < lanes; ++l) folded[l] = start;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int l = 0; l < lanes; ++l) folded[l] = combine(folded[l], f(i + l));
  for (int l = 0; i + l < n; ++l) folded[l] = combine(folded[l], f(i + l));
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) folded[l] = combine(folded[l], folded[l + half]);
  return folded[0];
}

template <class R>
struct plus {
  KOKKOS_FUNCTION R operator()(R a, R b) const { return a + b; }
};
template <class R>
struct larger {
  KOKKOS_FUNCTION R operator()(R a, R b) const { return b > a ? b : a; }
};

} // namespace detail

/// sum_i f(i), i < n
template <class R, class F>
KOKKOS_INLINE_FUNCTION R lane_sum(std::int64_t n, const F& f) {
  return detail::fold_lanes<R>(n, R(0), detail::plus<R>(), f);
}

/// max(least, f(0), ..., f(n - 1)). NaN is larger than nothing.
template <class R, class F>
KOKKOS_INLINE_FUNCTION R lane_max(std::int64_t n, R least, const F& f) {
  return detail::fold_lanes<R>(n, least, detail::larger<R>(), f);
}

/// The first i < n with f(i), n if there is none.
template <class F>
KOKKOS_INLINE_FUNCTION std::int64_t lane_find(std::int64_t n, const F& f) {
  constexpr int block = 2 * detail::lanes;
  std::int64_t i = 0;
  for (; i + block <= n; i += block) {
    unsigned found = 0;
    for (int l = 0; l < block; ++l) found |= f(i + l) ? 1u : 0u;
    if (found != 0) break;
  }
  while (i < n && !f(i)) ++i;
  return i;
}

} // namespace switchyard

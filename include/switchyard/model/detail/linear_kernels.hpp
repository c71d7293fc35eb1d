// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/dropout.hpp>

namespace switchyard::model::detail {

/// A matrix as the weights of one group.
template <class T, class Space>
using as_group = Kokkos::View<T***, Kokkos::LayoutRight, Space, Kokkos::MemoryUnmanaged>;

/// The type that engines' kernels hold, so that there is one instantiation of them; shares the memory, owns nothing.
template <class T, class Space>
Kokkos::View<T***, Kokkos::LayoutRight, Space> owned(const as_group<T, Space>& v) {
  return v;
}

/// y (=|+=) T(sum)
template <class T, class Space>
struct linear_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  columns<T, Space> y;
  bool add;

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  acc* KOKKOS_RESTRICT sum) const {
    T* KOKKOS_RESTRICT to = y.data() + row * static_cast<std::int64_t>(y.stride(0)) + column;
    if (add)
      for (int j = 0; j < n; ++j) sum[j] += static_cast<acc>(to[j]);
    for (int j = 0; j < n; ++j) to[j] = T(sum[j]);
  }
};

/// y = T(x + D ∘ sum)
template <class T, class Space>
struct residual_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  matrix<const T, Space> x;
  dropout<acc> drop;
  matrix<T, Space> y; // may be x

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  acc* KOKKOS_RESTRICT sum) const {
    const std::int64_t first = row * static_cast<std::int64_t>(y.extent(1)) + column;
    if (drop.rate > 0)
      for (int j = 0; j < n; ++j) sum[j] *= drop.factor(first + j);
    const T* from = x.data() + first;
    for (int j = 0; j < n; ++j) sum[j] += static_cast<acc>(from[j]);
    T* to = y.data() + first;
    for (int j = 0; j < n; ++j) to[j] = T(sum[j]);
  }
};

} // namespace switchyard::model::detail

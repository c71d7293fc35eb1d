// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/dispatch/assignment.hpp>

namespace switchyard::combine::detail {

inline constexpr std::int64_t chunk = 64; // columns of one task of the forward
inline std::int64_t chunks(std::int64_t columns) {
  return (columns + chunk - 1) / chunk;
}

template <class T, class Real, class Space>
struct forward_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o; // [rows, M]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> y;       // [T, M]
  std::int64_t chunk_count;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    using acc = accumulate_t<T>;
    const std::int64_t t = task / chunk_count, begin = task % chunk_count * chunk;
    const std::int64_t width = static_cast<std::int64_t>(y.extent(1));
    const int n = static_cast<int>(width - begin < chunk ? width - begin : chunk);
    acc sum[chunk] = {};
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) continue;
      const acc gate = static_cast<acc>(d.gate(t, j));
      const T* from = &o(row, begin);
      for (int i = 0; i < n; ++i) sum[i] += gate * static_cast<acc>(from[i]);
    }
    T* to = &y(t, begin);
    for (int i = 0; i < n; ++i) to[i] = T(sum[i]);
  }
};

template <class T, class Real, class Space>
struct backward_kernel {
  static constexpr int lanes = 8; // partial sums of the dot product: a fixed order that still vectorizes
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> dy; // [T, M]
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o;  // [rows, M here]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> d_o;      // [rows, M here]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dq;    // [T, K]
  std::int64_t first;                                     // column of dy that is column 0 of o

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    using acc = accumulate_t<T>;
    const std::int64_t width = static_cast<std::int64_t>(o.extent(1));
    const T* g = &dy(t, first);
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) {
        dq(t, j) = 0;
        continue;
      }
      const acc gate = static_cast<acc>(d.gate(t, j));
      const T* out = &o(row, 0);
      T* to = &d_o(row, 0);
      acc partial[lanes] = {};
      std::int64_t m = 0;
      for (; m + lanes <= width; m += lanes)
        for (int l = 0; l < lanes; ++l) {
          const acc value = static_cast<acc>(g[m + l]);
          partial[l] += value * static_cast<acc>(out[m + l]);
          to[m + l] = T(gate * value);
        }
      for (int l = 0; m < width; ++m, ++l) {
        const acc value = static_cast<acc>(g[m]);
        partial[l] += value * static_cast<acc>(out[m]);
        to[m] = T(gate * value);
      }
      acc dot = 0;
      for (int l = 0; l < lanes; ++l) dot += partial[l];
      dq(t, j) = static_cast<Real>(dot);
    }
  }
};

template <class T, class Real, class Space>
struct nonfinite_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o; // [rows, M]

  KOKKOS_FUNCTION void operator()(std::int64_t t, std::int64_t& count) const {
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) continue;
      bool finite = true;
      for (std::size_t m = 0; m < o.extent(1); ++m)
        finite = finite && Kokkos::isfinite(static_cast<accumulate_t<T>>(o(row, m)));
      count += !finite;
    }
  }
};

} // namespace switchyard::combine::detail

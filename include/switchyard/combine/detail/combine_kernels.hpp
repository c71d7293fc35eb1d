// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/lanes.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/dispatch/assignment.hpp>

namespace switchyard::combine::detail {

/// Columns that are summed at a time, in registers.
inline constexpr int strip = 64;

struct whole_strip { // as std::integral_constant, for devices too
  KOKKOS_FUNCTION constexpr operator int() const { return strip; }
};

/// f(m, n) for every strip [m, m + n) of `width` columns; n is a constant in all but the last.
template <class F>
KOKKOS_INLINE_FUNCTION void for_each_strip(std::int64_t width, const F& f) {
  std::int64_t m = 0;
  for (; m + strip <= width; m += strip) f(m, whole_strip());
  if (m < width) f(m, static_cast<int>(width - m));
}

template <class T, class Real, class Space>
struct forward_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o; // [rows, M]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> y;       // [T, M]

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    using acc = accumulate_t<T>;
    const std::int64_t group = t / size.tokens;
    for_each_strip(static_cast<std::int64_t>(y.extent(1)), [&](std::int64_t m, auto n) {
      acc sum[strip] = {};
      for (int j = 0; j < set.choices; ++j) {
        const std::int64_t row = map(d.choice(t, j), group, d.slot(t, j));
        if (row < 0) continue;
        const acc gate = static_cast<acc>(d.gate(t, j));
        const T* KOKKOS_RESTRICT from = &o(row, m);
        for (int i = 0; i < n; ++i) sum[i] += gate * static_cast<acc>(from[i]);
      }
      T* KOKKOS_RESTRICT to = &y(t, m);
      for (int i = 0; i < n; ++i) to[i] = T(sum[i]);
    });
  }
};

/// y_t = 0 where the only choice of a token has no slot.
template <class T, class Space>
struct dropped_kernel {
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> slot; // [T, 1]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> y;                     // [T, M]

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    if (slot(t, 0) >= 0) return;
    T* KOKKOS_RESTRICT to = &y(t, 0);
    for (std::int64_t m = 0; m < static_cast<std::int64_t>(y.extent(1)); ++m) to[m] = T(accumulate_t<T>(0));
  }
};

template <class T, class Real, class Space>
struct backward_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> dy; // [T, M]
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o;  // [rows, M here]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> d_o;      // [rows, M here]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dq;    // [pieces T, K]
  std::int64_t first;                                     // column of dy that is column 0 of o
  std::int64_t pieces;                                    // of the columns of o, each with a sum of its own

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    using acc = accumulate_t<T>;
    const std::int64_t width = static_cast<std::int64_t>(o.extent(1)), each = width / pieces;
    const std::int64_t tokens = size.groups * size.tokens;
    const T* g = &dy(t, first);
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) {
        for (std::int64_t p = 0; p < pieces; ++p) dq(p * tokens + t, j) = 0;
        continue;
      }
      const acc gate = static_cast<acc>(d.gate(t, j));
      const T* out = &o(row, 0);
      T* KOKKOS_RESTRICT to = &d_o(row, 0);
      for (std::int64_t m = 0; m < width; ++m) to[m] = T(gate * static_cast<acc>(g[m]));
      for (std::int64_t p = 0; p < pieces; ++p) {
        const std::int64_t begin = p * each;
        dq(p * tokens + t, j) = static_cast<Real>(lane_sum<acc>(
            each, [&](std::int64_t m) { return static_cast<acc>(g[begin + m]) * static_cast<acc>(out[begin + m]); }));
      }
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

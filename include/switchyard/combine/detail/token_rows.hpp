// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/dispatch/chosen_rows.hpp>

/// \file
/// Combine by a warp per token: forward_kernel and backward_kernel of combine_kernels.hpp, number by number the same,
/// but for the order in which the products of dq are added.

namespace switchyard::combine::detail {

using dispatch::chosen_rows;
using dispatch::strips;

template <class T, class Real, class Space, int N>
struct forward_rows {
  using acc = accumulate_t<T>;
  chosen_rows<Real, Space> chosen;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> gate; // [T, K]
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o;       // [rows, M]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> y;             // [T, M]

  struct sums {
    acc of[strips<N>::pieces][N];
  };

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t t) const {
    using at = strips<N>;
    const auto width = static_cast<std::int64_t>(y.extent(1));
    T* to = y.data() + t * width;
    for (std::int64_t begin = 0; begin < width; begin += at::width) {
      auto sum = warp.template make<sums>([](int, int) { return sums{}; });
      chosen.for_each(warp, t, [&](int j, std::int64_t row) {
        const T* from = o.data() + row * width;
        const acc q = static_cast<acc>(gate(t, j));
        warp.each([&](int lane, int i) {
          gpu::pack<T, N> in[at::pieces];
          for (int v = 0; v < at::pieces; ++v)
            if (const std::int64_t c = at::column(begin, lane, v); c < width) in[v] = gpu::load<N>(from + c);
          for (int v = 0; v < at::pieces; ++v)
            for (int n = 0; n < N && at::column(begin, lane, v) < width; ++n) sum[i].of[v][n] += q * in[v].get(n);
        });
      });
      warp.each([&](int lane, int i) {
        for (int v = 0; v < at::pieces; ++v) {
          const std::int64_t c = at::column(begin, lane, v);
          if (c >= width) continue;
          gpu::pack<T, N> out;
          for (int n = 0; n < N; ++n) out.set(n, sum[i].of[v][n]);
          gpu::store<N>(to + c, out);
        }
      });
    }
  }
};

/// dropped_kernel: the lanes share the columns of a token.
template <class T, class Space>
struct dropped_rows {
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> slot; // [T, 1]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> y;                     // [T, M]

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t t) const {
    if (slot(t, 0) >= 0) return;
    warp.each([&](int lane, int) {
      for (std::int64_t m = lane; m < static_cast<std::int64_t>(y.extent(1)); m += gpu::warp_size)
        y(t, m) = T(accumulate_t<T>(0));
    });
  }
};

template <class T, class Real, class Space, int N>
struct backward_rows {
  using acc = accumulate_t<T>;
  chosen_rows<Real, Space> chosen;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> gate; // [T, K]
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> dy;      // [T, M]
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> o;       // [rows, M here]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> d_o;           // [rows, M here]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dq;         // [T, K]
  std::int64_t first;                                          // column of dy that is column 0 of o

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t t) const {
    warp.each([&](int lane, int) { // those without a slot
      for (int j = lane; j < chosen.choices; j += gpu::warp_size)
        if (chosen.slot(t, j) < 0) dq(t, j) = 0;
    });
    chosen.for_each(warp, t, [&](int j, std::int64_t row) { one_row(warp, t, j, row); });
  }

  /// do_row = T(q dy), dq = <dy, o_row>. A token's dy is in the nearest cache after its first row.
  template <class Warp>
  KOKKOS_FUNCTION void one_row(const Warp& warp, std::int64_t t, int j, std::int64_t row) const {
    using at = strips<N>;
    using piece = gpu::pack<T, N>;
    const auto width = static_cast<std::int64_t>(o.extent(1));
    const T* g = dy.data() + t * static_cast<std::int64_t>(dy.extent(1)) + first;
    const T* out = o.data() + row * width;
    T* to = d_o.data() + row * width;
    const acc q = static_cast<acc>(gate(t, j));
    auto sum = warp.template make<acc>([](int, int) { return acc(0); });
    for (std::int64_t begin = 0; begin < width; begin += at::width)
      warp.each([&](int lane, int i) {
        piece in[at::pieces], made[at::pieces];
        for (int v = 0; v < at::pieces; ++v)
          if (const std::int64_t c = at::column(begin, lane, v); c < width) {
            in[v] = gpu::load<N>(g + c);
            made[v] = gpu::load<N>(out + c);
          }
        for (int v = 0; v < at::pieces; ++v) {
          const std::int64_t c = at::column(begin, lane, v);
          if (c >= width) continue;
          piece scaled;
          for (int n = 0; n < N; ++n) {
            const acc value = in[v].get(n);
            sum[i] += value * made[v].get(n);
            scaled.set(n, q * value);
          }
          gpu::store<N>(to + c, scaled);
        }
      });
    const acc total = warp.reduce(sum, [](acc a, acc b) { return a + b; });
    warp.each([&](int lane, int) {
      if (lane == 0) dq(t, j) = static_cast<Real>(total);
    });
  }
};

} // namespace switchyard::combine::detail

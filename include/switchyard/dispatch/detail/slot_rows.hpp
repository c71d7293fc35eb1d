// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/dispatch/chosen_rows.hpp>

namespace switchyard::dispatch::detail {

/// x rows -> slots, a warp per token: every row is read once, however many slots it goes to.
template <class T, class Real, class Space, int N>
struct fill_rows {
  chosen_rows<Real, Space> chosen;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> x; // [T, M]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> blocks;  // [slots, M here]
  std::int64_t first;                                    // column of x that is column 0 here

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t t) const {
    using at = strips<N>;
    const auto width = static_cast<std::int64_t>(blocks.extent(1));
    const T* from = x.data() + t * static_cast<std::int64_t>(x.extent(1)) + first;
    for (std::int64_t begin = 0; begin < width; begin += at::width) {
      typename Warp::template values<gpu::pack<T, N>[at::pieces]> in;
      warp.each([&](int lane, int i) {
        for (int v = 0; v < at::pieces; ++v)
          if (const std::int64_t c = at::column(begin, lane, v); c < width) in[i][v] = gpu::load<N>(from + c);
      });
      chosen.for_each(warp, t, [&](int, std::int64_t row) {
        T* to = blocks.data() + row * width;
        warp.each([&](int lane, int i) {
          for (int v = 0; v < at::pieces; ++v)
            if (const std::int64_t c = at::column(begin, lane, v); c < width) gpu::store<N>(to + c, in[i][v]);
        });
      });
    }
  }
};

} // namespace switchyard::dispatch::detail

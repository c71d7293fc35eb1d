// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/lanes.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/model/detail/sum_rows.hpp>

namespace switchyard::model::detail {

inline constexpr std::int64_t norm_block = 32; // rows whose scale gradients one task sums

/// One row.
template <class T, class W, class Space>
struct rms_norm_kernel {
  using acc = accumulate_t<T>;
  matrix<const T, Space> x;     // [rows, M]
  vector<const W, Space> scale; // [M]
  acc epsilon;
  matrix<T, Space> y;
  vector<acc, Space> inverse; // [rows]

  KOKKOS_FUNCTION void operator()(std::int64_t row) const {
    in_vector_code([&] { run(row); });
  }
  KOKKOS_FUNCTION void run(std::int64_t row) const {
    const auto n = static_cast<std::int64_t>(x.extent(1));
    const T* from = x.data() + row * n;
    T* KOKKOS_RESTRICT to = y.data() + row * n;
    const W* g = scale.data();
    const acc square = lane_sum<acc>(n, [&](std::int64_t i) {
      const acc value = static_cast<acc>(from[i]);
      return value * value;
    });
    const acc r = acc(1) / Kokkos::sqrt(square / static_cast<acc>(n) + epsilon);
    for (std::int64_t i = 0; i < n; ++i) to[i] = T(r * static_cast<acc>(from[i]) * static_cast<acc>(g[i]));
    inverse(row) = r;
  }
};

/// dx of a block of rows, and their part of dg.
template <class T, class W, class Space>
struct rms_norm_gradient_kernel {
  using acc = accumulate_t<T>;
  matrix<const T, Space> x;
  vector<const W, Space> scale;
  vector<const acc, Space> inverse;
  matrix<const T, Space> dy;
  matrix<T, Space> dx;
  bool add;
  matrix<acc, Space> scale_sums; // [blocks, M]

  KOKKOS_FUNCTION void operator()(std::int64_t block) const {
    in_vector_code([&] { run(block); });
  }
  KOKKOS_FUNCTION void run(std::int64_t block) const {
    const auto n = static_cast<std::int64_t>(x.extent(1)), rows = static_cast<std::int64_t>(x.extent(0));
    const std::int64_t end = (block + 1) * norm_block < rows ? (block + 1) * norm_block : rows;
    acc* KOKKOS_RESTRICT sums = scale_sums.data() + block * n;
    const W* KOKKOS_RESTRICT g = scale.data();
    for (std::int64_t i = 0; i < n; ++i) sums[i] = 0;
    for (std::int64_t row = block * norm_block; row < end; ++row) {
      const T* KOKKOS_RESTRICT value = x.data() + row * n;
      const T* KOKKOS_RESTRICT d = dy.data() + row * n;
      T* KOKKOS_RESTRICT to = dx.data() + row * n;
      const acc r = inverse(row);
      const acc c = lane_sum<acc>(n, [&](std::int64_t i) {
        return static_cast<acc>(g[i]) * static_cast<acc>(d[i]) * static_cast<acc>(value[i]);
      });
      const acc slope = r * r * r * c / static_cast<acc>(n);
      for (std::int64_t i = 0; i < n; ++i) {
        const acc here = static_cast<acc>(d[i]);
        const acc slide = r * static_cast<acc>(g[i]) * here - slope * static_cast<acc>(value[i]);
        sums[i] += r * static_cast<acc>(value[i]) * here;
        to[i] = add ? T(static_cast<acc>(to[i]) + slide) : T(slide);
      }
    }
  }
};

} // namespace switchyard::model::detail

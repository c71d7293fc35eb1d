// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/rows.hpp>

namespace switchyard::gemm::detail {

/// A tile of the portable kernels: small enough for the vector registers of a baseline x86-64 core.
template <class Acc>
struct tile_shape {
  static constexpr int rows = 4;
  static constexpr int columns = sizeof(Acc) == 8 ? 8 : 16;
};

KOKKOS_INLINE_FUNCTION std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// A few rows of one group.
struct tile_position {
  std::int64_t group = -1; // -1: this tile holds no row
  std::int64_t begin = 0, end = 0;
};

/// Where tile t of a ragged list lies. Group g starts at tile offset(g) / height + g: a bound that needs no scan,
/// leaves at most one empty tile per group, and lets any thread find its group by bisection. Its rows are shared out
/// evenly among as few tiles of up to `height` rows as they need, in multiples of `unit`, a divisor of height.
template <class Space>
KOKKOS_INLINE_FUNCTION tile_position find_tile(const row_groups<Space>& groups, std::int64_t tile, int height,
                                               std::int64_t unit) {
  const auto start = [&](std::int64_t g) { return groups.offset(g) / height + g; };
  std::int64_t low = 0, high = groups.groups(); // start(low) <= tile < start(high)
  if (high == 0 || tile >= start(high)) return {};
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (start(middle) <= tile ? low : high) = middle;
  }
  const std::int64_t end = groups.offset(low + 1), rows = end - groups.offset(low);
  if (rows == 0) return {};
  const std::int64_t each = ceil_div(ceil_div(rows, ceil_div(rows, height)), unit) * unit;
  const std::int64_t begin = groups.offset(low) + (tile - start(low)) * each;
  if (begin >= end) return {};
  return {low, begin, begin + each < end ? begin + each : end};
}

/// Tiles that a launch must cover, whatever the offsets are.
template <class Space>
std::int64_t tile_bound(const row_groups<Space>& groups, int height) {
  return groups.max_rows / height + groups.groups();
}

} // namespace switchyard::gemm::detail

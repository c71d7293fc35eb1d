// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/library_calls.hpp>
#include <switchyard/gemm/detail/tile.hpp>

// Around a library's product: rows to where it reads them, and its sums to the epilogue.

namespace switchyard::gemm::detail {

/// Rows of equal groups, one after another and in T: to [groups, rows, columns].
template <class A, class T, class Space>
struct line_up_kernel {
  rows<A, Space> from;
  T* to;
  std::int64_t each;
  pieces_of_groups::piece piece;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t columns = from.columns(), row = i / columns;
    const std::int64_t whole = (piece.group + row / piece.rows) * each + piece.row + row % piece.rows;
    const A value = from(whole)[i - row * columns];
    if constexpr (std::is_same_v<A, T>)
      to[i] = value;
    else
      to[i] = T(static_cast<accumulate_t<A>>(value));
  }
};

/// Sums [groups, rows, N] of equal groups, paired [groups, rows, 2 N], to the epilogue, 8 columns at a time.
template <class Acc, class Epilogue>
struct epilogue_kernel {
  Acc* sums;
  std::int64_t each, n_count;
  pieces_of_groups::piece piece;
  Epilogue epilogue;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    constexpr int matrices = Epilogue::paired ? 2 : 1;
    const std::int64_t parts = ceil_div(n_count, 8), row = i / parts, column = i % parts * 8;
    const std::int64_t group = piece.group + row / piece.rows, whole = group * each + piece.row + row % piece.rows;
    Acc* const sum = sums + row * matrices * n_count + column;
    const auto hand_over = [&](int n, Acc* first, Acc* second) {
      if constexpr (Epilogue::paired)
        epilogue(group, whole, column, n, first, second);
      else
        epilogue(group, whole, column, n, first);
    };
    if (n_count - column < 8) return hand_over(static_cast<int>(n_count - column), sum, sum + n_count);
    Acc part_of_row[matrices * 8]; // in registers, and a number that the epilogue's loops know
    for (int m = 0; m < matrices; ++m)
      for (int j = 0; j < 8; ++j) part_of_row[m * 8 + j] = sum[m * n_count + j];
    hand_over(8, part_of_row, part_of_row + (matrices - 1) * 8);
  }
};

} // namespace switchyard::gemm::detail

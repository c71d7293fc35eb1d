// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

// Products of tiles that are in a cache, by one thread: what attention is made of. The one place to put kernels for a
// certain CPU: everything else is written so that these two functions see all of the arithmetic.

namespace switchyard::model::detail {

/// Numbers of R in a cache line: tiles are padded to it, so that their inner loops have a constant length.
template <class R>
inline constexpr int line = 64 / static_cast<int>(sizeof(R));

KOKKOS_INLINE_FUNCTION std::int64_t padded(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// c[i][j] += sum_k a(i, k) b[k][j] for Height rows and one line of columns.
template <int Height, class R>
KOKKOS_INLINE_FUNCTION void multiply_block(std::int64_t depth, const R* KOKKOS_RESTRICT a, std::int64_t a_row,
                                           std::int64_t a_step, const R* KOKKOS_RESTRICT b, std::int64_t b_row,
                                           R* KOKKOS_RESTRICT c, std::int64_t c_row) {
  constexpr int Width = line<R>;
  R sum[Height][Width];
  for (int i = 0; i < Height; ++i)
    for (int j = 0; j < Width; ++j) sum[i][j] = c[i * c_row + j];
  for (std::int64_t k = 0; k < depth; ++k)
    for (int i = 0; i < Height; ++i) {
      const R left = a[i * a_row + k * a_step];
      for (int j = 0; j < Width; ++j) sum[i][j] += left * b[k * b_row + j];
    }
  for (int i = 0; i < Height; ++i)
    for (int j = 0; j < Width; ++j) c[i * c_row + j] = sum[i][j];
}

/// c [rows, width] += a [rows, depth] b [depth, width]; a(i, k) = a[i * a_row + k * a_step], so a may be transposed;
/// width is a multiple of line<R>. A row's sum runs over k in order, whatever rows are beside it.
template <class R>
KOKKOS_INLINE_FUNCTION void multiply_add(std::int64_t rows, std::int64_t width, std::int64_t depth, const R* a,
                                         std::int64_t a_row, std::int64_t a_step, const R* b, std::int64_t b_row, R* c,
                                         std::int64_t c_row) {
  constexpr int Height = 4;
  for (std::int64_t j = 0; j < width; j += line<R>) {
    std::int64_t i = 0;
    for (; i + Height <= rows; i += Height)
      multiply_block<Height>(depth, a + i * a_row, a_row, a_step, b + j, b_row, c + i * c_row + j, c_row);
    for (; i < rows; ++i)
      multiply_block<1>(depth, a + i * a_row, a_row, a_step, b + j, b_row, c + i * c_row + j, c_row);
  }
}

/// to [rows, width] = from, `count` columns of it and then zeros; rows of `from` lie `from_row` apart.
template <class T, class R>
KOKKOS_INLINE_FUNCTION void load_rows(const T* from, std::int64_t from_row, std::int64_t rows, std::int64_t count,
                                      R* KOKKOS_RESTRICT to, std::int64_t width) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* KOKKOS_RESTRICT row = from + i * from_row;
    for (std::int64_t j = 0; j < count; ++j) to[i * width + j] = static_cast<R>(row[j]);
    for (std::int64_t j = count; j < width; ++j) to[i * width + j] = R(0);
  }
}

/// to [count, width] = the transpose of from [rows, count], zeros from column `rows` on.
template <class T, class R>
KOKKOS_INLINE_FUNCTION void load_transposed(const T* from, std::int64_t from_row, std::int64_t rows, std::int64_t count,
                                            R* KOKKOS_RESTRICT to, std::int64_t width) {
  for (std::int64_t j = 0; j < count; ++j)
    for (std::int64_t i = rows; i < width; ++i) to[j * width + i] = R(0);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < count; ++j) to[j * width + i] = static_cast<R>(from[i * from_row + j]);
}

/// to = T(from), rows of `count`.
template <class T, class R>
KOKKOS_INLINE_FUNCTION void store_rows(const R* KOKKOS_RESTRICT from, std::int64_t width, std::int64_t rows,
                                       std::int64_t count, T* to, std::int64_t to_row) {
  for (std::int64_t i = 0; i < rows; ++i) {
    T* KOKKOS_RESTRICT row = to + i * to_row;
    for (std::int64_t j = 0; j < count; ++j) row[j] = T(from[i * width + j]);
  }
}

} // namespace switchyard::model::detail

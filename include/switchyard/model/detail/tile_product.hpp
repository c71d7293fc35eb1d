// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/avx512.hpp>
#include <switchyard/core/vector_code.hpp>

// Products of tiles that are in a cache, by one thread: what attention is made of. Plain loops, and the same for CPUs
// with AVX-512 with their sums in registers.

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

/// A product of tiles: c [rows, width] += a [rows, depth] b [depth, width]; a(i, k) = a[i * a_row + k * a_step].
template <class R>
struct tile_call {
  std::int64_t depth;
  const R* a;
  std::int64_t a_row, a_step;
  const R* b;
  std::int64_t b_row;
  R* c;
  std::int64_t c_row;
};

#if defined(__x86_64__) && defined(__GNUC__)

#if defined(__NVCC__) // as in gemm/detail/avx512_kernels.hpp
#pragma nv_diagnostic push
#pragma nv_diag_suppress 1675
#endif

/// Rows * Vectors sums in registers, over the whole depth.
template <class R, int Rows, int Vectors>
[[gnu::target("avx512f")]] void avx512_tile(const tile_call<R>& call) {
  using lane = avx512<R>;
  constexpr int Width = line<R>;
  typename lane::vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = lane::load(call.c + i * call.c_row + v * Width);
  const R* a = call.a;
  const R* b = call.b;
#pragma GCC unroll 1
  for (std::int64_t k = 0; k < call.depth; ++k, a += call.a_step, b += call.b_row) {
    typename lane::vector right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = lane::read(b + v * Width);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const typename lane::vector left = lane::broadcast(a + i * call.a_row);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[i][v] = lane::multiply_add(left, right[v], sum[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) lane::store(call.c + i * call.c_row + v * Width, sum[i][v]);
}

#if defined(__NVCC__)
#pragma nv_diagnostic pop
#endif

/// Columns of 4, 2 and 1 vectors, rows in even blocks of up to 6: 6 x 4 sums, 4 of b and one of a fill the registers.
template <class R>
struct avx512_tiles {
  static constexpr std::int64_t block = 6;
  template <int Vectors>
  static void columns(tile_call<R> call, std::int64_t rows) {
    using function = void (*)(const tile_call<R>&);
    static constexpr function of_rows[block] = {avx512_tile<R, 1, Vectors>, avx512_tile<R, 2, Vectors>,
                                                avx512_tile<R, 3, Vectors>, avx512_tile<R, 4, Vectors>,
                                                avx512_tile<R, 5, Vectors>, avx512_tile<R, 6, Vectors>};
    const std::int64_t blocks = (rows + block - 1) / block;
    const R* a = call.a;
    R* c = call.c;
    for (std::int64_t i = 0, row = 0; i < blocks; ++i) {
      const std::int64_t end = rows * (i + 1) / blocks;
      call.a = a + row * call.a_row;
      call.c = c + row * call.c_row;
      of_rows[end - row - 1](call);
      row = end;
    }
  }
  static void run(tile_call<R> call, std::int64_t rows, std::int64_t width) {
    const auto next = [&](auto vectors) {
      columns<vectors>(call, rows);
      call.b += vectors * line<R>;
      call.c += vectors * line<R>;
      width -= vectors * line<R>;
    };
    while (width >= 4 * line<R>) next(std::integral_constant<int, 4>());
    if (width >= 2 * line<R>) next(std::integral_constant<int, 2>());
    if (width >= line<R>) next(std::integral_constant<int, 1>());
  }
};

#endif

/// c [rows, width] += a [rows, depth] b [depth, width]; a(i, k) = a[i * a_row + k * a_step], so a may be transposed;
/// width is a multiple of line<R>. A row's sum runs over k in order, whatever rows are beside it.
template <class R>
KOKKOS_INLINE_FUNCTION void multiply_add(std::int64_t rows, std::int64_t width, std::int64_t depth, const R* a,
                                         std::int64_t a_row, std::int64_t a_step, const R* b, std::int64_t b_row, R* c,
                                         std::int64_t c_row) {
#if defined(__x86_64__) && defined(__GNUC__)
  KOKKOS_IF_ON_HOST((if (switchyard::detail::has_avx512()) {
    avx512_tiles<R>::run({depth, a, a_row, a_step, b, b_row, c, c_row}, rows, width);
    return;
  }))
#endif
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

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/tensor_tile.hpp>

/// \file
/// Products of two tiles in shared memory, 256 threads, sums in registers. Plain: left [rows][64], right [columns][64],
/// both by lines, sum = left right^T. Transposed: left [64][rows], right [64][columns], in blocks of 64 columns, each
/// 64 lines; sum = left^T right.
///
/// sum[i][j][2 h + e] of lane l of a warp is the element
///   row     row_of(thread)    + 16 i + 8 h + l / 4
///   column  column_of(thread) +  8 j + 2 (l % 4) + e.

namespace switchyard::gemm::detail {

/// Place of a number in a transposed tile: line `line` of 64, column `column` of all.
KOKKOS_INLINE_FUNCTION std::uint32_t transposed_offset(int line, int column) {
  return chunk_offset(column / line_numbers * line_numbers + line, column % line_numbers / chunk_numbers);
}

template <int I, int J>
KOKKOS_INLINE_FUNCTION void set_zero(float (&sum)[I][J][4]) {
  SWITCHYARD_UNROLL
  for (int i = 0; i < I * J * 4; ++i) sum[i / (J * 4)][i / 4 % J][i % 4] = 0;
}

/// mma.sync, from sm_80 on: 4 x 2 warps, each 16 RowTiles rows and 64 columns.
template <class T, int RowTiles>
struct warps_math {
  using type = T;
  static constexpr int threads = 256, rows = 64 * RowTiles, columns = 128, stages = 4, ahead = 3, in_flight = 0;
  static constexpr int row_tiles = RowTiles, blocks = 8;
  using sums = float[row_tiles][blocks][4];

  KOKKOS_FUNCTION static int row_of(int thread) { return (thread >> 5 & 3) * 16 * RowTiles; }
  KOKKOS_FUNCTION static int column_of(int thread) { return (thread >> 7) * 64; }

  template <bool Transposed, class Machine>
  KOKKOS_FUNCTION static void multiply(std::uint32_t left, std::uint32_t right, sums& sum) {
    const int lane = Machine::thread() & 31, row = row_of(Machine::thread()), column = column_of(Machine::thread());
    // Which line and chunk a lane names for ldmatrix: its four 8 x 8 matrices come from lanes 0-7, 8-15, 16-23, 24-31.
    const int low = lane & 7, second = lane >> 3 & 1, upper = lane >> 4;
    SWITCHYARD_UNROLL
    for (int k = 0; k < line_numbers; k += 16) {
      std::uint32_t a[row_tiles][4], b[blocks / 2][4];
      SWITCHYARD_UNROLL
      for (int i = 0; i < row_tiles; ++i) // (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15), (8-15, 8-15)
        if constexpr (Transposed)
          Machine::template load_matrices<true>(
              left + transposed_offset(k + 8 * upper + low, row + 16 * i + 8 * second), a[i]);
        else
          Machine::template load_matrices<false>(
              left + chunk_offset(row + 16 * i + 8 * second + low, k / chunk_numbers + upper), a[i]);
      SWITCHYARD_UNROLL
      for (int j = 0; j < blocks / 2; ++j) // (columns 0-7, k 0-7), (0-7, k 8-15), (8-15, k 0-7), (8-15, k 8-15)
        if constexpr (Transposed)
          Machine::template load_matrices<true>(
              right + transposed_offset(k + 8 * second + low, column + 16 * j + 8 * upper), b[j]);
        else
          Machine::template load_matrices<false>(
              right + chunk_offset(column + 16 * j + 8 * upper + low, k / chunk_numbers + second), b[j]);
      SWITCHYARD_UNROLL
      for (int i = 0; i < row_tiles; ++i) {
        SWITCHYARD_UNROLL
        for (int j = 0; j < blocks; ++j)
          Machine::template multiply<T>(sum[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  template <class Machine>
  KOKKOS_FUNCTION static void settle(sums&) {}
  template <class Machine>
  KOKKOS_FUNCTION static void finish(sums&) {}
};

template <class T>
struct warp_math : warps_math<T, 2> {};

/// For rows that are no multiple of 16 bytes, whose loads take longer than the products: less code to compile.
template <class T>
struct scalar_loads_math : warps_math<T, 1> {};

/// wgmma, sm_90a: two groups of 4 warps, each 64 rows and all 256 columns. A product of one step may run on while the
/// next step's begins.
template <class T>
struct warpgroup_math {
  using type = T;
  static constexpr int threads = 256, rows = 128, columns = 256, stages = 4, ahead = 2, in_flight = 1;
  static constexpr int row_tiles = 1, blocks = 32;
  using sums = float[row_tiles][blocks][4];

  KOKKOS_FUNCTION static int row_of(int thread) { return (thread >> 5) * 16; }
  KOKKOS_FUNCTION static int column_of(int) { return 0; }

  /// What wgmma wants to know of a tile with the 128-byte swizzle: where it begins; bytes from one block of 64 columns
  /// to the next (transposed tiles of more than one); bytes from 8 lines to the next 8.
  KOKKOS_FUNCTION static std::uint64_t describe(std::uint32_t address, std::uint32_t block_bytes) {
    constexpr std::uint64_t swizzle_128 = 1, eight_lines = 8 * line_bytes_shared;
    return std::uint64_t{(address & 0x3ffffu) >> 4} | std::uint64_t{block_bytes >> 4} << 16 | (eight_lines >> 4) << 32 |
           swizzle_128 << 62;
  }

  template <bool Transposed, class Machine>
  KOKKOS_FUNCTION static void multiply(std::uint32_t left, std::uint32_t right, sums& sum) {
    constexpr std::uint32_t block_bytes = line_numbers * line_bytes_shared;  // 64 lines: also 64 rows of a plain tile
    constexpr std::uint32_t step = Transposed ? 16 * line_bytes_shared : 32; // 16 lines, or 16 numbers of a line
    const std::uint32_t mine = left + static_cast<std::uint32_t>(Machine::thread() >> 7) * block_bytes;
    Machine::warpgroup_begin(sum[0]);
    SWITCHYARD_UNROLL
    for (std::uint32_t k = 0; k < line_numbers / 16; ++k)
      Machine::template warpgroup_multiply<T, Transposed>(sum[0], describe(mine + k * step, block_bytes),
                                                          describe(right + k * step, block_bytes));
    Machine::warpgroup_commit();
  }
  template <class Machine>
  KOKKOS_FUNCTION static void settle(sums& sum) {
    Machine::template warpgroup_wait<in_flight>(sum[0]);
  }
  template <class Machine>
  KOKKOS_FUNCTION static void finish(sums& sum) {
    Machine::template warpgroup_wait<0>(sum[0]);
  }
};

} // namespace switchyard::gemm::detail

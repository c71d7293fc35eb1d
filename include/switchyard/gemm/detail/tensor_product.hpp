// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/tensor_math.hpp>

namespace switchyard::gemm::detail {

/// Where the work of a block lies: rows of one group, and the first of the columns.
struct product_place {
  tile_position tile;
  std::int64_t column = 0;
};

/// Rows, gathered, and packed columns of one place after another, 64 numbers of each at a time.
template <class Kernel, class Machine>
struct product_loader {
  using math = typename Kernel::math;
  using T = typename math::type;
  static constexpr int Rows = math::rows / load_share::step, Columns = math::columns / load_share::step;

  const Kernel& kernel;
  load_share share{Machine::thread()};
  std::int64_t work = Machine::block();
  product_place at;
  const typename Kernel::row_type* row[Rows] = {};
  const T* weight = nullptr; // of the first of this thread's columns
  std::int64_t column = 0, k = 0;

  KOKKOS_FUNCTION explicit product_loader(const Kernel& of) : kernel(of) {
    if (kernel.k_count > 0)
      find();
    else
      work = kernel.work_count;
  }

  /// The first place with rows from `work` on.
  KOKKOS_FUNCTION void find() {
    for (; work < kernel.work_count; work += Machine::blocks()) {
      at = kernel.place_of(work);
      if (at.tile.group >= 0) break;
    }
    if (work >= kernel.work_count) return;
    k = 0;
    SWITCHYARD_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const std::int64_t r = at.tile.begin + share.line + i * load_share::step;
      row[i] = r < at.tile.end ? kernel.a(r) : nullptr;
    }
    // Paired: 8 columns of the gate's matrix, the same 8 of the other one, the next 8, ...
    const int line = share.line;
    column = at.column + (Kernel::Matrices == 2 ? (line >> 4) * 8 + (line & 7) : line);
    const std::int64_t matrix = Kernel::Matrices * at.tile.group + (Kernel::Matrices == 2 ? line >> 3 & 1 : 0);
    weight = kernel.b.data() + (matrix * kernel.n_count + column) * kernel.k_stride;
  }

  /// The next 64 numbers of each row and column; nothing where all work is done.
  KOKKOS_FUNCTION void next(std::uint32_t left, std::uint32_t right) {
    if (work >= kernel.work_count) return;
    const std::int64_t here = k + share.chunk * chunk_numbers;
    SWITCHYARD_UNROLL
    for (int i = 0; i < Rows; ++i)
      fetch_chunk<Kernel::Direct, Machine, T>(left + chunk_offset(share.line + i * load_share::step, share.chunk),
                                              row[i] + here, row[i] == nullptr ? 0 : kernel.k_count - here);
    constexpr std::int64_t step = load_share::step / Kernel::Matrices;
    SWITCHYARD_UNROLL
    for (int i = 0; i < Columns; ++i)
      fetch_chunk<true, Machine, T>(right + chunk_offset(share.line + i * load_share::step, share.chunk),
                                    weight + i * step * kernel.k_stride + here,
                                    column + i * step < kernel.n_count ? kernel.k_stride - here : 0);
    k += line_numbers;
    if (k < kernel.k_count) return;
    work += Machine::blocks();
    find();
  }
};

/// Blocks take tiles of rows and columns one after another; which rows there are they read themselves. A row's sums are
/// those of its own numbers in a fixed order of k, whatever tile it lies in: the engine is row-invariant.
template <class Math, class A, class Space, class Epilogue, bool Gathered_directly>
struct tensor_product {
  using math = Math;
  using row_type = A;
  using T = typename Math::type;
  static constexpr bool Direct = Gathered_directly;
  static constexpr int Matrices = Epilogue::paired ? 2 : 1;
  static constexpr int Width = Math::columns / Matrices; // columns of a place
  static constexpr int threads = Math::threads;

  row_groups<Space> groups;
  rows<A, Space> a;
  Kokkos::View<const T*, Space> b; // [groups * Matrices, N, k_stride], columns of W one after another, zeros behind K
  std::int64_t k_count, n_count, k_stride;
  std::int64_t tiles, panels, work_count; // tiles * panels
  Epilogue epilogue;

  static constexpr std::size_t pipeline_bytes =
      static_cast<std::size_t>(Math::stages) * (Math::rows + Math::columns) * line_bytes_shared;
  /// Each warp has 16 rows x 64 columns of float to turn its sums into rows.
  static constexpr std::size_t shared_bytes = pipeline_bytes + Math::threads / 32 * 4096;

  KOKKOS_FUNCTION product_place place_of(std::int64_t work) const {
    const tile_and_panel at = in_strips(work, tiles, panels);
    return {find_tile(groups, at.tile, Math::rows, 8), at.panel * Width};
  }

  template <class Machine>
  KOKKOS_FUNCTION void run() const {
    product_loader<tensor_product, Machine> loader(*this);
    pipeline<Math, Machine, product_loader<tensor_product, Machine>> steps(loader);
    for (std::int64_t work = Machine::block(); work < work_count; work += Machine::blocks()) {
      const product_place at = place_of(work);
      if (at.tile.group < 0) continue;
      typename Math::sums sum;
      set_zero(sum);
      for (std::int64_t k = 0; k < k_count; k += line_numbers) steps.template step<false>(sum);
      Math::template finish<Machine>(sum);
      write<Machine>(at, sum);
    }
  }

  /// A warp's 16 rows x 64 columns in shared memory. The eighths of a row change places so that neither side conflicts.
  KOKKOS_FUNCTION static std::uint32_t turned(int row, int column) {
    return static_cast<std::uint32_t>(4 * (row * 64 + (column ^ (row & 3) << 3)));
  }

  /// Sums to the epilogue, 8 columns of a row at a time; neighbouring lanes have neighbouring columns.
  template <class Machine>
  KOKKOS_FUNCTION void write(const product_place& at, const typename Math::sums& sum) const {
    const int thread = Machine::thread(), lane = thread & 31;
    const std::uint32_t own =
        Machine::memory() + static_cast<std::uint32_t>(pipeline_bytes) + static_cast<std::uint32_t>(thread >> 5) * 4096;
    SWITCHYARD_UNROLL
    for (int q = 0; q < Math::row_tiles * Math::blocks / 8; ++q) {
      const int i = q / (Math::blocks / 8), p = q % (Math::blocks / 8);
      Machine::warp_barrier(); // the last piece has been read
      SWITCHYARD_UNROLL
      for (int j = 0; j < 8; ++j) {
        const float(&s)[4] = sum[i][8 * p + j];
        Machine::store(own + turned(lane / 4, 8 * j + lane % 4 * 2), s[0], s[1]);
        Machine::store(own + turned(lane / 4 + 8, 8 * j + lane % 4 * 2), s[2], s[3]);
      }
      Machine::warp_barrier();
      const std::int64_t row = at.tile.begin + Math::row_of(thread) + 16 * i;
      const std::int64_t column = at.column + (Math::column_of(thread) + 64 * p) / Matrices;
      constexpr int to_a_row = 8 / Matrices, rows_at_once = 32 / to_a_row; // pieces of 8 columns, or pairs of them
      SWITCHYARD_KEEP_LOOP
      for (int r = lane / to_a_row; r < 16; r += rows_at_once) {
        const int piece = lane % to_a_row;
        const std::int64_t left = n_count - column - 8 * piece;
        if (row + r < at.tile.end && left > 0)
          hand_over<Machine>(at.tile.group, row + r, column + 8 * piece, left < 8 ? static_cast<int>(left) : 8, own, r,
                             piece);
      }
    }
  }

  /// Whole pieces from registers; the last ones of a row number by number, which keeps the code small.
  template <class Machine>
  KOKKOS_FUNCTION void hand_over(std::int64_t group, std::int64_t row, std::int64_t column, int n, std::uint32_t own,
                                 int r, int piece) const {
    if constexpr (Matrices == 2) {
      const std::uint32_t first = own + turned(r, 16 * piece), second = own + turned(r, 16 * piece + 8);
      if (n == 8) {
        float gate[8], value[8];
        Machine::load(first, gate);
        Machine::load(second, value);
        epilogue(group, row, column, 8, gate, value);
      } else {
        SWITCHYARD_KEEP_LOOP
        for (int j = 0; j < n; ++j)
          epilogue(group, row, column + j, 1, Machine::pointer(first) + j, Machine::pointer(second) + j);
      }
    } else {
      const std::uint32_t first = own + turned(r, 8 * piece);
      if (n == 8) {
        float value[8];
        Machine::load(first, value);
        epilogue(group, row, column, 8, value);
      } else {
        SWITCHYARD_KEEP_LOOP
        for (int j = 0; j < n; ++j) epilogue(group, row, column + j, 1, Machine::pointer(first) + j);
      }
    }
  }
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/tile.hpp>

#include <type_traits>

namespace switchyard::gemm::detail {

/// W [groups, K, N] -> panels [groups, ceil(N / width), K, width], zero beyond N. Transposed: W [groups, N, K].
/// K may be the concatenation of two matrices of K/2 each (the gated experts' backward), N likewise interleaved panel
/// by panel (their forward).
template <class T, class W, class Space, int Width>
struct pack_kernel {
  Kokkos::View<const W***, Kokkos::LayoutRight, Space> source;
  Kokkos::View<T*, Space> panels;
  std::int64_t k_total, k_begin;        // K of the whole packed matrix, first k this source fills
  std::int64_t panel_step, panel_begin; // this source's panel p goes to panel_begin + p * panel_step
  std::int64_t panel_total;
  bool transposed;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t k_count = static_cast<std::int64_t>(source.extent(transposed ? 2 : 1));
    const std::int64_t n_count = static_cast<std::int64_t>(source.extent(transposed ? 1 : 2));
    const std::int64_t n_panels = ceil_div(n_count, Width);
    const std::int64_t k = task % k_count;
    const std::int64_t p = task / k_count % n_panels;
    const std::int64_t g = task / k_count / n_panels;
    T* out = panels.data() + ((g * panel_total + panel_begin + p * panel_step) * k_total + k_begin + k) * Width;
    for (int c = 0; c < Width; ++c) {
      const std::int64_t n = p * Width + c;
      out[c] = n >= n_count ? T(0.0f) : T(transposed ? source(g, n, k) : source(g, k, n));
    }
  }
};

/// One tile of rows times one panel (two for a paired epilogue), then the epilogue, row by row.
/// A row's sum runs over k = 0, 1, 2, ... in the same instructions whatever tile it lies in: short tiles repeat their
/// last row instead of taking another path. That is what makes the engine row-invariant.
template <class A, class B, class Acc, class Space, class Epilogue>
struct product_kernel {
  static constexpr int Rows = tile_shape<Acc>::rows;
  static constexpr int Columns = tile_shape<Acc>::columns;

  row_groups<Space> groups;
  rows<A, Space> a;                // [rows, K]
  Kokkos::View<const B*, Space> b; // panels
  std::int64_t k_count, n_count;
  std::int64_t panels; // column panels that a row is cut into; with a paired epilogue each is two of b
  Epilogue epilogue;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const tile_position tile = find_tile(groups, task / panels, Rows, Rows);
    if (tile.group < 0) return;
    const std::int64_t panel = task % panels;
    const A* row[Rows];
    for (int i = 0; i < Rows; ++i) row[i] = a(tile.begin + i < tile.end ? tile.begin + i : tile.end - 1);
    const std::int64_t column = panel * Columns;
    const int width = static_cast<int>(n_count - column < Columns ? n_count - column : Columns);

    Acc sum[Rows][Columns];
    if constexpr (Epilogue::paired) {
      Acc gate[Rows][Columns];
      multiply(row, tile.group * 2 * panels + 2 * panel, gate);
      multiply(row, tile.group * 2 * panels + 2 * panel + 1, sum);
      for (int i = 0; i < Rows && tile.begin + i < tile.end; ++i)
        epilogue(tile.group, tile.begin + i, column, width, gate[i], sum[i]);
    } else {
      multiply(row, tile.group * panels + panel, sum);
      for (int i = 0; i < Rows && tile.begin + i < tile.end; ++i)
        epilogue(tile.group, tile.begin + i, column, width, sum[i]);
    }
  }

  KOKKOS_FUNCTION void multiply(const A* const (&row)[Rows], std::int64_t panel, Acc (&sum)[Rows][Columns]) const {
    const B* weight = b.data() + panel * k_count * Columns;
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Columns; ++j) sum[i][j] = 0;
    for (std::int64_t k = 0; k < k_count; ++k, weight += Columns)
      for (int i = 0; i < Rows; ++i) {
        const Acc left = static_cast<Acc>(row[i][k]);
        for (int j = 0; j < Columns; ++j) sum[i][j] += left * static_cast<Acc>(weight[j]);
      }
  }
};

/// dW[g] (=|+=) sum over the rows of g of a(row)^T d(row). Rows are summed in blocks, the block sums in order: a fixed
/// order, and an error that grows with the block, not with the batch. A group without rows gives exact zeros.
template <class A, class D, class G, class Acc, class Space>
struct weight_gradient_kernel {
  static constexpr int Rows = tile_shape<Acc>::rows;
  /// gcc unrolls loops of up to 16 steps and then makes scalars of the sums; a device has no registers for more.
  static constexpr int Columns = std::is_same_v<Space, Kokkos::HostSpace> ? 32 : tile_shape<Acc>::columns;
  static constexpr std::int64_t Block = 128;

  row_groups<Space> groups;
  rows<A, Space> a;                                        // [rows, K]
  rows<D, Space> d;                                        // [rows, N]
  Kokkos::View<G***, Kokkos::LayoutRight, Space> gradient; // [groups, K, N]
  bool accumulate;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t k_count = a.columns(), n_count = d.columns();
    const std::int64_t n_tiles = ceil_div(n_count, Columns), k_tiles = ceil_div(k_count, Rows);
    const std::int64_t k = task % k_tiles * Rows; // fastest: neighbours read the same part of d
    const std::int64_t n = task / k_tiles % n_tiles * Columns;
    const std::int64_t g = task / k_tiles / n_tiles;
    const int width = static_cast<int>(n_count - n < Columns ? n_count - n : Columns);
    const int height = static_cast<int>(k_count - k < Rows ? k_count - k : Rows);

    Acc total[Rows][Columns];
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Columns; ++j) total[i][j] = 0;
    for (std::int64_t begin = groups.offset(g); begin < groups.offset(g + 1); begin += Block) {
      const std::int64_t end = begin + Block < groups.offset(g + 1) ? begin + Block : groups.offset(g + 1);
      if (height == Rows && width == Columns)
        add_block<true>(k, n, begin, end, height, width, total);
      else
        add_block<false>(k, n, begin, end, height, width, total);
    }
    for (int i = 0; i < height; ++i)
      for (int j = 0; j < width; ++j) {
        G& out = gradient(g, k + i, n + j);
        out = static_cast<G>(accumulate ? static_cast<Acc>(out) + total[i][j] : total[i][j]);
      }
  }

  template <bool Full> // bounds known to the compiler
  KOKKOS_FUNCTION void add_block(std::int64_t k, std::int64_t n, std::int64_t begin, std::int64_t end, int height,
                                 int width, Acc (&total)[Rows][Columns]) const {
    const int rows_here = Full ? Rows : height, columns_here = Full ? Columns : width;
    Acc sum[Rows][Columns];
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Columns; ++j) sum[i][j] = 0;
    for (std::int64_t r = begin; r < end; ++r) {
      const A* left = a(r) + k;
      const D* right = d(r) + n;
      Acc wide[Columns]; // converted once, not once per row of the tile
      for (int j = 0; j < columns_here; ++j) wide[j] = static_cast<Acc>(right[j]);
      for (int i = 0; i < rows_here; ++i) {
        const Acc factor = static_cast<Acc>(left[i]);
        for (int j = 0; j < columns_here; ++j) sum[i][j] += factor * wide[j];
      }
    }
    for (int i = 0; i < rows_here; ++i)
      for (int j = 0; j < columns_here; ++j) total[i][j] += sum[i][j];
  }
};

} // namespace switchyard::gemm::detail

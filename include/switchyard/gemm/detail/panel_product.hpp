// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/vector_code.hpp>
#include <switchyard/gemm/detail/micro_kernels.hpp>

namespace switchyard::gemm::detail {

/// W [groups, K, N], or [groups, N, K] for the transposed order, into panels. One task fills 32 rows of a panel.
template <class T, class W, class Space>
struct panel_pack_kernel {
  static constexpr std::int64_t Rows = 32;
  Kokkos::View<const W***, Kokkos::LayoutRight, Space> source;
  Kokkos::View<T*, Space> panels; // [groups, panel_total, k_total, width], zero where no matrix is
  std::int64_t k_total, k_begin, k_count, n_count, width;
  std::int64_t source_panels, panel_step, panel_begin, panel_total; // panel p goes to panel_begin + p * panel_step
  bool transposed;

  void operator()(std::int64_t task) const {
    in_vector_code([&] { run(task); });
  }

  void run(std::int64_t task) const {
    const std::int64_t slabs = ceil_div(k_count, Rows);
    const std::int64_t begin = task % slabs * Rows, end = std::min(begin + Rows, k_count);
    const std::int64_t p = task / slabs % source_panels, g = task / slabs / source_panels;
    const std::int64_t n_begin = p * width, n_here = std::min(width, n_count - n_begin);
    T* const to = panels.data() + (g * panel_total + panel_begin + p * panel_step) * k_total * width;
    if constexpr (rows_together<T> == 2)
      if (transposed && k_begin % 2 == 0 && (end - begin) % 2 == 0) {
        for (std::int64_t n = 0; n < n_here; ++n) { // a pair of numbers of a row of the source is one of the panel
          T column[Rows];
          convert(&source(g, n_begin + n, begin), end - begin, column);
          for (std::int64_t k = 0; k < (end - begin) / 2; ++k)
            std::memcpy(static_cast<void*>(to + (k_begin + begin + 2 * k) * width + 2 * n), column + 2 * k,
                        sizeof(std::uint32_t));
        }
        return;
      }
    T block[Rows * 64]; // width is at most 64
    for (std::int64_t k = begin; k < end && !transposed; ++k)
      convert(&source(g, k, n_begin), n_here, block + (k - begin) * 64);
    for (std::int64_t n = 0; n < n_here && transposed; ++n) {
      T column[Rows];
      convert(&source(g, n_begin + n, begin), end - begin, column);
      for (std::int64_t k = 0; k < end - begin; ++k) block[k * 64 + n] = column[k];
    }
    place_rows(k_begin + begin, end - begin, n_here, width, to, [&](std::int64_t i) { return block + i * 64; });
  }
};

/// A tile of rows times a range of column panels. The rows are copied once, in the order that the kernels
/// read them; then panel by panel the sums, and the epilogue while they are in the cache.
template <class A, class T, class Exec, class Epilogue>
struct panel_product_kernel {
  using space = typename Exec::memory_space;
  using kernels_type = micro_kernels<T>;
  using acc = accumulate_t<T>;
  static constexpr int Matrices = Epilogue::paired ? 2 : 1;
  static constexpr int Full = 256 / sizeof(acc); // columns of the widest panels of all kernels

  row_groups<space> groups;
  rows<A, space> a;
  Kokkos::View<const T*, space> b; // [groups, Matrices * panels, chunks * depth, width]
  std::shared_ptr<const kernels_type> kernels;
  std::int64_t k_count, n_count;
  std::int64_t parts; // of a tile's panels
  Epilogue epilogue;

  static std::size_t left_bytes(const kernels_type& k) {
    return line_bytes<T>(kernels_type::tile * k.chunks * k.depth);
  }
  static std::size_t sum_bytes(const kernels_type& k) { return line_bytes<acc>(kernels_type::tile * k.width); }
  static std::size_t scratch_bytes(const kernels_type& k) { return left_bytes(k) + 2 * sum_bytes(k) + k.scratch; }

  void operator()(const typename scratch_policy<Exec>::member_type& member) const {
    const std::int64_t task = member.league_rank();
    const tile_position tile = find_tile(groups, task / parts, kernels_type::tile, kernels->step);
    if (tile.group < 0) return;
    char* memory = scratch_of(member, scratch_bytes(*kernels));
    T* left = reinterpret_cast<T*>(memory);
    acc* const sum[2] = {reinterpret_cast<acc*>(memory + left_bytes(*kernels)),
                         reinterpret_cast<acc*>(memory + left_bytes(*kernels) + sum_bytes(*kernels))};
    void* own = memory + left_bytes(*kernels) + 2 * sum_bytes(*kernels);

    const std::int64_t height = round_up(tile.end - tile.begin, kernels->step);
    gather(tile, height, left);
    const std::int64_t part = task % parts, panels = kernels->panels, width = kernels->width;
    for (std::int64_t p = part * panels / parts; p < (part + 1) * panels / parts; ++p) {
      for (int m = 0; m < Matrices; ++m) {
        const std::int64_t panel = (tile.group * panels + p) * Matrices + m;
        kernels->multiply(left, height, b.data() + panel * kernels->chunks * kernels->depth * width, sum[m], own);
      }
      const std::int64_t here = std::min(width, n_count - p * width);
      if (here == Full)
        finish(tile, p * width, std::integral_constant<int, Full>(), sum);
      else
        finish(tile, p * width, static_cast<int>(here), sum);
    }
    kernels->leave();
  }

  /// The epilogue on one panel's sums; a full panel's width is a constant to its loops.
  template <class N>
  void finish(const tile_position& tile, std::int64_t column, N n, acc* const (&sum)[2]) const {
    for (std::int64_t r = tile.begin; r < tile.end; ++r) {
      const std::int64_t at = (r - tile.begin) * kernels->width;
      if constexpr (Epilogue::paired)
        epilogue(tile.group, r, column, n, sum[0] + at, sum[1] + at);
      else
        epilogue(tile.group, r, column, n, sum[0] + at);
    }
  }

  /// Rows of the tile to left [chunks, height, depth]; zeros below the last row and beyond the last k.
  void gather(const tile_position& tile, std::int64_t height, T* left) const {
    const std::int64_t depth = kernels->depth, real = tile.end - tile.begin;
    for (std::int64_t i = 0; i < height; ++i) {
      const A* row = i < real ? a(tile.begin + i) : nullptr;
      for (std::int64_t c = 0; c < kernels->chunks; ++c) {
        T* to = left + (c * height + i) * depth;
        const std::int64_t begin = c * depth;
        const std::int64_t count = row ? std::clamp<std::int64_t>(k_count - begin, 0, depth) : 0;
        if (count > 0) convert(row + begin, count, to);
        for (std::int64_t k = count; k < depth; ++k) to[k] = T(0.0f);
      }
    }
  }
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/onednn_product.hpp>

namespace switchyard::gemm::detail {

/// dW[g] (=|+=) sum over the rows of g of a(row)^T d(row), for 256 rows of dW and a range of its column panels.
/// Blocks of 512 token rows one after another; within a block the columns of a are turned into rows once, the columns
/// of d packed panel by panel. The order of a sum depends on its group's rows alone.
template <class A, class D, class T, class G, class Exec>
struct onednn_weight_gradient_kernel {
  using space = typename Exec::memory_space;
  using kernels_type = onednn_kernels<T>;
  static constexpr std::int64_t Tile = kernels_type::gradient_tile, Tiles = 4, Rows = Tile * Tiles;
  static constexpr std::int64_t Block = kernels_type::block, Stride = kernels_type::block_stride;
  static constexpr std::int64_t Together = 16; // token rows are padded to a multiple of it

  row_groups<space> groups;
  rows<A, space> a;                                        // [rows, K]
  rows<D, space> d;                                        // [rows, N]
  Kokkos::View<G***, Kokkos::LayoutRight, space> gradient; // [groups, K, N]
  std::shared_ptr<const kernels_type> kernels;
  std::int64_t parts; // of the panels
  bool accumulate;

  static std::size_t left_bytes() { return line_bytes<T>(Rows * Stride); }
  static std::size_t right_bytes(const kernels_type& k) { return line_bytes<T>(Block * k.width); }
  static std::size_t sum_bytes(const kernels_type& k) { return line_bytes<float>(Tile * k.width); }
  static std::size_t scratch_bytes(const kernels_type& k) {
    return left_bytes() + right_bytes(k) + sum_bytes(k) + k.scratch;
  }

  void operator()(const typename scratch_policy<Exec>::member_type& member) const {
    const std::int64_t k_count = a.columns(), panels = kernels->panels, width = kernels->width;
    const std::int64_t task = member.league_rank(), spans = ceil_div(k_count, Rows);
    const std::int64_t part = task % parts, k_begin = task / parts % spans * Rows, g = task / parts / spans;
    const std::int64_t k_end = std::min(k_begin + Rows, k_count);
    const std::int64_t p_begin = part * panels / parts, p_end = (part + 1) * panels / parts;
    const std::int64_t begin = groups.offset(g), end = groups.offset(g + 1);
    if (begin == end) {
      if (!accumulate) clear(g, k_begin, k_end, p_begin * width, std::min(p_end * width, d.columns()));
      return;
    }
    char* memory = scratch_of(member, scratch_bytes(*kernels));
    T* left = reinterpret_cast<T*>(memory);
    T* right = reinterpret_cast<T*>(memory + left_bytes());
    float* sum = reinterpret_cast<float*>(memory + left_bytes() + right_bytes(*kernels));
    void* own = memory + left_bytes() + right_bytes(*kernels) + sum_bytes(*kernels);

    for (std::int64_t row = begin; row < end; row += Block) {
      const std::int64_t count = std::min(Block, end - row), padded = round_up(count, Together);
      turn(row, count, padded, k_begin, k_end, left);
      for (std::int64_t p = p_begin; p < p_end; ++p) {
        pack(row, count, padded, p * width, right);
        for (std::int64_t k = k_begin; k < k_end; k += Tile) {
          kernels->reduce(left + (k - k_begin) * Stride, right, padded, sum, own);
          store(g, k, std::min(k + Tile, k_end), p * width, sum, accumulate || row > begin);
        }
      }
    }
    onednn_kernel<T>::leave();
  }

  /// left(k, r) = a(row + r)[k]
  void turn(std::int64_t row, std::int64_t count, std::int64_t padded, std::int64_t k_begin, std::int64_t k_end,
            T* left) const {
    const std::int64_t height = k_end - k_begin;
    for (std::int64_t r = 0; r < padded; r += Together) {
      const A* from[Together];
      const int real = static_cast<int>(std::min(Together, count - r));
      for (int i = 0; i < real; ++i) from[i] = a(row + r + i) + k_begin;
      if (real == Together) {
        for (std::int64_t k = 0; k < height; ++k)
          for (int i = 0; i < Together; ++i) left[k * Stride + r + i] = T(from[i][k]);
      } else {
        for (std::int64_t k = 0; k < height; ++k)
          for (int i = 0; i < Together; ++i) left[k * Stride + r + i] = i < real ? T(from[i][k]) : T(0.0f);
      }
    }
    for (std::int64_t k = height; k < round_up(height, Tile); ++k) // rows of the last tile that do not exist
      std::fill(left + k * Stride, left + k * Stride + padded, T(0.0f));
  }

  /// right [padded, width] in the order of a packed panel = d(row + r)[n + j]
  void pack(std::int64_t row, std::int64_t count, std::int64_t padded, std::int64_t n, T* right) const {
    constexpr int together = onednn_type<T>::rows_together;
    const std::int64_t width = kernels->width, here = std::min(width, d.columns() - n);
    if (count < padded || here < width) std::fill(right, right + padded * width, T(0.0f));
    std::int64_t r = 0;
    if constexpr (together == 2)
      for (; r + 1 < count; r += 2) {
        const D *first = d(row + r) + n, *second = d(row + r + 1) + n;
        T* to = right + r * width;
        for (std::int64_t j = 0; j < here; ++j) {
          to[2 * j] = T(first[j]);
          to[2 * j + 1] = T(second[j]);
        }
      }
    for (; r < count; ++r) {
      const D* from = d(row + r) + n;
      for (std::int64_t j = 0; j < here; ++j) right[onednn_offset<T>(r, j, width)] = T(from[j]);
    }
  }

  void store(std::int64_t g, std::int64_t k_begin, std::int64_t k_end, std::int64_t n, const float* sum,
             bool add) const {
    const std::int64_t width = kernels->width, here = std::min(width, d.columns() - n);
    for (std::int64_t k = k_begin; k < k_end; ++k, sum += width) {
      G* to = &gradient(g, k, n);
      if (add)
        for (std::int64_t j = 0; j < here; ++j) to[j] += static_cast<G>(sum[j]);
      else
        for (std::int64_t j = 0; j < here; ++j) to[j] = static_cast<G>(sum[j]);
    }
  }

  void clear(std::int64_t g, std::int64_t k_begin, std::int64_t k_end, std::int64_t n_begin, std::int64_t n_end) const {
    for (std::int64_t k = k_begin; k < k_end && n_begin < n_end; ++k)
      std::fill(&gradient(g, k, n_begin), &gradient(g, k, n_begin) + (n_end - n_begin), G(0));
  }
};

} // namespace switchyard::gemm::detail

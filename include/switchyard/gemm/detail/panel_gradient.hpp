// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/micro_kernels.hpp>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace switchyard::gemm::detail {

/// to = from, past the caches where the CPU can: a line that is written whole need not be read first. Half of the
/// traffic of a large gradient. Whoever streams calls stream_end before others read.
inline void stream(const float* from, std::int64_t n, float* to) {
#if defined(__SSE2__)
  if (n % 4 == 0 && reinterpret_cast<std::uintptr_t>(to) % 16 == 0) {
    for (std::int64_t j = 0; j < n; j += 4) _mm_stream_ps(to + j, _mm_loadu_ps(from + j));
    return;
  }
#endif
  std::copy(from, from + n, to);
}
inline void stream_end() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// dW[g] (=|+=) sum over the rows of g of a(row)^T d(row), for 384 or 192 of a's columns and a range of its column
/// panels. Blocks of 512 token rows one after another; within a block the columns of a are turned into rows once, the
/// columns of d packed panel by panel. The order of a sum depends on its group's rows alone.
template <class A, class D, class T, class G, class Exec>
struct panel_gradient_kernel {
  using space = typename Exec::memory_space;
  using kernels_type = micro_kernels<T>;
  using acc = accumulate_t<T>;
  static constexpr std::int64_t Tile = kernels_type::tile, Rows = (sizeof(T) == 2 ? 4 : 2) * Tile;
  static constexpr std::int64_t Block = gradient_block, Stride = gradient_stride;
  static constexpr std::int64_t Together = 16; // token rows are padded to a multiple of it
  static constexpr std::int64_t Panels = 4;    // panels of d packed at once

  row_groups<space> groups;
  rows<A, space> a;                                        // [rows, K]
  rows<D, space> d;                                        // [rows, N]
  Kokkos::View<G***, Kokkos::LayoutRight, space> gradient; // [groups, K, N]
  std::shared_ptr<const kernels_type> kernels;
  std::int64_t parts; // of the panels
  bool accumulate;
  bool past_caches; // the gradient is larger than they are

  static std::size_t left_bytes() { return line_bytes<T>(Rows * Stride); }
  static std::size_t right_bytes(const kernels_type& k) { return line_bytes<T>(Panels * Block * k.width); }
  static std::size_t sum_bytes(const kernels_type& k) { return line_bytes<acc>(Tile * k.width); }
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
    acc* sum = reinterpret_cast<acc*>(memory + left_bytes() + right_bytes(*kernels));
    void* own = memory + left_bytes() + right_bytes(*kernels) + sum_bytes(*kernels);

    const bool once = end - begin <= Block; // what is read again soon stays in the caches
    for (std::int64_t row = begin; row < end; row += Block) {
      const std::int64_t count = std::min(Block, end - row), padded = round_up(count, Together);
      turn(row, count, padded, k_begin, k_end, left);
      for (std::int64_t p = p_begin; p < p_end; ++p) {
        const std::int64_t ready = (p - p_begin) % Panels;
        if (ready == 0) pack(row, count, padded, p, std::min(p + Panels, p_end), right);
        for (std::int64_t k = k_begin; k < k_end; k += Tile) {
          const std::int64_t last = std::min(k + Tile, k_end), n = p * width;
          const T *rows = left + (k - k_begin) * Stride, *panel = right + ready * padded * width;
          const bool add = accumulate || row > begin;
          if (kernels->anywhere && n + width <= d.columns()) {
            G* to = &gradient(g, k, n);
            const sums mode = add ? sums::add : once && to_whole_lines(to) ? sums::stream : sums::set;
            kernels->reduce(rows, Stride, last - k, panel, padded, to, d.columns(), mode, own);
          } else {
            kernels->reduce(rows, Stride, last - k, panel, padded, sum, width, sums::set, own);
            store(g, k, last, n, sum, add);
          }
        }
      }
    }
    if (past_caches) stream_end();
    kernels->leave();
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

  /// right [panels, padded, width], each in the order of a packed panel = d(row + r)[n + j]
  void pack(std::int64_t row, std::int64_t count, std::int64_t padded, std::int64_t p_begin, std::int64_t p_end,
            T* right) const {
    const std::int64_t width = kernels->width, panel = padded * width;
    if (count < padded || p_end * width > d.columns()) std::fill(right, right + (p_end - p_begin) * panel, T(0.0f));
    for (std::int64_t r = 0; r < count; r += 2) // across the panels, as the rows of d lie
      for (std::int64_t p = p_begin; p < p_end; ++p)
        place_rows(r, std::min<std::int64_t>(2, count - r), std::min(width, d.columns() - p * width), width,
                   right + (p - p_begin) * panel, [&](std::int64_t i) { return d(row + r + i) + p * width; });
  }

  /// May these rows be written past the caches, a line at a time?
  bool to_whole_lines(const G* to) const {
    return past_caches && reinterpret_cast<std::uintptr_t>(to) % 64 == 0 &&
           static_cast<std::size_t>(d.columns()) * sizeof(G) % 64 == 0;
  }

  void store(std::int64_t g, std::int64_t k_begin, std::int64_t k_end, std::int64_t n, const acc* sum, bool add) const {
    const std::int64_t width = kernels->width, here = std::min(width, d.columns() - n);
    for (std::int64_t k = k_begin; k < k_end; ++k, sum += width) {
      G* to = &gradient(g, k, n);
      if (add) {
        for (std::int64_t j = 0; j < here; ++j) to[j] += static_cast<G>(sum[j]);
        continue;
      }
      if constexpr (std::same_as<G, float>)
        if (past_caches) {
          stream(sum, here, to);
          continue;
        }
      convert(sum, here, to);
    }
  }

  void clear(std::int64_t g, std::int64_t k_begin, std::int64_t k_end, std::int64_t n_begin, std::int64_t n_end) const {
    for (std::int64_t k = k_begin; k < k_end && n_begin < n_end; ++k)
      std::fill(&gradient(g, k, n_begin), &gradient(g, k, n_begin) + (n_end - n_begin), G(0));
  }
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <memory>
#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/host_tasks.hpp>

// What the schedule of the host engine asks of the code that multiplies, and the order in which packed numbers lie.

namespace switchyard::gemm::detail {

/// Rows of a packed panel [K, width] that lie together: bfloat16 in pairs, 32 bits per column, as the dot products of
/// CPUs want them.
template <class T>
inline constexpr int rows_together = sizeof(T) == 2 ? 2 : 1;

/// Rows k, k + 1, ... of a panel [any, width] = the first n numbers of row(0), row(1), ... Pairs are written as such:
/// that is what the compiler makes vector code of.
template <class T, class Row>
void place_rows(std::int64_t k, std::int64_t count, std::int64_t n, std::int64_t width, T* panel, const Row& row) {
  std::int64_t i = 0;
  if constexpr (rows_together<T> == 1) {
    for (; i < count; ++i) convert(row(i), n, panel + (k + i) * width);
  } else {
    const auto single = [&](std::int64_t r) { // half of a pair
      for (std::int64_t j = 0; j < n; ++j) panel[((k + r) / 2 * width + j) * 2 + (k + r) % 2] = T(row(r)[j]);
    };
    if (k % 2 == 1 && count > 0) single(i++);
    for (; i + 1 < count; i += 2) {
      const auto* KOKKOS_RESTRICT first = row(i);
      const auto* KOKKOS_RESTRICT second = row(i + 1);
      T* KOKKOS_RESTRICT to = panel + (k + i) * width;
      for (std::int64_t j = 0; j < n; ++j) {
        const std::uint32_t pair = std::uint32_t{T(first[j]).bits} | std::uint32_t{T(second[j]).bits} << 16;
        std::memcpy(static_cast<void*>(to + 2 * j), &pair, sizeof(pair));
      }
    }
    if (i < count) single(i);
  }
}

/// Token rows of a gradient that are packed at once, and how far apart its left rows lie for it.
inline constexpr std::int64_t gradient_block = 512, gradient_stride = gradient_block + 32;

/// What happens with sums that are ready.
enum class sums {
  set,
  add,   ///< to what is there
  stream ///< set, past the caches: for full lines at addresses that are multiples of 64, and stream_end() at the end
};

/// The kernels for one shape of packed matrix [K, N]: its columns in `panels` panels of `width`, its rows in `chunks`
/// equal parts of `depth`, the last ones padded with zeros. Sums are in the accumulate type. Every element is summed
/// over k in one order, whatever the number of rows: that is what makes the engine row-invariant.
template <class T>
class micro_kernels {
 public:
  using acc = accumulate_t<T>;
  static constexpr int tile = 96; // rows of a product's tile, and of a gradient's

  std::int64_t width = 0, panels = 0, depth = 0, chunks = 0;
  std::int64_t step = 1;   // the rows of a tile are padded to a multiple of it
  std::size_t scratch = 0; // bytes that the kernels want for themselves
  bool anywhere = false;   // reduce may write to rows of any distance, in every mode; if not, [tile, width] and set

  virtual ~micro_kernels() = default;

  /// sum [height, width] = left · panel. left is [chunks, height, depth], height a multiple of step.
  virtual void multiply(const T* left, std::int64_t height, const T* panel, acc* sum, void* scratch) const = 0;

  /// to [height, width] = left · right over `rows` token rows, a multiple of 16. left: rows `left_stride` apart; right:
  /// a packed panel [rows, width]; rows of `to`: `to_stride` apart.
  virtual void reduce(const T* left, std::int64_t left_stride, std::int64_t height, const T* right, std::int64_t rows,
                      acc* to, std::int64_t to_stride, sums mode, void* scratch) const = 0;

  /// The calling thread is done for now.
  virtual void leave() const {}
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/host_tasks.hpp>
#if defined(_OPENMP)
#include <omp.h>
#endif

// The only file that sees a BLAS header. OpenBLAS' one puts a type named bfloat16 into the global namespace.
#define bfloat16 cblas_bfloat16
#include <cblas.h>
#undef bfloat16

namespace switchyard::gemm::detail {

/// While it lives, a BLAS that is threaded with OpenMP uses the calling thread alone, as it does inside a parallel
/// region of several threads: a space of one thread must not give other bytes.
class calling_thread_only {
#if defined(_OPENMP)
 public:
  calling_thread_only() : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
  }
  ~calling_thread_only() {
    omp_set_num_threads(before_);
  }
  calling_thread_only(const calling_thread_only&) = delete;
  calling_thread_only& operator=(const calling_thread_only&) = delete;

 private:
  int before_;
#endif
};

/// C [m, n] = op(A) B + beta C, all row-major; op(A) is [m, k].
template <std::floating_point T>
void blas_multiply(bool a_transposed, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_stride,
                   const T* b, std::int64_t b_stride, T beta, T* c, std::int64_t c_stride) {
  [[maybe_unused]] const calling_thread_only guard;
  const auto how = a_transposed ? CblasTrans : CblasNoTrans;
  const auto i = [](std::int64_t x) { return static_cast<int>(x); };
  if constexpr (std::same_as<T, double>)
    cblas_dgemm(CblasRowMajor, how, CblasNoTrans, i(m), i(n), i(k), 1, a, i(a_stride), b, i(b_stride), beta, c,
                i(c_stride));
  else
    cblas_sgemm(CblasRowMajor, how, CblasNoTrans, i(m), i(n), i(k), 1, a, i(a_stride), b, i(b_stride), beta, c,
                i(c_stride));
}

/// W [groups, K, N], or [groups, N, K] for the transposed order, into rows [k_begin, ...) of a plain matrix per group.
template <class T, class W, class Space>
struct blas_pack_kernel {
  Kokkos::View<const W***, Kokkos::LayoutRight, Space> source;
  Kokkos::View<T***, Kokkos::LayoutRight, Space> to; // [groups * matrices, K in all, N]
  std::int64_t k_begin, k_count, step, half;
  bool transposed;

  void operator()(std::int64_t task) const {
    const std::int64_t k = task % k_count, g = task / k_count;
    T* row = &to(g * step + half, k_begin + k, 0);
    for (std::int64_t n = 0; n < static_cast<std::int64_t>(to.extent(2)); ++n)
      row[n] = T(transposed ? source(g, n, k) : source(g, k, n));
  }
};

/// A tile of up to 64 rows times 256 columns, K in parts of 1024.
template <class A, class T, class Exec, class Epilogue>
struct blas_product_kernel {
  using space = typename Exec::memory_space;
  static constexpr std::int64_t Height = 64, Width = 256, Depth = 1024;
  static constexpr int Matrices = Epilogue::paired ? 2 : 1;

  row_groups<space> groups;
  rows<A, space> a;
  Kokkos::View<const T***, Kokkos::LayoutRight, space> b; // [groups * Matrices, K, N]
  Epilogue epilogue;

  static std::size_t left_bytes() { return line_bytes<T>(Height * Depth); }
  static std::size_t sum_bytes() { return line_bytes<T>(Height * Width); }
  static std::size_t scratch_bytes() { return left_bytes() + Matrices * sum_bytes(); }

  void operator()(const typename scratch_policy<Exec>::member_type& member) const {
    const std::int64_t k_count = static_cast<std::int64_t>(b.extent(1)),
                       n_count = static_cast<std::int64_t>(b.extent(2));
    const std::int64_t parts = ceil_div(n_count, Width), task = member.league_rank();
    const tile_position tile = find_tile(groups, task / parts, Height, Height);
    if (tile.group < 0) return;
    char* memory = scratch_of(member, scratch_bytes());
    T* left = reinterpret_cast<T*>(memory);
    T* sum[Matrices];
    for (int m = 0; m < Matrices; ++m)
      sum[m] = reinterpret_cast<T*>(memory + left_bytes() + static_cast<std::size_t>(m) * sum_bytes());

    const std::int64_t column = task % parts * Width, width = std::min(Width, n_count - column);
    if (k_count == 0)
      for (int m = 0; m < Matrices; ++m) std::fill(sum[m], sum[m] + Height * width, T(0));
    for (std::int64_t k = 0; k < k_count; k += Depth) {
      const std::int64_t depth = std::min(Depth, k_count - k);
      for (std::int64_t r = tile.begin; r < tile.end; ++r) convert(a(r) + k, depth, left + (r - tile.begin) * depth);
      for (int m = 0; m < Matrices; ++m)
        blas_multiply(false, tile.end - tile.begin, width, depth, left, depth, &b(tile.group * Matrices + m, k, column),
                      n_count, T(k > 0 ? 1 : 0), sum[m], width);
    }
    for (std::int64_t r = tile.begin; r < tile.end; ++r) {
      const std::int64_t at = (r - tile.begin) * width;
      if constexpr (Epilogue::paired)
        epilogue(tile.group, r, column, static_cast<int>(width), sum[0] + at, sum[1] + at);
      else
        epilogue(tile.group, r, column, static_cast<int>(width), sum[0] + at);
    }
  }
};

/// dW[g] (=|+=) sum over the rows of g of a(row)^T d(row), for 256 x 256 elements of dW, 256 token rows after another.
template <class A, class D, class T, class Exec>
struct blas_weight_gradient_kernel {
  using space = typename Exec::memory_space;
  static constexpr std::int64_t Tile = 256;

  row_groups<space> groups;
  rows<A, space> a;                                        // [rows, K]
  rows<D, space> d;                                        // [rows, N]
  Kokkos::View<T***, Kokkos::LayoutRight, space> gradient; // [groups, K, N]
  bool accumulate;

  static std::size_t scratch_bytes() { return 2 * line_bytes<T>(Tile * Tile); }

  void operator()(const typename scratch_policy<Exec>::member_type& member) const {
    const std::int64_t k_tiles = ceil_div(a.columns(), Tile), n_tiles = ceil_div(d.columns(), Tile);
    const std::int64_t task = member.league_rank(), g = task / n_tiles / k_tiles;
    const std::int64_t n = task % n_tiles * Tile, width = std::min(Tile, d.columns() - n);
    const std::int64_t k = task / n_tiles % k_tiles * Tile, height = std::min(Tile, a.columns() - k);
    const std::int64_t begin = groups.offset(g), end = groups.offset(g + 1);
    if (begin == end && !accumulate)
      for (std::int64_t i = 0; i < height; ++i) std::fill(&gradient(g, k + i, n), &gradient(g, k + i, n) + width, T(0));
    char* memory = scratch_of(member, scratch_bytes());
    T* left = reinterpret_cast<T*>(memory);
    T* right = reinterpret_cast<T*>(memory + line_bytes<T>(Tile * Tile));
    for (std::int64_t row = begin; row < end; row += Tile) {
      const std::int64_t count = std::min(Tile, end - row);
      for (std::int64_t i = 0; i < count; ++i) {
        convert(a(row + i) + k, height, left + i * height);
        convert(d(row + i) + n, width, right + i * width);
      }
      blas_multiply(true, height, width, count, left, height, right, width, T(accumulate || row > begin ? 1 : 0),
                    &gradient(g, k, n), d.columns());
    }
  }
};

} // namespace switchyard::gemm::detail

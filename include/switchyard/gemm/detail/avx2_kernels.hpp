// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/avx2.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/gemm/detail/micro_kernels.hpp>

// Micro-kernels of our own for CPUs with AVX2 and FMA, by the plan of those for AVX-512. There are 16 registers of half
// the size: a panel is multiplied in parts of two registers' columns. Numbers of 16 bits are widened as they are read.

namespace switchyard::gemm::detail {

#if defined(__x86_64__) && defined(__GNUC__)

/// One call of a kernel: c [Rows, 2 registers] = a · b, over `steps` rows (pairs) of b, which lie `b_stride` apart.
template <class T>
struct avx2_call {
  const T* a; // rows `a_stride` apart
  std::int64_t a_stride;
  const T* b; // packed
  std::int64_t b_stride;
  std::int64_t steps;
  accumulate_t<T>* c; // rows `c_stride` apart
  std::int64_t c_stride;
  sums mode;
  const char* ahead; // if not null: a line per step to fetch into the second-level cache
};

#if defined(__NVCC__) // its front end does not know the pragmas of the host compiler, which gets them all the same
#pragma nv_diagnostic push
#pragma nv_diag_suppress 1675
#endif

/// Rows * 2 sums in registers, over all steps.
template <class T, int Rows>
[[gnu::target("avx2,fma,f16c")]] void avx2_block(const avx2_call<T>& call) {
  using lane = avx2<T>;
  constexpr int Together = rows_together<T>, Count = 32 / static_cast<int>(sizeof(accumulate_t<T>)), Vectors = 2;
  typename lane::vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = call.mode == sums::add ? lane::load(call.c + r * call.c_stride + v * Count) : typename lane::vector{};
  const T* a = call.a;
  const T* b = call.b;
  const char* ahead = call.ahead;
#pragma GCC unroll 1
  for (std::int64_t k = 0; k < call.steps; ++k, a += Together, b += call.b_stride) {
    typename lane::operand right[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) right[v] = lane::read(b + v * Count * Together);
    if (ahead) {
      _mm_prefetch(ahead, _MM_HINT_T1);
      ahead += 64;
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const typename lane::operand left = lane::broadcast(a + r * call.a_stride);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[r][v] = lane::multiply_add(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      accumulate_t<T>* to = call.c + r * call.c_stride + v * Count;
      if (call.mode == sums::stream)
        lane::stream(to, sum[r][v]);
      else
        lane::store(to, sum[r][v]);
    }
}

#if defined(__NVCC__)
#pragma nv_diagnostic pop
#endif

template <class T>
class avx2_kernels final : public micro_kernels<T> {
 public:
  using acc = accumulate_t<T>;
  static constexpr int block = rows_together<T> == 2 ? 4 : 6; // rows: what fills 16 registers with b and one of a

  /// Does this CPU have the instructions?
  static bool run_here() { return switchyard::detail::has_avx2(); }

  avx2_kernels(std::int64_t rows, std::int64_t columns) {
    constexpr std::int64_t Longest = 768 * rows_together<T>, Widest = 256 / sizeof(acc);
    this->width = columns <= part ? part : columns <= 2 * part ? 2 * part : Widest;
    this->panels = ceil_div(columns, this->width);
    this->chunks = ceil_div(rows, Longest);
    this->depth = round_up(ceil_div(rows, this->chunks), rows_together<T>);
    this->anywhere = true;
  }

  void multiply(const T* left, std::int64_t height, const T* panel, acc* sum, void*) const override {
    const std::int64_t chunk = this->depth * this->width;
    for (std::int64_t c = 0; c < this->chunks; ++c, panel += chunk)
      run({left + c * height * this->depth, this->depth, panel, 0, this->depth / rows_together<T>, sum, this->width,
           c == 0 ? sums::set : sums::add, reinterpret_cast<const char*>(panel + chunk)},
          height, chunk * static_cast<std::int64_t>(sizeof(T)) / 64);
  }

  void reduce(const T* left, std::int64_t left_stride, std::int64_t height, const T* right, std::int64_t rows, acc* to,
              std::int64_t to_stride, sums mode, void*) const override {
    run({left, left_stride, right, 0, rows / rows_together<T>, to, to_stride, mode, nullptr}, height, 0);
  }

 private:
  static constexpr std::int64_t part = 64 / sizeof(acc); // columns of a call
  using function = void (*)(const avx2_call<T>&);
  static constexpr function functions[6] = {
      avx2_block<T, 1>,    avx2_block<T, 2>, avx2_block<T, 3>, avx2_block<T, 4>, avx2_block<T, block == 4 ? 4 : 5>,
      avx2_block<T, block>};

  /// Blocks of up to `block` of `height` rows, part by part of the panel, which first fetch `lines` lines ahead between
  /// them.
  void run(avx2_call<T> call, std::int64_t height, std::int64_t lines) const {
    const std::int64_t blocks = ceil_div(height, block);
    const T *a = call.a, *b = call.b;
    acc* c = call.c;
    call.b_stride = this->width * rows_together<T>;
    for (std::int64_t i = 0, row = 0; i < blocks; ++i) {
      const std::int64_t end = height * (i + 1) / blocks;
      call.a = a + row * call.a_stride;
      for (std::int64_t n = 0; n < this->width; n += part) {
        call.b = b + n * rows_together<T>;
        call.c = c + row * call.c_stride + n;
        if (lines <= 0) call.ahead = nullptr;
        functions[end - row - 1](call);
        lines -= call.steps;
        if (call.ahead) call.ahead += 64 * call.steps;
      }
      row = end;
    }
  }
};

#endif

/// The kernels above, as a source for host_engine.
struct avx2_source {
  static constexpr const char* name = "avx2";

  /// Null where this CPU has none.
  template <class T>
  static std::shared_ptr<const micro_kernels<T>> make([[maybe_unused]] std::int64_t rows,
                                                      [[maybe_unused]] std::int64_t columns) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (rows > 0 && columns > 0 && avx2_kernels<T>::run_here())
      return std::make_shared<const avx2_kernels<T>>(rows, columns);
#endif
    return {};
  }

  /// Where no other source has kernels.
  template <class T>
  static bool best() {
    return false;
  }

  template <class T>
  static constexpr bool supports =
      std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, bfloat16> || std::same_as<T, half>;
};

} // namespace switchyard::gemm::detail

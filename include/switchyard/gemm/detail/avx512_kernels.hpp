// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/avx512.hpp>
#include <switchyard/gemm/detail/micro_kernels.hpp>
#if defined(__x86_64__) && defined(__GNUC__) // clang too
#include <cpuid.h>
#endif

// Micro-kernels of our own for CPUs with AVX-512. They are compiled for those CPUs whatever flags the user compiles
// with, and used where the CPU at hand is one.
//
// Against generated code they have three things to set: any number of rows without padding, no time to generate, and
// the next panel of weights on its way from memory while this one is multiplied. With many experts that is most of the
// time: a panel then serves a few rows only.

namespace switchyard::gemm::detail {

#if defined(__x86_64__) && defined(__GNUC__)

/// One call of a kernel: c [Rows, 64 * Vectors bytes] = a · b, over `steps` rows (pairs) of b.
template <class T>
struct avx512_call {
  const T* a; // rows `a_stride` apart
  std::int64_t a_stride;
  const T* b; // packed
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

/// Rows * Vectors sums in registers, over all steps. The loops must be unrolled for that, which compilers do on their
/// own at -O3 only.
template <class T, int Rows, int Vectors>
[[gnu::target("avx512f,avx512bf16")]] void avx512_block(const avx512_call<T>& call) {
  using lane = avx512<T>;
  constexpr int Together = rows_together<T>, Count = 64 / static_cast<int>(sizeof(accumulate_t<T>));
  typename lane::vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = call.mode == sums::add ? lane::load(call.c + r * call.c_stride + v * Count) : typename lane::vector{};
  const T* a = call.a;
  const T* b = call.b;
  const char* ahead = call.ahead;
#pragma GCC unroll 1
  for (std::int64_t k = 0; k < call.steps; ++k, a += Together, b += Vectors * Count * Together) {
    typename lane::operand right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = lane::read(b + v * Count * Together);
    if (ahead) {
      _mm_prefetch(ahead, _MM_HINT_T1);
      ahead += 64;
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const typename lane::operand left = lane::broadcast(a + r * call.a_stride);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = lane::multiply_add(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
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
class avx512_kernels final : public micro_kernels<T> {
 public:
  using acc = accumulate_t<T>;
  static constexpr int block = 6; // rows: 6 x 4 sums, 4 of b and one of a fill the 32 registers

  /// Does this CPU have the instructions?
  static bool run_here() {
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) return false;
    return !std::same_as<T, bfloat16> || __builtin_cpu_supports("avx512bf16");
  }

  avx512_kernels(std::int64_t rows, std::int64_t columns) {
    constexpr std::int64_t Count = 64 / sizeof(acc), Longest = 768 * rows_together<T>;
    vectors_ = columns <= Count ? 1 : columns <= 2 * Count ? 2 : 4;
    this->width = vectors_ * Count;
    this->panels = ceil_div(columns, this->width);
    this->chunks = ceil_div(rows, Longest);
    this->depth = round_up(ceil_div(rows, this->chunks), rows_together<T>);
    this->anywhere = true;
  }

  void multiply(const T* left, std::int64_t height, const T* panel, acc* sum, void*) const override {
    const std::int64_t chunk = this->depth * this->width;
    for (std::int64_t c = 0; c < this->chunks; ++c, panel += chunk)
      run({left + c * height * this->depth, this->depth, panel, this->depth / rows_together<T>, sum, this->width,
           c == 0 ? sums::set : sums::add, reinterpret_cast<const char*>(panel + chunk)},
          height, chunk * static_cast<std::int64_t>(sizeof(T)) / 64);
  }

  void reduce(const T* left, std::int64_t left_stride, std::int64_t height, const T* right, std::int64_t rows, acc* to,
              std::int64_t to_stride, sums mode, void*) const override {
    run({left, left_stride, right, rows / rows_together<T>, to, to_stride, mode, nullptr}, height, 0);
  }

 private:
  using function = void (*)(const avx512_call<T>&);
  template <int Vectors>
  static constexpr function functions[block] = {avx512_block<T, 1, Vectors>, avx512_block<T, 2, Vectors>,
                                                avx512_block<T, 3, Vectors>, avx512_block<T, 4, Vectors>,
                                                avx512_block<T, 5, Vectors>, avx512_block<T, 6, Vectors>};

  /// Blocks of up to 6 of `height` rows, which first fetch `lines` lines ahead between them.
  void run(avx512_call<T> call, std::int64_t height, std::int64_t lines) const {
    const function* f = vectors_ == 4 ? functions<4> : vectors_ == 2 ? functions<2> : functions<1>;
    const std::int64_t blocks = ceil_div(height, block);
    const T* a = call.a;
    acc* c = call.c;
    for (std::int64_t i = 0, row = 0; i < blocks; ++i) {
      const std::int64_t end = height * (i + 1) / blocks;
      call.a = a + row * call.a_stride;
      call.c = c + row * call.c_stride;
      if (lines <= 0) call.ahead = nullptr;
      f[end - row - 1](call);
      row = end;
      lines -= call.steps;
      if (call.ahead) call.ahead += 64 * call.steps;
    }
  }

  int vectors_ = 0;
};

#endif

/// The kernels above, as a source for host_engine.
struct avx512_source {
  static constexpr const char* name = "avx512";

  /// Null where this CPU has none.
  template <class T>
  static std::shared_ptr<const micro_kernels<T>> make([[maybe_unused]] std::int64_t rows,
                                                      [[maybe_unused]] std::int64_t columns) {
#if defined(__x86_64__) && defined(__GNUC__)
    if constexpr (supports<T>)
      if (rows > 0 && columns > 0 && avx512_kernels<T>::run_here())
        return std::make_shared<const avx512_kernels<T>>(rows, columns);
#endif
    return {};
  }

  /// Not for bfloat16 on CPUs with matrix registers (AMX), if there is somebody who uses those.
  template <class T>
  static bool best() {
#if defined(__x86_64__) && defined(__GNUC__)
    if constexpr (std::same_as<T, bfloat16>) {
      unsigned a = 0, b = 0, c = 0, d = 0;
      return !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (1u << 22)) == 0;
    }
#endif
    return true;
  }

  template <class T>
  static constexpr bool supports = std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, bfloat16>;
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <switchyard/core/bfloat16.hpp>
#if defined(__x86_64__) && defined(__GNUC__) // clang too
#include <immintrin.h>
#endif

/// \file
/// What kernels for AVX-512 are written in, whatever flags the user compiles with: functions that use it are marked
/// [[gnu::target("avx512f")]] and called where the CPU has it.

namespace switchyard {

#if defined(__x86_64__) && defined(__GNUC__)

/// The numbers of one 512-bit register.
template <class T>
struct avx512;

template <>
struct avx512<float> {
  using vector = __m512;
  using operand = __m512;
  [[gnu::target("avx512f"), gnu::always_inline]] static operand broadcast(const float* a) { return _mm512_set1_ps(*a); }
  [[gnu::target("avx512f"), gnu::always_inline]] static operand read(const float* b) { return _mm512_loadu_ps(b); }
  [[gnu::target("avx512f"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  [[gnu::target("avx512f"), gnu::always_inline]] static vector load(const float* c) { return _mm512_loadu_ps(c); }
  [[gnu::target("avx512f"), gnu::always_inline]] static void store(float* c, vector v) { _mm512_storeu_ps(c, v); }
  [[gnu::target("avx512f"), gnu::always_inline]] static void stream(float* c, vector v) { _mm512_stream_ps(c, v); }
};

template <>
struct avx512<double> {
  using vector = __m512d;
  using operand = __m512d;
  [[gnu::target("avx512f"), gnu::always_inline]] static operand broadcast(const double* a) {
    return _mm512_set1_pd(*a);
  }
  [[gnu::target("avx512f"), gnu::always_inline]] static operand read(const double* b) { return _mm512_loadu_pd(b); }
  [[gnu::target("avx512f"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm512_fmadd_pd(a, b, c);
  }
  [[gnu::target("avx512f"), gnu::always_inline]] static vector load(const double* c) { return _mm512_loadu_pd(c); }
  [[gnu::target("avx512f"), gnu::always_inline]] static void store(double* c, vector v) { _mm512_storeu_pd(c, v); }
  [[gnu::target("avx512f"), gnu::always_inline]] static void stream(double* c, vector v) { _mm512_stream_pd(c, v); }
};

template <>
struct avx512<bfloat16> : avx512<float> {
  using operand = __m512bh; // 16 pairs
  [[gnu::target("avx512f,avx512bf16"), gnu::always_inline]] static operand broadcast(const bfloat16* a) {
    int pair;
    std::memcpy(&pair, static_cast<const void*>(a), sizeof(pair));
    return (operand)_mm512_set1_epi32(pair);
  }
  [[gnu::target("avx512f,avx512bf16"), gnu::always_inline]] static operand read(const bfloat16* b) {
    return (operand)_mm512_loadu_si512(static_cast<const void*>(b));
  }
  [[gnu::target("avx512f,avx512bf16"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm512_dpbf16_ps(c, a, b);
  }
};

#endif

} // namespace switchyard

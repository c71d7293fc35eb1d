// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/bfloat16.hpp>
#include <switchyard/core/half.hpp>
#if defined(__x86_64__) && defined(__GNUC__) // clang too
#include <cstring>
#include <immintrin.h>
#endif

/// \file
/// What kernels for AVX2 are written in, whatever flags the user compiles with: functions that use it are marked
/// [[gnu::target("avx2,fma,f16c")]] and called where the CPU has it.

namespace switchyard {

#if defined(__x86_64__) && defined(__GNUC__)

/// The numbers of one 256-bit register. An operand is what is multiplied with one instruction per `vector` of it: of
/// 16-bit types, which lie in pairs, the even numbers and the odd ones, widened to float.
template <class T>
struct avx2;

template <>
struct avx2<float> {
  using vector = __m256;
  using operand = __m256;
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand broadcast(const float* a) {
    return _mm256_broadcast_ss(a);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand read(const float* b) {
    return _mm256_loadu_ps(b);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector load(const float* c) { return _mm256_loadu_ps(c); }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static void store(float* c, vector v) { _mm256_storeu_ps(c, v); }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static void stream(float* c, vector v) {
    _mm256_stream_ps(c, v);
  }
};

template <>
struct avx2<double> {
  using vector = __m256d;
  using operand = __m256d;
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand broadcast(const double* a) {
    return _mm256_broadcast_sd(a);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand read(const double* b) {
    return _mm256_loadu_pd(b);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm256_fmadd_pd(a, b, c);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector load(const double* c) {
    return _mm256_loadu_pd(c);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static void store(double* c, vector v) {
    _mm256_storeu_pd(c, v);
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static void stream(double* c, vector v) {
    _mm256_stream_pd(c, v);
  }
};

template <>
struct avx2<bfloat16> : avx2<float> {
  struct operand {
    __m256 even, odd;
  };
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand broadcast(const bfloat16* a) {
    int pair;
    std::memcpy(&pair, static_cast<const void*>(a), sizeof(pair));
    return widen(_mm256_set1_epi32(pair));
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand read(const bfloat16* b) {
    return widen(_mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(b))));
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return _mm256_fmadd_ps(a.odd, b.odd, _mm256_fmadd_ps(a.even, b.even, c));
  }

 private:
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand widen(__m256i pairs) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
  }
};

template <>
struct avx2<half> : avx2<float> {
  using operand = avx2<bfloat16>::operand;
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand broadcast(const half* a) {
    int pair;
    std::memcpy(&pair, static_cast<const void*>(a), sizeof(pair));
    const __m256 both = _mm256_cvtph_ps(_mm_set1_epi32(pair));
    return {_mm256_moveldup_ps(both), _mm256_movehdup_ps(both)};
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static operand read(const half* b) {
    const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(b)));
    const __m256i apart = _mm256_shuffle_epi8( // in each half of the register: 4 even numbers, 4 odd ones
        pairs, _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6,
                                7, 10, 11, 14, 15));
    const __m256i sorted = _mm256_permute4x64_epi64(apart, 0xd8);
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(sorted)), _mm256_cvtph_ps(_mm256_extracti128_si256(sorted, 1))};
  }
  [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static vector multiply_add(operand a, operand b, vector c) {
    return avx2<bfloat16>::multiply_add(a, b, c);
  }
};

#endif

} // namespace switchyard

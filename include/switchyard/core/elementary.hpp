// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

/// \file
/// Elementary functions for inner loops. In float on the host they are branch-free arithmetic, so that compilers make
/// vector loops of them where a call of libm stays a call; in double, and on devices, they are Kokkos'.

namespace switchyard {

namespace detail {

/// exp(x) in float: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial for e^r and the exponent bits for 2^n, put on in two
/// halves so that results below the normal range come out right. Off by at most 2 units in the last place; NaN stays
/// NaN.
inline float host_exp(float x) {
  constexpr float to_integer = 12582912.0f; // 1.5 * 2^23: the sum's low bits are the integer
  const float shifted = x * 1.44269504088896341f + to_integer;
  const auto n = static_cast<std::int32_t>(Kokkos::bit_cast<std::uint32_t>(shifted) - 0x4b400000u);
  const auto whole = static_cast<float>(n);
  const float r =
      (x - whole * 0.693359375f) + whole * 2.12194440054690583e-4f; // ln 2 in two parts, the first one exact
  float sum = 1.9841269841e-4f; // 1 / 7!, and so on down: Taylor's series is enough on so short an interval
  sum = sum * r + 1.3888888889e-3f;
  sum = sum * r + 8.3333333333e-3f;
  sum = sum * r + 4.1666666667e-2f;
  sum = sum * r + 1.6666666667e-1f;
  sum = sum * r + 0.5f;
  sum = sum * r * r + r + 1.0f;
  const std::int32_t half = n >> 1, rest = n - half;
  const auto power = [](std::int32_t k) {
    return Kokkos::bit_cast<float>((static_cast<std::uint32_t>(k) + 127u) << 23);
  };
  const auto result = Kokkos::bit_cast<std::uint32_t>(sum * power(half) * power(rest));
  // Beyond 104 it is 0 or infinity. In integers: compilers keep comparisons of floats, which may trap, out of vectors.
  const auto bits = Kokkos::bit_cast<std::uint32_t>(x);
  const std::uint32_t size = bits & 0x7fffffffu, limit = 0x7f800000u & ((bits >> 31) - 1u);
  const std::uint32_t far = 0u - static_cast<std::uint32_t>((size > 0x42d00000u) & (size <= 0x7f800000u));
  return Kokkos::bit_cast<float>((result & ~far) | (limit & far));
}

} // namespace detail

/// exp(x)
template <class R>
KOKKOS_INLINE_FUNCTION R fast_exp(R x) {
  if constexpr (std::is_same_v<R, float>) {
    KOKKOS_IF_ON_HOST((return detail::host_exp(x);))
    KOKKOS_IF_ON_DEVICE((return Kokkos::exp(x);))
  } else {
    return Kokkos::exp(x);
  }
}

/// tanh(x), in float on the host to an absolute error of 2e-7: near 0 its relative error is larger.
template <class R>
KOKKOS_INLINE_FUNCTION R fast_tanh(R x) {
  if constexpr (std::is_same_v<R, float>) {
    KOKKOS_IF_ON_HOST((return 1.0f - 2.0f / (detail::host_exp(2.0f * x) + 1.0f);))
    KOKKOS_IF_ON_DEVICE((return Kokkos::tanh(x);))
  } else {
    return Kokkos::tanh(x);
  }
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

/// \file
/// Brain floating point: the upper half of an IEEE binary32, 2 bytes on every backend.
/// A storage type: arithmetic happens in float, so there are conversions and comparisons and nothing else.
/// (Kokkos' own bhalf_t is plain float where the backend has no 16-bit type.)

namespace switchyard {

struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;

  /// Round to nearest, ties to even; overflow gives infinity, NaN stays a (quiet) NaN. Branch-free.
  KOKKOS_FUNCTION explicit bfloat16(float value) : bits(round(value)) {}
  KOKKOS_FUNCTION explicit bfloat16(double value) : bfloat16(static_cast<float>(value)) {}

  /// Exact.
  KOKKOS_FUNCTION operator float() const { return Kokkos::bit_cast<float>(std::uint32_t{bits} << 16); }

  KOKKOS_FUNCTION static bfloat16 from_bits(std::uint16_t bits) {
    bfloat16 result;
    result.bits = bits;
    return result;
  }

 private:
  KOKKOS_FUNCTION static std::uint16_t round(float value) {
    const auto word = Kokkos::bit_cast<std::uint32_t>(value);
    const std::uint32_t nearest_even = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    const std::uint32_t quiet_nan = (word >> 16) | 0x0040u;
    return static_cast<std::uint16_t>(value != value ? quiet_nan : nearest_even); // a selection in vector code
  }
};

static_assert(sizeof(bfloat16) == 2);

} // namespace switchyard

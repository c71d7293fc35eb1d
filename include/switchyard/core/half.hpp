// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

/// \file
/// IEEE binary16, 2 bytes on every backend. A storage type like bfloat16: arithmetic happens in float.

namespace switchyard {

struct half {
  std::uint16_t bits = 0;

  half() = default;

  /// Round to nearest, ties to even, subnormals included; overflow gives infinity, NaN stays a (quiet) NaN.
  /// Branch-free: every case is computed, selects pick one.
  KOKKOS_FUNCTION explicit half(float value) : bits(round(Kokkos::bit_cast<std::uint32_t>(value))) {}
  KOKKOS_FUNCTION explicit half(double value) : half(static_cast<float>(value)) {}

  /// Exact.
  KOKKOS_FUNCTION operator float() const { return widen(bits); }

  KOKKOS_FUNCTION static half from_bits(std::uint16_t bits) {
    half result;
    result.bits = bits;
    return result;
  }

 private:
  KOKKOS_FUNCTION static std::uint16_t round(std::uint32_t word) {
    const std::uint32_t sign = (word >> 16) & 0x8000u;
    const std::uint32_t magnitude = word & 0x7fffffffu;
    // Normal results: move the exponent's bias from 127 to 15, round away 13 bits of the mantissa.
    const std::uint32_t normal = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
    // Subnormal results: adding 0.5f makes the float adder round at bit 2^-24, half's last place there.
    const float sum = Kokkos::bit_cast<float>(magnitude) + 0.5f;
    const std::uint32_t subnormal = Kokkos::bit_cast<std::uint32_t>(sum) - 0x3f000000u;
    const std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
    std::uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
    result = magnitude >= 0x477ff000u ? 0x7c00u : result; // 65520 and above round to infinity
    result = magnitude > 0x7f800000u ? nan : result;
    return static_cast<std::uint16_t>(sign | result);
  }

  KOKKOS_FUNCTION static float widen(std::uint16_t bits) {
    const std::uint32_t sign = (std::uint32_t{bits} & 0x8000u) << 16;
    const std::uint32_t magnitude = std::uint32_t{bits} & 0x7fffu;
    const std::uint32_t normal = (magnitude << 13) + (112u << 23);
    const std::uint32_t subnormal = Kokkos::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    const std::uint32_t special = (magnitude << 13) + (224u << 23); // infinity and NaN keep their mantissa
    std::uint32_t result = magnitude < 0x0400u ? subnormal : normal;
    result = magnitude >= 0x7c00u ? special : result;
    return Kokkos::bit_cast<float>(sign | result);
  }
};

static_assert(sizeof(half) == 2);

} // namespace switchyard

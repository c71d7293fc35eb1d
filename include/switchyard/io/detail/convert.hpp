// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <switchyard/io/dtype.hpp>
#include <type_traits>

/// \file
/// Elements of one dtype into a C++ type.

namespace switchyard::io::detail {

/// digits: bits of the significand or of the magnitude; exponent: of the first power of two beyond the largest number.
struct number_range {
  bool is_float;
  bool is_signed;
  int digits;
  int exponent;
};

template <element T>
constexpr number_range range_of() {
  if constexpr (std::same_as<T, half>) return {true, true, 11, 16};
  if constexpr (std::same_as<T, bfloat16>) return {true, true, 8, 128};
  using limits = std::numeric_limits<T>;
  return {std::floating_point<T>, limits::is_signed, limits::digits,
          std::floating_point<T> ? limits::max_exponent : limits::digits};
}

/// Every value of From is a value of To. (Smallest numbers never decide between these types.)
template <element From, element To>
constexpr bool is_exact() {
  constexpr number_range from = range_of<From>(), to = range_of<To>();
  return from.digits <= to.digits && from.exponent <= to.exponent && (to.is_float || !from.is_float) &&
         (to.is_signed || !from.is_signed);
}

/// Calls f with a value of the C++ type of `type`.
template <class F>
decltype(auto) with_type(dtype type, F&& f) {
  switch (type) {
  case dtype::boolean:
    return f(bool{});
  case dtype::u8:
    return f(std::uint8_t{});
  case dtype::i8:
    return f(std::int8_t{});
  case dtype::i16:
    return f(std::int16_t{});
  case dtype::u16:
    return f(std::uint16_t{});
  case dtype::f16:
    return f(half{});
  case dtype::bf16:
    return f(bfloat16{});
  case dtype::i32:
    return f(std::int32_t{});
  case dtype::u32:
    return f(std::uint32_t{});
  case dtype::f32:
    return f(float{});
  case dtype::f64:
    return f(double{});
  case dtype::i64:
    return f(std::int64_t{});
  default:
    return f(std::uint64_t{});
  }
}

/// One number in another type: to the nearest where that type has not the number itself; to half and bfloat16 by way of
/// float.
template <element To, element From>
To convert(From value) {
  if constexpr (std::same_as<From, half> || std::same_as<From, bfloat16>)
    return convert<To>(static_cast<float>(value));
  else if constexpr (std::same_as<To, half> || std::same_as<To, bfloat16>)
    return To(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

/// bytes: out.size() elements of From, at any address.
template <element From, element To>
void convert_all(const std::byte* bytes, std::span<To> out) {
  if constexpr (dtype_of<From>() == dtype_of<To>() && !std::same_as<From, bool>) {
    if (!out.empty()) std::memcpy(out.data(), bytes, out.size_bytes());
  } else {
    using stored = std::conditional_t<std::same_as<From, bool>, std::uint8_t, From>; // any byte is not a bool
    for (To& to : out) {
      stored value;
      std::memcpy(&value, bytes, sizeof(stored));
      to = convert<To>(static_cast<From>(value));
      bytes += sizeof(stored);
    }
  }
}

} // namespace switchyard::io::detail

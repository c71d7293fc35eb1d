// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <switchyard/core/bfloat16.hpp>
#include <switchyard/core/half.hpp>

/// \file
/// The element types of a safetensors file and the C++ types that stand for them.

namespace switchyard::io {

/// The thirteen types that are read and written, in the order in which the format's own writer sorts tensors (the last
/// comes first in the file, so that the widest start aligned).
enum class dtype : std::uint8_t { boolean, u8, i8, i16, u16, f16, bf16, i32, u32, f32, f64, i64, u64 };

namespace detail {

struct dtype_row {
  std::string_view name;
  std::size_t bytes;
};

inline constexpr std::array<dtype_row, 13> dtype_table{{{"BOOL", 1},
                                                        {"U8", 1},
                                                        {"I8", 1},
                                                        {"I16", 2},
                                                        {"U16", 2},
                                                        {"F16", 2},
                                                        {"BF16", 2},
                                                        {"I32", 4},
                                                        {"U32", 4},
                                                        {"F32", 4},
                                                        {"F64", 8},
                                                        {"I64", 8},
                                                        {"U64", 8}}};

} // namespace detail

/// Bytes of one element.
constexpr std::size_t dtype_size(dtype type) {
  return detail::dtype_table[static_cast<std::size_t>(type)].bytes;
}

/// The name in the file: "F32", "BF16", "BOOL" ...
constexpr std::string_view dtype_name(dtype type) {
  return detail::dtype_table[static_cast<std::size_t>(type)].name;
}

/// The type of that name, or none; upper and lower case differ.
constexpr std::optional<dtype> find_dtype(std::string_view name) {
  for (std::size_t i = 0; i < detail::dtype_table.size(); ++i)
    if (detail::dtype_table[i].name == name) return static_cast<dtype>(i);
  return std::nullopt;
}

/// A C++ type that has a dtype: bool, the integers of 1, 2, 4 and 8 bytes, half, bfloat16, float, double.
template <class T>
concept element = std::same_as<T, half> || std::same_as<T, bfloat16> || std::same_as<T, float> ||
    std::same_as<T, double> ||(std::integral<T> && sizeof(T) <= 8);

/// The dtype of T.
template <element T>
constexpr dtype dtype_of() {
  if constexpr (std::same_as<T, bool>) {
    return dtype::boolean;
  } else if constexpr (std::same_as<T, half>) {
    return dtype::f16;
  } else if constexpr (std::same_as<T, bfloat16>) {
    return dtype::bf16;
  } else if constexpr (std::same_as<T, float>) {
    return dtype::f32;
  } else if constexpr (std::same_as<T, double>) {
    return dtype::f64;
  } else {
    constexpr bool is_signed = std::signed_integral<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? dtype::i8 : dtype::u8;
    if constexpr (sizeof(T) == 2) return is_signed ? dtype::i16 : dtype::u16;
    if constexpr (sizeof(T) == 4) return is_signed ? dtype::i32 : dtype::u32;
    return is_signed ? dtype::i64 : dtype::u64;
  }
}

} // namespace switchyard::io

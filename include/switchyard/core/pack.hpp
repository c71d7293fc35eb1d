// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <switchyard/core/precision.hpp>
#include <type_traits>

/// \file
/// Rows of 16-byte pieces: what a lane of a warp reads and writes at a time.

namespace switchyard::gpu {

/// N consecutive numbers, moved by one instruction. Built of words: compilers vectorize those, not 16-bit structs.
template <storage_type T, int N>
struct pack {
  static constexpr int bytes = N * static_cast<int>(sizeof(T));
  using word = std::conditional_t<bytes % 4 == 0, std::uint32_t, std::uint16_t>;
  alignas(bytes) word words[static_cast<std::size_t>(bytes) / sizeof(word)];

  KOKKOS_FUNCTION accumulate_t<T> get(int i) const {
    if constexpr (sizeof(T) == 2) {
      constexpr int each = sizeof(word) / 2;
      const auto bits = static_cast<std::uint16_t>(words[i / each] >> (16 * (i % each)));
      return static_cast<accumulate_t<T>>(T::from_bits(bits));
    } else if constexpr (sizeof(T) == 4) {
      return Kokkos::bit_cast<float>(words[i]);
    } else {
      return Kokkos::bit_cast<double>(std::uint64_t{words[2 * i + 1]} << 32 | words[2 * i]);
    }
  }
  /// Number by number, in rising order from 0.
  KOKKOS_FUNCTION void set(int i, accumulate_t<T> value) {
    if constexpr (sizeof(T) == 2) {
      constexpr int each = sizeof(word) / 2;
      const auto bits = static_cast<word>(T(value).bits);
      words[i / each] = i % each == 0 ? bits : static_cast<word>(words[i / each] | bits << (8 * sizeof(word) / 2));
    } else if constexpr (sizeof(T) == 4) {
      words[i] = Kokkos::bit_cast<std::uint32_t>(value);
    } else {
      const auto bits = Kokkos::bit_cast<std::uint64_t>(value);
      words[2 * i] = static_cast<std::uint32_t>(bits);
      words[2 * i + 1] = static_cast<std::uint32_t>(bits >> 32);
    }
  }
};

/// Numbers of a pack of 16 bytes.
template <storage_type T>
inline constexpr int wide = 16 / static_cast<int>(sizeof(T));

template <int N, storage_type T>
KOKKOS_INLINE_FUNCTION pack<T, N> load(const T* from) {
  pack<T, N> value;
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(value) == 16) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    value.words[0] = words.x;
    value.words[1] = words.y;
    value.words[2] = words.z;
    value.words[3] = words.w;
  } else {
    value = *reinterpret_cast<const pack<T, N>*>(from);
  }
#else
  std::memcpy(static_cast<void*>(&value), from, sizeof(value));
#endif
  return value;
}
template <int N, storage_type T>
KOKKOS_INLINE_FUNCTION void store(T* to, const pack<T, N>& value) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(value) == 16) // in so many words: the compiler takes them apart where some lanes have none
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(value.words[0]),
                 "r"(value.words[1]), "r"(value.words[2]), "r"(value.words[3])
                 : "memory");
  else
    *reinterpret_cast<pack<T, N>*>(to) = value;
#else
  std::memcpy(static_cast<void*>(to), &value, sizeof(value));
#endif
}

/// Are these n numbers a piece that is to be moved at once? On a host, which moves them otherwise, never.
template <storage_type T>
KOKKOS_INLINE_FUNCTION bool one_piece(int n) {
  KOKKOS_IF_ON_DEVICE((return n == wide<T>;))
  KOKKOS_IF_ON_HOST(((void)n; return false;))
}
KOKKOS_INLINE_FUNCTION bool aligned(const void* at) {
  return reinterpret_cast<std::uintptr_t>(at) % 16 == 0;
}
/// The numbers of one piece, rounded to T.
template <storage_type T>
KOKKOS_INLINE_FUNCTION void store_piece(const accumulate_t<T>* values, T* to) {
  pack<T, wide<T>> piece;
  for (int i = 0; i < wide<T>; ++i) piece.set(i, values[i]);
  store(to, piece);
}

/// The number of columns that a kernel moves at a time, as an argument.
template <storage_type T>
using pieces = std::integral_constant<int, wide<T>>;
using pieces_of_one = std::integral_constant<int, 1>;

/// Do all rows of these matrices (LayoutRight), from their column `first` on, begin and end at multiples of 16 bytes?
template <class View>
bool in_wide_pieces(const View& rows, std::int64_t first = 0) {
  using T = typename View::non_const_value_type;
  const auto piece = static_cast<std::size_t>(wide<T>);
  return reinterpret_cast<std::uintptr_t>(rows.data()) % 16 == 0 && rows.extent(1) % piece == 0 &&
         static_cast<std::size_t>(first) % piece == 0;
}

} // namespace switchyard::gpu

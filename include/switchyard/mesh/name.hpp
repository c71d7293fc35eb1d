// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string_view>

/// \file
/// Names of tensor dimensions and of mesh axes. A name is a type, so a typo does not compile:
///
///   struct data : switchyard::name<"data"> {};
///
/// at namespace scope. The text sits in the base class and nowhere else: nvcc cannot compile a kernel whose type spells
/// a string, and compilers print `data` rather than its characters.

namespace switchyard {

namespace detail {
template <std::size_t N>
struct text {
  char characters[N]{};
  consteval text(const char (&literal)[N]) { std::copy_n(literal, N, characters); }
};
} // namespace detail

template <detail::text Text>
struct name {
  static constexpr std::string_view label() { return {Text.characters, sizeof(Text.characters) - 1}; }
};

/// A type derived from name<"...">.
template <class T>
concept named = requires {
  { T::label() } -> std::same_as<std::string_view>;
};

/// The dimensions of the library's own tensors. (A namespace of their own, so that dims::experts and the room
/// switchyard::experts never meet.)
namespace dims {
struct group : name<"group"> {};       ///< routing groups, G
struct token : name<"token"> {};       ///< tokens of a group, S
struct experts : name<"experts"> {};   ///< E
struct capacity : name<"capacity"> {}; ///< slots per expert and group, C
struct d_model : name<"d_model"> {};   ///< M
struct d_ff : name<"d_ff"> {};         ///< F
struct heads : name<"heads"> {};       ///< attention heads
struct vocab : name<"vocab"> {};       ///< vocabulary
} // namespace dims

} // namespace switchyard

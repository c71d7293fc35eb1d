// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/io/detail/json.hpp>
#include <type_traits>
#include <utility>
#include <variant>

/// \file
/// Named scalars that stand in a file beside tensors: steps, positions, seeds, rates, names.

namespace switchyard::io {

/// Whether a text is UTF-8, which all names and texts in files must be.
inline bool is_utf8(std::string_view text) {
  return detail::is_utf8(text);
}

/// What a name stands for. A whole number is an int64 where it fits into one, whatever type it came from.
using scalar = std::variant<bool, std::int64_t, std::uint64_t, double, std::string>;

/// Names and scalars. Written as JSON and read again they are equal, doubles to the last bit.
class state_map {
 public:
  /// T: bool, an integer, float, double or text. Replaces what the name stood for.
  /// Throws invalid_argument where a number is not finite or a text, or the name, is not UTF-8: JSON has neither.
  template <class T>
  void set(const std::string& name, const T& value) {
    using switchyard::detail::require;
    require(detail::is_utf8(name), "state: names must be UTF-8");
    if constexpr (std::same_as<T, bool>) {
      values_[name] = value;
    } else if constexpr (std::integral<T>) {
      if (std::in_range<std::int64_t>(value))
        values_[name] = static_cast<std::int64_t>(value);
      else
        values_[name] = static_cast<std::uint64_t>(value);
    } else if constexpr (std::floating_point<T>) {
      const auto number = static_cast<double>(value);
      require(std::isfinite(number), "state ", detail::json_quote(name), " = ", number,
              ": must be finite; leave it out, or store its bits as a whole number");
      values_[name] = number;
    } else {
      static_assert(std::convertible_to<T, std::string_view>, "switchyard: a state is a bool, a number or text");
      std::string text{std::string_view(value)};
      require(detail::is_utf8(text), "state ", detail::json_quote(name), ": text must be UTF-8");
      values_[name] = std::move(text);
    }
  }

  /// Throws file_error where the name is missing or stands for something that is no T: another kind, or a whole number
  /// that T cannot hold. Nothing is converted.
  template <class T>
  T get(std::string_view name) const {
    const auto at = values_.find(name);
    if (at == values_.end())
      throw file_error("state " + detail::json_quote(name) +
                       " is not there; it is no state of this program, or of an older version");
    const auto wrong = [&](const char* kind) {
      return file_error("state " + detail::json_quote(name) + " is not " + kind + "; it is no state of this program");
    };
    if constexpr (std::integral<T> && !std::same_as<T, bool>) {
      if (const auto* i = std::get_if<std::int64_t>(&at->second); i && std::in_range<T>(*i)) return static_cast<T>(*i);
      if (const auto* u = std::get_if<std::uint64_t>(&at->second); u && std::in_range<T>(*u)) return static_cast<T>(*u);
      throw wrong("a whole number in the range wanted");
    } else {
      if (const T* value = std::get_if<T>(&at->second)) return *value;
      throw wrong(std::same_as<T, bool>     ? "true or false"
                  : std::same_as<T, double> ? "a number with a fraction"
                                            : "text");
    }
  }

  bool contains(std::string_view name) const { return values_.find(name) != values_.end(); }
  const std::map<std::string, scalar, std::less<>>& values() const { return values_; }
  bool operator==(const state_map&) const = default;

 private:
  std::map<std::string, scalar, std::less<>> values_;
};

namespace detail {

/// The shortest text that is this double again, with a point or an exponent, by which it is told from a whole number.
inline std::string exact_text(double value) {
  char digits[40];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  std::string text(digits, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

inline std::string json_text(const scalar& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::same_as<T, bool>) return v ? "true" : "false";
        if constexpr (std::same_as<T, std::string>) return json_quote(v);
        if constexpr (std::same_as<T, double>) return exact_text(v);
        if constexpr (std::integral<T>) return std::to_string(v);
      },
      value);
}

/// Reads a scalar. Throws json_error.
inline scalar json_scalar(json_reader& json) {
  const char first = json.peek();
  if (first == '"') return json.string();
  if (first == 't' || first == 'f') return json.boolean();
  const std::string_view text = json.number();
  const auto* end = text.data() + text.size();
  if (text.find_first_of(".eE") != std::string_view::npos) {
    double value = 0;
    if (std::from_chars(text.data(), end, value).ec != std::errc{})
      throw json_error(message("the number ", text, " is no double"));
    return value;
  }
  std::int64_t value = 0;
  if (std::from_chars(text.data(), end, value).ec == std::errc{}) return value;
  std::uint64_t large = 0;
  if (text[0] != '-' && std::from_chars(text.data(), end, large).ec == std::errc{}) return large;
  throw json_error(message("the number ", text, " does not fit into 64 bits"));
}

} // namespace detail

/// A scalar as it stands in a file: 12, 0.1, "text".
inline std::string to_text(const scalar& value) {
  return detail::json_text(value);
}

} // namespace switchyard::io

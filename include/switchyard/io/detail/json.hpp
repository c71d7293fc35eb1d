// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <utility>

/// \file
/// A strict reader of the JSON (RFC 8259) that file headers are made of. The caller asks for the value it expects and
/// anything else is an error, so the text decides neither how deep the calls go nor what is built: no recursion, and
/// nothing is allocated but the string that was asked for. Whoever reads an object looks after repeated keys.

namespace switchyard::io::detail {

using switchyard::detail::message;

/// Text that is not the JSON asked for: what() says what is wrong and at which byte of the text.
class json_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr bool is_surrogate(std::uint32_t code) {
  return code >= 0xd800 && code <= 0xdfff;
}

/// Whether text is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
inline bool is_utf8(std::string_view text) {
  constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; // by length: anything below has a shorter form
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80         ? 1
                               : (lead >> 5) == 6  ? 2
                               : (lead >> 4) == 14 ? 3
                               : (lead >> 3) == 30 ? 4
                                                   : 0;
    if (length == 0 || length > text.size() - i) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3fu);
    }
    if (code < least[length] || code > 0x10ffff || is_surrogate(code)) return false;
    i += length;
  }
  return true;
}

inline void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

/// text, which is UTF-8, as a JSON string with its quotes: control characters, quote and backslash escaped.
inline std::string json_quote(std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  constexpr std::string_view plain = "\"\\\b\f\n\r\t";
  constexpr std::string_view letter = "\"\\bfnrt";
  std::string out = "\"";
  for (const char c : text) {
    if (const auto at = plain.find(c); at != std::string_view::npos) {
      out += '\\';
      out += letter[at];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += hex[c >> 4];
      out += hex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

/// Reads a UTF-8 text from front to back.
class json_reader {
 public:
  explicit json_reader(std::string_view text) : text_(text) {}

  /// {"key": value, ...}: calls member(key) for each; member reads the value.
  template <class Member>
  void object(Member&& member) {
    sequence('{', '}', "an object", [&] {
      std::string key = string();
      expect(':', "':' after the key");
      member(std::move(key));
    });
  }

  /// [value, ...]: calls element() for each; element reads the value.
  template <class Element>
  void array(Element&& element) {
    sequence('[', ']', "an array", element);
  }

  /// "text", with escapes resolved.
  std::string string() {
    expect('"', "a string");
    std::string out;
    for (;;) {
      const std::size_t start = at_;
      while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) >= 0x20 && text_[at_] != '"' &&
             text_[at_] != '\\')
        ++at_;
      out.append(text_, start, at_ - start);
      if (at_ == text_.size()) fail("the closing quote of a string");
      const char c = text_[at_];
      if (c == '"') break;
      if (c != '\\') fail("an escape (\\n, \\u0001 ...) in place of a control character");
      ++at_;
      escape(out);
    }
    ++at_;
    return out;
  }

  /// A whole number in 0..2^64-1: no sign, no fraction, no exponent, no leading zero.
  std::uint64_t integer() {
    constexpr const char* wanted = "a whole number, 0 or above, without fraction or exponent";
    skip_space();
    const std::size_t start = at_;
    std::uint64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (__builtin_mul_overflow(value, std::uint64_t{10}, &value) || __builtin_add_overflow(value, digit, &value))
        fail("a number below 2^64");
      ++at_;
    }
    if (at_ == start || (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')))
      fail(wanted);
    if (text_[start] == '0' && at_ - start > 1) fail("a number without leading zeros");
    return value;
  }

  /// The first character of the next value, which tells what it is; '\0' at the end of the text.
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  /// true or false.
  bool boolean() {
    skip_space();
    const std::string_view rest = text_.substr(at_);
    const bool value = rest.starts_with("true");
    if (!value && !rest.starts_with("false")) fail("true or false");
    at_ += value ? 4 : 5;
    return value;
  }

  /// The text of a number: -12, 0.5, 1e-300.
  std::string_view number() {
    skip_space();
    const std::size_t start = at_;
    const auto skip = [this](char c) { return at_ < text_.size() && text_[at_] == c ? (++at_, true) : false; };
    const auto digits = [this] {
      const std::size_t first = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      if (at_ == first) fail("a digit");
    };
    skip('-');
    if (!skip('0')) digits();
    if (skip('.')) digits();
    if (skip('e') || skip('E')) {
      if (!skip('+')) skip('-');
      digits();
    }
    return text_.substr(start, at_ - start);
  }

  /// Nothing but white space may be left.
  void end() {
    skip_space();
    if (at_ < text_.size()) fail("nothing more");
  }

 private:
  /// Items with commas between them, in brackets.
  template <class Item>
  void sequence(char open, char close, const char* what, Item&& item) {
    expect(open, what);
    if (accept(close)) return;
    do {
      item();
    } while (accept(','));
    expect(close, close == '}' ? "',' or '}'" : "',' or ']'");
  }

  void escape(std::string& out) {
    constexpr std::string_view letter = "\"\\/bfnrt";
    constexpr std::string_view plain = "\"\\/\b\f\n\r\t";
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (const auto which = letter.find(c); which != std::string_view::npos) {
      ++at_;
      out += plain[which];
    } else if (c == 'u') {
      ++at_;
      std::uint32_t code = hex4();
      if (is_surrogate(code)) { // a character above U+FFFF is written as a high half and a low half
        const bool paired = code <= 0xdbff && text_.substr(at_, 2) == "\\u";
        if (!paired) fail("the other half of a surrogate pair");
        at_ += 2;
        const std::uint32_t low = hex4();
        if (low < 0xdc00 || low > 0xdfff) fail("the low half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
      }
      append_utf8(out, code);
    } else {
      fail("one of \" \\ / b f n r t u after a backslash");
    }
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits after \\u");
      code = code << 4 | static_cast<std::uint32_t>(digit);
    }
    return code;
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c, const char* wanted) {
    if (!accept(c)) fail(wanted);
  }

  [[noreturn]] void fail(const char* wanted) const {
    if (at_ >= text_.size()) throw json_error(message("expected ", wanted, ", found the end of the text"));
    const auto byte = static_cast<unsigned char>(text_[at_]);
    if (byte > 0x20 && byte < 0x7f)
      throw json_error(message("expected ", wanted, ", found '", text_[at_], "' at byte ", at_));
    throw json_error(message("expected ", wanted, ", found the byte ", int{byte}, " at byte ", at_));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

} // namespace switchyard::io::detail

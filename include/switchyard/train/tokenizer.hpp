// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <vector>

/// \file
/// From bytes to token numbers. Any type with the members of `tokenizer` can be used in the place of bytes:
/// examples/train has one that asks the SentencePiece library.

namespace switchyard::train {

/// The numbers of a vocabulary that stand for no text. Sentinels take the top of it, the first one the largest number
/// (T5).
struct special_tokens {
  std::int32_t vocabulary = 384;
  std::int32_t pad = 0;
  std::int32_t eos = 1;
  std::int32_t unknown = 2;
  std::int32_t sentinels = 125;

  std::int32_t sentinel(std::int64_t i) const { return vocabulary - 1 - static_cast<std::int32_t>(i); }
  bool is_sentinel(std::int32_t token) const { return token < vocabulary && token >= vocabulary - sentinels; }
};

/// What training asks of a tokenizer. Its members are called from several threads at once.
template <class T>
concept tokenizer = requires(const T& t, std::string_view bytes, std::vector<std::int32_t>& tokens, std::string& text) {
  { t.special() } -> std::same_as<special_tokens>;
  t.encode(bytes, tokens);                                      // appends; any bytes, also such as are no text
  t.decode(std::int32_t{}, text);                               // appends the bytes of one token, none for special ones
  { t.bytes_of(std::int32_t{}) } -> std::same_as<std::int64_t>; // how many bytes of text a token stands for
  { t.bytes_per_token() } -> std::convertible_to<double>;       // about how many, for the length of a piece of text
};

/// Bytes as tokens: byte b is token b + 3, behind padding, end and unknown; 125 sentinels fill the vocabulary of 384
/// (ByT5's numbers).
struct byte_tokenizer {
  static constexpr std::int32_t first = 3;

  special_tokens special() const { return {}; }
  void encode(std::string_view bytes, std::vector<std::int32_t>& tokens) const {
    for (const char byte : bytes) tokens.push_back(first + static_cast<unsigned char>(byte));
  }
  void decode(std::int32_t token, std::string& text) const {
    if (bytes_of(token) > 0) text.push_back(static_cast<char>(static_cast<unsigned char>(token - first)));
  }
  std::int64_t bytes_of(std::int32_t token) const { return token >= first && token < first + 256 ? 1 : 0; }
  double bytes_per_token() const { return 1; }
};
static_assert(tokenizer<byte_tokenizer>);

} // namespace switchyard::train

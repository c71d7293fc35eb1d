// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// \file
/// XXH64, the 64-bit checksum of the xxHash family, written from its published description
/// (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). No protection against somebody who wants two files to agree.

namespace switchyard::io {

namespace detail {

inline constexpr std::uint64_t xxh_prime[] = {0x9e3779b185ebca87u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u,
                                              0x85ebca77c2b2ae63u, 0x27d4eb2f165667c5u};

template <class Word>
Word xxh_word(const std::byte* at) {
  static_assert(std::endian::native == std::endian::little, "switchyard: xxh64 reads little-endian words");
  Word word;
  std::memcpy(&word, at, sizeof(Word));
  return word;
}

inline std::uint64_t xxh_round(std::uint64_t lane, std::uint64_t word) {
  return std::rotl(lane + word * xxh_prime[1], 31) * xxh_prime[0];
}

inline std::uint64_t xxh_merge(std::uint64_t hash, std::uint64_t lane) {
  return (hash ^ xxh_round(0, lane)) * xxh_prime[0] + xxh_prime[3];
}

} // namespace detail

/// The checksum of bytes: four lanes over stripes of 32 bytes, merged, then the rest in words of 8, 4 and 1 bytes, then
/// an avalanche. No allocation.
inline std::uint64_t xxh64(std::span<const std::byte> bytes, std::uint64_t seed = 0) {
  using namespace detail;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t hash = seed + xxh_prime[4];
  if (left >= 32) {
    std::uint64_t a = seed + xxh_prime[0] + xxh_prime[1], b = seed + xxh_prime[1], c = seed, d = seed - xxh_prime[0];
    for (; left >= 32; at += 32, left -= 32) {
      a = xxh_round(a, xxh_word<std::uint64_t>(at));
      b = xxh_round(b, xxh_word<std::uint64_t>(at + 8));
      c = xxh_round(c, xxh_word<std::uint64_t>(at + 16));
      d = xxh_round(d, xxh_word<std::uint64_t>(at + 24));
    }
    hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    for (const std::uint64_t lane : {a, b, c, d}) hash = xxh_merge(hash, lane);
  }
  hash += bytes.size();
  for (; left >= 8; at += 8, left -= 8)
    hash = std::rotl(hash ^ xxh_round(0, xxh_word<std::uint64_t>(at)), 27) * xxh_prime[0] + xxh_prime[3];
  if (left >= 4) {
    hash = std::rotl(hash ^ xxh_word<std::uint32_t>(at) * xxh_prime[0], 23) * xxh_prime[1] + xxh_prime[2];
    at += 4, left -= 4;
  }
  for (; left > 0; ++at, --left)
    hash = std::rotl(hash ^ std::to_integer<std::uint64_t>(*at) * xxh_prime[4], 11) * xxh_prime[0];
  hash = (hash ^ hash >> 33) * xxh_prime[1];
  hash = (hash ^ hash >> 29) * xxh_prime[2];
  return hash ^ hash >> 32;
}

inline std::uint64_t xxh64(std::string_view text, std::uint64_t seed = 0) {
  return xxh64(std::as_bytes(std::span(text)), seed);
}

/// 16 digits, most significant first: "ef46db3751d8e999" for no bytes.
inline std::string to_hex(std::uint64_t checksum) {
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i) out[15 - i] = "0123456789abcdef"[checksum >> 4 * i & 15];
  return out;
}

/// The number that to_hex wrote so; none for any other text.
inline std::optional<std::uint64_t> from_hex(std::string_view text) {
  std::uint64_t value = 0;
  if (text.size() != 16) return std::nullopt;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value << 4 | static_cast<std::uint64_t>(digit);
  }
  return value;
}

} // namespace switchyard::io

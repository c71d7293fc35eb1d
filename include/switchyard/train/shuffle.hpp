// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace switchyard::train {

/// A permutation of [0, n) drawn by a key, computed number by number and never stored: a Feistel network over the
/// smallest 4^h >= n, whose rounds are invertible whatever they mix in, walked on until it is back below n (Black and
/// Rogaway, 2002), which takes fewer than 4 rounds of the walk on average.
class permutation {
 public:
  permutation(std::uint64_t n, std::uint64_t key) : n_(n) {
    const int bits = n > 1 ? static_cast<int>(std::bit_width(n - 1)) : 1;
    half_ = (bits + 1) / 2;
    for (std::uint64_t& round : keys_) round = key = mix(key + 0x9e3779b97f4a7c15u);
  }

  /// i < n
  std::uint64_t operator()(std::uint64_t i) const {
    do i = once(i);
    while (i >= n_);
    return i;
  }

  /// All bits of the result depend on all bits of x (SplitMix64; Steele, Lea and Flood, 2014).
  static constexpr std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

 private:
  std::uint64_t once(std::uint64_t x) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = x >> half_, right = x & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (mix(right ^ key) & mask);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }

  std::uint64_t n_;
  int half_;
  std::array<std::uint64_t, 8> keys_;
};

} // namespace switchyard::train

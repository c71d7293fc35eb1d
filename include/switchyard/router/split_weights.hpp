// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/gpu.hpp>
#include <switchyard/router/decision.hpp>

/// \file
/// The router's weights for GPUs that multiply bfloat16 matrices many times faster than float ones. A float is the sum
/// of three bfloat16 numbers, exactly, of 8 bits each; a product of two bfloat16 numbers is exact in float. So
///
///   x W_r = x W_1 + x W_2 + x W_3,    W_r = W_1 + W_2 + W_3,    x in bfloat16
///
/// has the products of a matrix product in float, summed in float, and no error of its own. An infinity in x gives NaN
/// where a piece is zero, and so perhaps another logit that is not finite than on a host.

namespace switchyard::router {

/// W_r [M, E] in pieces, in the order in which the lanes of warps want them (gpu::fragment_b): blocks of 32 rows, tiles
/// of 8 experts, the three pieces, then 16 bytes per lane.
template <class Space>
struct split_weights {
  Kokkos::View<std::uint32_t*, Space> words; // [M / 32, 2 tiles, 3, 32 lanes, 4] or empty
  std::int64_t rows = 0, experts = 0;
  int tiles = 0; ///< that one of the two warps beside each other takes: 1, 4, 8 or 16

  static constexpr std::int64_t most_experts = 256;

  split_weights() = default;
  /// Empty where the shape does not suit. Allocates.
  split_weights(std::int64_t m, std::int64_t e) : rows(m), experts(e) {
    if (m % 32 != 0 || e > most_experts) return;
    tiles = e <= 16 ? 1 : e <= 64 ? 4 : e <= 128 ? 8 : 16;
    words = Kokkos::View<std::uint32_t*, Space>(
        Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::split_weights"),
        static_cast<std::size_t>(m / 32 * 2 * tiles * 3 * gpu::warp_size * 4));
  }
  bool empty() const { return words.data() == nullptr; }
};

namespace detail {

/// The three pieces of a number, one per call: what is left of it is cut off behind 8 bits each time.
KOKKOS_INLINE_FUNCTION bfloat16 take_piece(float& rest) {
  if (!Kokkos::isfinite(rest)) {
    const bfloat16 all(rest);
    rest = 0;
    return all;
  }
  const std::uint32_t upper = Kokkos::bit_cast<std::uint32_t>(rest) & 0xffff0000u;
  rest -= Kokkos::bit_cast<float>(upper);
  return bfloat16::from_bits(static_cast<std::uint16_t>(upper >> 16));
}

/// Row, within a block of 32, of number `half` of word `word` of lane 4 g + q. What matters is that x is read in the
/// same order: the 16 bytes of x that a lane reads at once, columns 8 q to 8 q + 7, are its part of two fragments.
KOKKOS_INLINE_FUNCTION int row_of_word(int lane, int word, int half) {
  return 8 * (lane % 4) + 2 * word + half;
}

template <class W, class Space>
struct split_kernel {
  Kokkos::View<const W**, Kokkos::LayoutRight, Space> weight; // [M, E]
  split_weights<Space> to;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const { // (block of rows, tile, lane)
    const int lane = static_cast<int>(i % gpu::warp_size);
    const std::int64_t tile = i / gpu::warp_size % (2 * to.tiles), block = i / gpu::warp_size / (2 * to.tiles);
    const std::int64_t expert = tile * 8 + lane / 4;
    std::uint32_t* const out = to.words.data() + ((block * 2 * to.tiles + tile) * 3 * gpu::warp_size + lane) * 4;
    for (int word = 0; word < 4; ++word) {
      std::uint32_t piece[3] = {};
      for (int half = 0; half < 2; ++half) {
        float rest =
            expert < to.experts ? static_cast<float>(weight(block * 32 + row_of_word(lane, word, half), expert)) : 0.0f;
        for (int p = 0; p < 3; ++p) piece[p] |= std::uint32_t{take_piece(rest).bits} << (16 * half);
      }
      for (int p = 0; p < 3; ++p) out[p * gpu::warp_size * 4 + word] = piece[p];
    }
  }
};

} // namespace detail

/// W_r [M, E] -> pieces. Does nothing where there are none.
template <class Exec, class View, class Space>
void split(const Exec& exec, const View& weight, const split_weights<Space>& to) {
  if (to.empty()) return;
  for_each_index("switchyard::router::split_weights", exec, to.rows / 32 * 2 * to.tiles * gpu::warp_size,
                 detail::split_kernel<typename View::non_const_value_type, Space>{weight, to});
}

} // namespace switchyard::router

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/detail/warp_router.hpp>
#include <switchyard/router/split_weights.hpp>

namespace switchyard::router::detail {

/// logits, then decide_block, for the 64 tokens of one block: x is read once, from global memory to shared memory, a
/// few blocks of 32 columns ahead of the products. Warp w has tokens 32 (w / 2) to 32 (w / 2) + 31 and every expert of
/// the (w % 2)-th half of the tiles.
template <class Storage, class Space, int Tiles, int Values>
struct route_block {
  static constexpr int threads = 128;
  static constexpr int x_bytes = static_cast<int>(loss_block) * 64; // [64 tokens, 32 columns]
  static constexpr int tile_bytes = gpu::warp_size * 16;            // of one tile and piece
  static constexpr int w_bytes = 2 * Tiles * 3 * tile_bytes;        // [2 Tiles, 3, 32 lanes]
  static constexpr int stage_bytes = x_bytes + w_bytes;
  static constexpr int stages = Tiles == 1 ? 8 : Tiles == 4 ? 5 : 3;
  static constexpr int bytes = stages * stage_bytes;
  static_assert(threads == decide_block<float, Storage, Space, Values>::threads);
  static_assert(bytes >= decide_block<float, Storage, Space, Values>::bytes);

  decide_block<float, Storage, Space, Values> decide;
  Kokkos::View<const bfloat16**, Kokkos::LayoutRight, Space> x; // [T, M]
  split_weights<Space> weight;

  template <class Warp>
  struct sums {
    typename Warp::template values<gpu::fragment_d> of[2][Tiles];
  };
  struct words {
    alignas(16) std::uint32_t of[4];
  };

  template <class Block>
  KOKKOS_FUNCTION void operator()(const Block& block, std::int64_t task, std::byte* shared) const {
    const token_block tokens(task, decide.blocks, decide.size);
    const std::int64_t first = tokens.group * decide.size.tokens + tokens.begin;
    const int count = static_cast<int>(tokens.end - tokens.begin), chunks = static_cast<int>(weight.rows / 32);
    sums<typename Block::warp> sum[Block::warps_here];
    block.each_warp([&](const auto& warp, int, int mine) {
      warp.each([&](int, int i) {
        gpu::unroll<2 * Tiles>([&](auto n) { sum[mine].of[n % 2][n / 2][i] = gpu::fragment_d{}; });
      });
    });

    for (int c = 0; c < stages - 1; ++c) {
      if (c < chunks) read(block, first, count, c, shared + c * stage_bytes);
      block.commit();
    }
    for (int c = 0; c < chunks; ++c) {
      block.template wait<stages - 2>(); // chunk c is there, of this thread's copies
      block.sync();                      // of all, and all are done with the stage that is read next
      if (const int next = c + stages - 1; next < chunks)
        read(block, first, count, next, shared + next % stages * stage_bytes);
      block.commit();
      block.each_warp(
          [&](const auto& warp, int w, int mine) { multiply(warp, w, shared + c % stages * stage_bytes, sum[mine]); });
    }
    block.each_warp([&](const auto& warp, int w, int mine) { write(warp, w, first, count, sum[mine]); });
    block.sync();
    decide(block, task, shared);
  }

  /// Chunk c: rows of x, the last one again where there are fewer than 64, and the weights.
  template <class Block>
  KOKKOS_FUNCTION void read(const Block& block, std::int64_t first, int count, int c, std::byte* stage) const {
    const auto* const from = reinterpret_cast<const std::byte*>(weight.words.data()) + std::int64_t{c} * w_bytes;
    block.each([&](int thread) {
      for (int i = thread; i < x_bytes / 16; i += threads) {
        const int row = i / 4 < count ? i / 4 : count - 1;
        block.copy(stage + i * 16, &x(first + row, c * 32 + i % 4 * 8));
      }
      for (int i = thread; i < w_bytes / 16; i += threads) block.copy(stage + x_bytes + i * 16, from + i * 16);
    });
  }

  template <class Warp>
  KOKKOS_FUNCTION void multiply(const Warp& warp, int w, const std::byte* stage, sums<Warp>& sum) const {
    typename Warp::template values<gpu::fragment_a> a[2][2]; // [16 tokens][16 columns]
    warp.each([&](int lane, int i) {
      for (int m = 0; m < 2; ++m) {
        const auto* rows = reinterpret_cast<const words*>(stage) + (w / 2 * 32 + m * 16) * 4 + lane;
        const words upper = rows[0], lower = rows[8 * 4];
        for (int step = 0; step < 2; ++step)
          a[m][step][i] = {{upper.of[2 * step], lower.of[2 * step], upper.of[2 * step + 1], lower.of[2 * step + 1]}};
      }
    });
    gpu::unroll<3 * Tiles>([&](auto n) {
      constexpr int tile = n / 3, piece = n % 3;
      typename Warp::template values<gpu::fragment_b> b[2];
      warp.each([&](int lane, int i) {
        const words all = *(reinterpret_cast<const words*>(stage + x_bytes) +
                            ((w % 2 * Tiles + tile) * 3 + piece) * gpu::warp_size + lane);
        for (int step = 0; step < 2; ++step) b[step][i] = {{all.of[2 * step], all.of[2 * step + 1]}};
      });
      for (int step = 0; step < 2; ++step)
        for (int m = 0; m < 2; ++m) warp.multiply_add(sum.of[m][tile], a[m][step], b[step]);
    });
  }

  template <class Warp>
  KOKKOS_FUNCTION void write(const Warp& warp, int w, std::int64_t first, int count, const sums<Warp>& sum) const {
    const float cap = static_cast<float>(decide.set.logit_softcap);
    warp.each([&](int lane, int i) {
      gpu::unroll<8 * Tiles>([&](auto n) {
        constexpr int m = n / (4 * Tiles), tile = n / 4 % Tiles, r = n % 4;
        const int row = w / 2 * 32 + m * 16 + lane / 4 + 8 * (r / 2);
        const int expert = (w % 2 * Tiles + tile) * 8 + 2 * (lane % 4) + r % 2;
        if (row >= count || expert >= decide.size.experts) return;
        float h = sum.of[m][tile][i].sum[r];
        if (cap > 0) h = cap * Kokkos::tanh(h / cap);
        decide.d.logits(first + row, expert) = rounded<Storage>(h);
      });
    });
  }
};

} // namespace switchyard::router::detail

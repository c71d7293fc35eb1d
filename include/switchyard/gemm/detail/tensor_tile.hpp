// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/tile.hpp>

/// \file
/// What the kernels for tensor cores share: how tiles lie in the memory that a block of threads shares, how they get
/// there, and in which order blocks take their work.
///
/// The kernels are written against a `Machine`: cuda_machine is a GPU; the tests have another one, in plain C++, that
/// follows the instructions as PTX describes them, so that the kernels run where there is no GPU.

// Arrays in registers need loops without a counter; bodies that are large, loops that stay. For nvcc's device half.
#if defined(__CUDA_ARCH__)
#define SWITCHYARD_UNROLL _Pragma("unroll")
#define SWITCHYARD_KEEP_LOOP _Pragma("unroll 1")
#else
#define SWITCHYARD_UNROLL
#define SWITCHYARD_KEEP_LOOP
#endif

namespace switchyard::gemm::detail {

/// Tiles are lines of 64 numbers of 16 bits, 128 bytes, in 8 chunks of 16 bytes. Chunk c of line l lies at place
/// c ^ (l % 8) of the line: the order that wgmma calls the 128-byte swizzle, and that ldmatrix reads without conflicts.
inline constexpr int line_numbers = 64, line_bytes_shared = 128, chunk_numbers = 8;

KOKKOS_INLINE_FUNCTION std::uint32_t chunk_offset(int line, int chunk) {
  return static_cast<std::uint32_t>(line * line_bytes_shared + ((chunk ^ (line & 7)) << 4));
}

/// How a thread shares in the loads: chunk `chunk` of the lines line, line + step, line + 2 step, ...
struct load_share {
  static constexpr int step = 32; // of 256 threads, 8 to a line
  int line, chunk;
  KOKKOS_FUNCTION explicit load_share(int thread) : line(thread >> 3), chunk(thread & 7) {}
};

/// One chunk of a tile from memory: the first `count` (<= 0: none) of 8 numbers, zeros behind them. Direct: `from` is a
/// multiple of 16 bytes and of T, so the copy needs no register and goes on while the thread does.
template <bool Direct, class Machine, class T, class A>
KOKKOS_INLINE_FUNCTION void fetch_chunk(std::uint32_t to, const A* from, std::int64_t count) {
  const int n = count < 0 ? 0 : count > chunk_numbers ? chunk_numbers : static_cast<int>(count);
  if constexpr (Direct) {
    Machine::copy(to, from, 2 * n);
  } else {
    const auto bits = [&](int i) { return i < n ? std::uint32_t{T(static_cast<float>(from[i])).bits} : 0u; };
    Machine::store(to, bits(0) | bits(1) << 16, bits(2) | bits(3) << 16, bits(4) | bits(5) << 16,
                   bits(6) | bits(7) << 16);
  }
}

/// Tile `work` of `tiles` x `panels` of them, in strips of up to 16 tiles: blocks that run at the same time share rows
/// and columns, which then come from the second-level cache.
struct tile_and_panel {
  std::int64_t tile, panel;
};
KOKKOS_INLINE_FUNCTION tile_and_panel in_strips(std::int64_t work, std::int64_t tiles, std::int64_t panels) {
  constexpr std::int64_t strip = 16;
  const std::int64_t first = work / (strip * panels) * strip;
  const std::int64_t height = tiles - first < strip ? tiles - first : strip;
  const std::int64_t within = work - first * panels;
  return {first + within % height, within / height};
}

/// Loads run `Math::ahead` steps before the products that read them, across the borders of tiles, so that memory is
/// busy while a tile is written out. One barrier per step: behind it the lines of this step are there for all, and the
/// stage that is filled next is one that no product reads any more, because
///   stages = ahead + 1 + (products that may still run behind the barrier of the next step).
template <class Math, class Machine, class Loader>
struct pipeline {
  static constexpr std::uint32_t left_bytes = Math::rows * line_bytes_shared;
  static constexpr std::uint32_t stage_bytes = left_bytes + Math::columns * line_bytes_shared;
  static_assert(Math::stages == Math::ahead + 1 + Math::in_flight);

  Loader& loader;
  int reading = 0, filling = 0;

  KOKKOS_FUNCTION explicit pipeline(Loader& from) : loader(from) {
    for (int s = 0; s < Math::ahead; ++s) fill();
  }

  KOKKOS_FUNCTION void fill() {
    const std::uint32_t stage = Machine::memory() + static_cast<std::uint32_t>(filling) * stage_bytes;
    loader.next(stage, stage + left_bytes);
    Machine::commit();
    filling = filling + 1 == Math::stages ? 0 : filling + 1;
  }

  /// sum += the product of the next step's lines. Transposed: the sum is over lines, not within them.
  template <bool Transposed>
  KOKKOS_FUNCTION void step(typename Math::sums& sum) {
    Machine::template wait<Math::ahead - 1>();
    Machine::barrier();
    const std::uint32_t stage = Machine::memory() + static_cast<std::uint32_t>(reading) * stage_bytes;
    if constexpr (Math::in_flight == 0) fill();
    Math::template multiply<Transposed, Machine>(stage, stage + left_bytes, sum);
    if constexpr (Math::in_flight > 0) {
      fill();
      Math::template settle<Machine>(sum);
    }
    reading = reading + 1 == Math::stages ? 0 : reading + 1;
  }
};

} // namespace switchyard::gemm::detail

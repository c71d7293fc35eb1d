// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/gpu.hpp>
#include <switchyard/router/detail/slot_kernels.hpp>

/// \file
/// The kernels of slot_kernels.hpp and sort.hpp by warps: stable counting sorts in two passes. Items of a warp that go
/// to the same bin find each other by a match; the first of them moves the bin's counter for all. No atomics, and the
/// same integers as one thread after the other.

namespace switchyard::router::detail {

/// Bins a warp can count in shared memory.
inline constexpr std::int64_t most_bins = 2048;

/// Calls place(i, position) for the items i < n that have a bin (>= 0), where position is counter[bin] as if the items
/// had come one by one and each had added 1 to it.
template <class Warp, class Bin, class Place>
KOKKOS_INLINE_FUNCTION void number_items(const Warp& warp, std::int64_t n, const Bin& bin, std::int32_t* counter,
                                         const Place& place) {
  constexpr int ahead = 8; // bins on their way at once
  struct few {
    std::int32_t of[ahead];
  };
  for (std::int64_t begin = 0; begin < n; begin += ahead * gpu::warp_size) {
    const auto item = [&](int step, int lane) { return begin + step * gpu::warp_size + lane; };
    const auto bins = warp.template make<few>([&](int lane, int) {
      few some;
      for (int step = 0; step < ahead; ++step) some.of[step] = item(step, lane) < n ? bin(item(step, lane)) : -1;
      return some;
    });
    for (int step = 0; step < ahead; ++step) {
      if (item(step, 0) >= n) continue; // the same for all lanes; a break would keep compilers from unrolling
      const auto mine = warp.template make<std::int32_t>([&](int, int i) { return bins[i].of[step]; });
      const auto same = warp.match(mine);
      warp.each([&](int lane, int i) {
        if (mine[i] >= 0)
          place(item(step, lane), counter[mine[i]] + gpu::count_lanes(same[i] & gpu::lanes_before(lane)));
      });
      warp.sync();
      warp.each([&](int lane, int i) {
        if (mine[i] >= 0 && gpu::first_lane(same[i]) == lane) counter[mine[i]] += gpu::count_lanes(same[i]);
      });
      warp.sync();
    }
  }
}

/// The token-choice slots, for `stages` choices from number `first` on.
template <class Real, class Space>
struct slot_stages {
  problem size;
  settings set;
  int first, stages;
  std::int64_t blocks;
  Kokkos::View<const std::int32_t*, Space> order; // [groups * tokens] or empty
  decision<Real, Space> d;
  Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Space> histogram; // [stages * groups * blocks, E]

  /// A block of tokens and the choice that is looked at.
  struct task {
    int j;
    std::int64_t group, begin, n;
  };
  KOKKOS_FUNCTION task number(std::int64_t i) const {
    const std::int64_t block = i % blocks, begin = block * slot_block;
    return {first + static_cast<int>(i / (size.groups * blocks)), i / blocks % size.groups, begin,
            begin + slot_block < size.tokens ? slot_block : size.tokens - begin};
  }
  KOKKOS_FUNCTION std::int64_t token(const task& k, std::int64_t i) const {
    const std::int64_t at = k.group * size.tokens + k.begin + i;
    return order.data() != nullptr ? k.group * size.tokens + order(at) : at;
  }
  /// The expert it asks for a slot, or -1.
  KOKKOS_FUNCTION std::int32_t asks(const task& k, std::int64_t i) const {
    const std::int64_t t = token(k, i);
    if (d.slot(t, k.j) == slot_none) return -1;
    if (set.routing == routing_policy::no_token_left_behind)
      for (int earlier = 0; earlier < k.j; ++earlier)
        if (d.slot(t, earlier) >= 0) return -1; // served by an earlier choice
    return d.choice(t, k.j);
  }
};

/// Tokens of a block that ask each expert.
template <class Real, class Space>
struct count_block {
  slot_stages<Real, Space> s;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t i, std::byte* shared) const {
    auto* count = reinterpret_cast<std::int32_t*>(shared);
    const auto k = s.number(i);
    warp.each([&](int lane, int) {
      for (std::int64_t e = lane; e < s.size.experts; e += gpu::warp_size) count[e] = 0;
    });
    warp.sync();
    number_items(
        warp, k.n, [&](std::int64_t at) { return s.asks(k, at); }, count, [](std::int64_t, std::int32_t) {});
    warp.each([&](int lane, int) {
      for (std::int64_t e = lane; e < s.size.experts; e += gpu::warp_size) s.histogram(i, e) = count[e];
    });
  }
};

/// Counts -> first position of each block in each expert, stage after stage: only kept choices count for later ones.
template <class Real, class Space>
struct scan_blocks {
  slot_stages<Real, Space> s;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t i) const {
    const std::int64_t group = i / s.size.experts, expert = i % s.size.experts;
    std::int64_t position = s.first == 0 ? 0 : s.d.filled(group, expert);
    for (int stage = 0; stage < s.stages; ++stage) {
      const std::int64_t rows = (stage * s.size.groups + group) * s.blocks;
      for (std::int64_t begin = 0; begin < s.blocks; begin += gpu::warp_size) {
        const auto count = warp.template make<std::int32_t>([&](int lane, int) {
          return begin + lane < s.blocks ? s.histogram(rows + begin + lane, expert) : std::int32_t{0};
        });
        const auto sum = warp.inclusive_sum(count);
        warp.each([&](int lane, int l) {
          if (begin + lane < s.blocks)
            s.histogram(rows + begin + lane, expert) = static_cast<std::int32_t>(position + sum[l] - count[l]);
        });
        position += warp.get(sum, gpu::warp_size - 1);
      }
      position = position < s.set.capacity ? position : s.set.capacity;
    }
    warp.each([&](int lane, int) {
      if (lane == 0) s.d.filled(group, expert) = static_cast<std::int32_t>(position);
    });
  }
};

template <class Real, class Space>
struct assign_block {
  slot_stages<Real, Space> s;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t i, std::byte* shared) const {
    auto* next = reinterpret_cast<std::int32_t*>(shared);
    const auto k = s.number(i);
    warp.each([&](int lane, int) {
      for (std::int64_t e = lane; e < s.size.experts; e += gpu::warp_size) next[e] = s.histogram(i, e);
    });
    warp.sync();
    number_items(
        warp, k.n, [&](std::int64_t at) { return s.asks(k, at); }, next,
        [&](std::int64_t at, std::int32_t position) {
          if (position >= s.set.capacity) return;
          const std::int64_t t = s.token(k, at);
          s.d.slot(t, k.j) = position;
          if (s.set.routing == routing_policy::no_token_left_behind) // choices behind it were never tried
            for (int later = k.j + 1; later < s.set.choices; ++later) s.d.slot(t, later) = slot_none;
        });
  }
};

/// One pass of the sort over (segment, block), as digit_kernel.
template <class Real, class Space, bool Scatter>
struct digit_block {
  digit_kernel<Real, Space, Scatter> of;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t task, std::byte* shared) const {
    using sort = sorter<Real, Space>;
    auto* bin = reinterpret_cast<std::int32_t*>(shared);
    std::int32_t* const row = of.histogram.data() + task * sort::digits;
    const std::int64_t segment = task / of.blocks * of.length;
    const std::int64_t begin = task % of.blocks * sort::block;
    const std::int64_t n = begin + sort::block < of.length ? sort::block : of.length - begin;
    warp.each([&](int lane, int) {
      for (int d = lane; d < sort::digits; d += gpu::warp_size) bin[d] = Scatter ? row[d] : 0;
    });
    warp.sync();
    number_items(
        warp, n,
        [&](std::int64_t i) { return static_cast<std::int32_t>((of.keys_in(segment + begin + i) >> of.shift) & 255); },
        bin,
        [&](std::int64_t i, std::int32_t place) {
          if constexpr (Scatter) {
            of.keys_out(segment + place) = of.keys_in(segment + begin + i);
            of.order_out(segment + place) = of.order_in(segment + begin + i);
          }
        });
    if constexpr (!Scatter)
      warp.each([&](int lane, int) {
        for (int d = lane; d < sort::digits; d += gpu::warp_size) row[d] = bin[d];
      });
  }
};

/// digit_scan_kernel: a thread per digit, all of a segment's digits in one block.
template <class Real, class Space>
struct digit_scan_block {
  static constexpr int threads = sorter<Real, Space>::digits;
  static constexpr int bytes = static_cast<int>(sizeof(std::int32_t)) * threads / gpu::warp_size;
  digit_scan_kernel<Real, Space> of;

  template <class Block>
  KOKKOS_FUNCTION void operator()(const Block& block, std::int64_t segment, std::byte* shared) const {
    auto* const warps = reinterpret_cast<std::int32_t*>(shared);
    std::int32_t* const row = of.histogram.data() + segment * of.blocks * threads;
    using lanes = typename Block::warp::template values<std::int32_t>;
    lanes before[Block::warps_here];
    block.each_warp([&](const auto& warp, int w, int mine) {
      const auto count = warp.template make<std::int32_t>([&](int lane, int) {
        std::int32_t sum = 0;
        for (std::int64_t b = 0; b < of.blocks; ++b) sum += row[b * threads + w * gpu::warp_size + lane];
        return sum;
      });
      const auto sum = warp.inclusive_sum(count);
      warp.each([&](int lane, int i) {
        before[mine][i] = sum[i] - count[i];
        if (lane == gpu::warp_size - 1) warps[w] = sum[i];
      });
    });
    block.sync();
    block.each_warp([&](const auto& warp, int w, int mine) {
      std::int32_t start = 0;
      for (int earlier = 0; earlier < w; ++earlier) start += warps[earlier];
      warp.each([&](int lane, int i) {
        std::int32_t sum = start + before[mine][i];
        for (std::int64_t b = 0; b < of.blocks; ++b) {
          std::int32_t& bin = row[b * threads + w * gpu::warp_size + lane];
          const std::int32_t count = bin;
          bin = sum;
          sum += count;
        }
      });
    });
  }
};

/// Sorts keys[0] with order[0] as passenger; both come back in place.
template <class Exec, class Real, class Space>
void sort(const Exec& exec, const sorter<Real, Space>& s) {
  using key = typename sorter<Real, Space>::key;
  static_assert(sizeof(key) % 2 == 0, "an even number of passes ends in the first buffers");
  for (int pass = 0; pass < static_cast<int>(sizeof(key)); ++pass) {
    const int in = pass % 2, out = 1 - in;
    const digit_kernel<Real, Space, false> count{s.length,    s.blocks,    8 * pass,     s.keys[in],
                                                 s.order[in], s.keys[out], s.order[out], s.histogram};
    const digit_kernel<Real, Space, true> scatter{s.length,    s.blocks,    8 * pass,     s.keys[in],
                                                  s.order[in], s.keys[out], s.order[out], s.histogram};
    const digit_scan_kernel<Real, Space> scan{s.blocks, s.histogram};
    if constexpr (gpu_space<Exec>) {
      using scan_block = digit_scan_block<Real, Space>;
      constexpr int bytes = static_cast<int>(sizeof(std::int32_t)) * sorter<Real, Space>::digits;
      gpu::for_each_warp<4>("switchyard::router::count_digits", exec, s.segments * s.blocks,
                            digit_block<Real, Space, false>{count}, bytes);
      gpu::for_each_block<scan_block::threads>("switchyard::router::scan_digits", exec, s.segments, scan_block::bytes,
                                               scan_block{scan});
      gpu::for_each_warp<4>("switchyard::router::scatter_digits", exec, s.segments * s.blocks,
                            digit_block<Real, Space, true>{scatter}, bytes);
    } else {
      for_each_index("switchyard::router::count_digits", exec, s.segments * s.blocks, count);
      for_each_index("switchyard::router::scan_digits", exec, s.segments, scan);
      for_each_index("switchyard::router::scatter_digits", exec, s.segments * s.blocks, scatter);
    }
  }
}

/// take_tokens_kernel: a warp per (group, expert).
template <class Real, class Space>
struct take_tokens_rows {
  take_tokens_kernel<Real, Space> of;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t task) const {
    const std::int64_t group = task / of.size.experts, expert = task % of.size.experts, tokens = of.size.tokens;
    const auto taken = warp.template make<std::int32_t>([&](int lane, int) {
      std::int32_t mine = 0;
      for (std::int64_t i = lane; i < tokens; i += gpu::warp_size) {
        const std::int64_t token = of.order(task * tokens + i);
        const bool takes = i < of.set.capacity && of.pad.real(group, token);
        of.d.choice(group * tokens + token, expert) = static_cast<std::int32_t>(expert);
        of.d.slot(group * tokens + token, expert) = takes ? static_cast<std::int32_t>(i) : slot_none;
        mine += takes ? 1 : 0;
      }
      return mine;
    });
    const std::int32_t all = warp.reduce(taken, [](std::int32_t a, std::int32_t b) { return a + b; });
    warp.each([&](int lane, int) {
      if (lane == 0) of.d.filled(group, expert) = all;
    });
  }
};

} // namespace switchyard::router::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/gpu.hpp>
#include <switchyard/router/decision.hpp>

namespace switchyard::dispatch::detail {

/// Exclusive prefix sum of filled in the order (expert, group). Integers: any order of summation gives the same.
template <class Space>
struct offset_kernel {
  using value_type = std::int64_t;
  router::problem size;
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> filled; // [groups, E]
  Kokkos::View<std::int64_t*, Space> group_offset, expert_offset;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& sum, bool final) const {
    const std::int64_t expert = i / size.groups, group = i % size.groups;
    sum += filled(group, expert);
    if (!final) return;
    group_offset(i + 1) = sum; // entry 0 is zero from the start
    if (group + 1 == size.groups) expert_offset(expert + 1) = sum;
  }
};

/// The same by one block: each of its warps adds up a part, then writes the sums from where the parts before it end.
template <class Space>
struct offset_block {
  static constexpr int threads = 1024;
  static constexpr int bytes = threads / gpu::warp_size * static_cast<int>(sizeof(std::int64_t));
  offset_kernel<Space> of;

  template <class Block>
  KOKKOS_FUNCTION void operator()(const Block& block, std::int64_t, std::byte* shared) const {
    auto* const parts = reinterpret_cast<std::int64_t*>(shared);
    const std::int64_t n = of.size.experts * of.size.groups;
    const std::int64_t each = (n + threads - 1) / threads * gpu::warp_size;
    const auto count = [&](std::int64_t i) { return std::int64_t{of.filled(i % of.size.groups, i / of.size.groups)}; };
    const auto end_of = [&](int w) { return (w + 1) * each < n ? (w + 1) * each : n; };
    block.each_warp([&](const auto& warp, int w, int) {
      const auto mine = warp.template make<std::int64_t>([&](int lane, int) {
        std::int64_t sum = 0;
        for (std::int64_t i = w * each + lane; i < end_of(w); i += gpu::warp_size) sum += count(i);
        return sum;
      });
      const std::int64_t sum = warp.reduce(mine, [](std::int64_t a, std::int64_t b) { return a + b; });
      warp.each([&](int lane, int) {
        if (lane == 0) parts[w] = sum;
      });
    });
    block.sync();
    block.each_warp([&](const auto& warp, int w, int) {
      std::int64_t start = 0;
      for (int earlier = 0; earlier < w; ++earlier) start += parts[earlier];
      for (std::int64_t begin = w * each; begin < end_of(w); begin += gpu::warp_size) {
        const auto mine = warp.template make<std::int64_t>(
            [&](int lane, int) { return begin + lane < n ? count(begin + lane) : std::int64_t{0}; });
        const auto sum = warp.inclusive_sum(mine);
        warp.each([&](int lane, int i) {
          if (begin + lane >= n) return;
          std::int64_t before = start + sum[i] - mine[i];
          of(begin + lane, before, true);
        });
        start += warp.get(sum, gpu::warp_size - 1);
      }
    });
  }
};

template <class Real, class Space>
struct row_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  Kokkos::View<const std::int64_t*, Space> group_offset;
  Kokkos::View<std::int64_t*, Space> row_token, row_choice, row_slot;

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const std::int64_t group = t / size.tokens;
    for (int j = 0; j < set.choices; ++j) {
      const std::int32_t c = d.slot(t, j);
      if (c < 0) continue;
      const std::int64_t expert = d.choice(t, j);
      const std::int64_t row = group_offset(expert * size.groups + group) + c;
      row_token(row) = t;
      row_choice(row) = t * set.choices + j;
      row_slot(row) = (expert * size.groups_total + size.group_begin + group) * set.capacity + c;
    }
  }
};

} // namespace switchyard::dispatch::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/gpu.hpp>
#include <switchyard/router/detail/loss_kernels.hpp>

/// \file
/// The sums of loss_kernels.hpp that one thread each would make too slowly, by warps. Their order is fixed too, but
/// another one.

namespace switchyard::router::detail {

template <class R, class Warp, class F>
KOKKOS_INLINE_FUNCTION R sum_strided(const Warp& warp, std::int64_t n, const F& f) {
  const auto mine = warp.template make<R>([&](int lane, int) {
    R sum = 0;
    for (std::int64_t i = lane; i < n; i += gpu::warp_size) sum += f(i);
    return sum;
  });
  return warp.reduce(mine, switchyard::detail::plus<R>());
}

/// count_slots_kernel: a warp per block. Whole numbers, so the same.
template <class Real, class Space>
struct count_slots_rows {
  count_slots_kernel<Real, Space> of;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t task) const {
    const auto& set = of.set;
    const bool choosing = set.routing == routing_policy::top_1 || set.routing == routing_policy::top_k;
    const token_block tokens(task, of.blocks, of.size);
    const auto count = [&](bool kept) {
      return sum_strided<std::int32_t>(warp, tokens.end - tokens.begin, [&](std::int64_t i) {
        if (!of.pad.real(tokens.group, tokens.begin + i)) return 0;
        const std::int32_t* slot = &of.d.slot(tokens.group * of.size.tokens + tokens.begin + i, 0);
        std::int32_t n = 0;
        for (int j = 0; j < set.choices; ++j) n += (kept ? slot[j] >= 0 : slot[j] != slot_none) ? 1 : 0;
        return choosing ? n : !kept || n > 0 ? 1 : 0;
      });
    };
    const std::int32_t wanted = count(false), kept = count(true);
    warp.each([&](int lane, int) {
      if (lane != 0) return;
      of.partial(task, 3 * of.size.experts + column::wanted) = static_cast<Real>(wanted);
      of.partial(task, 3 * of.size.experts + column::kept) = static_cast<Real>(kept);
    });
  }
};

/// sum_group_kernel: 32 columns by a block whose warps take the blocks of tokens in parts.
template <class Real, class Space>
struct sum_group_block {
  static constexpr int threads = 1024, parts = threads / gpu::warp_size;
  static constexpr int bytes = static_cast<int>(sizeof(Real)) * threads;
  sum_group_kernel<Real, Space> of;
  std::int64_t tiles; // of 32 columns

  template <class Block>
  KOKKOS_FUNCTION void operator()(const Block& block, std::int64_t task, std::byte* shared) const {
    auto* const sums = reinterpret_cast<Real*>(shared); // [parts, 32]
    const std::int64_t group = task / tiles, first = task % tiles * gpu::warp_size, experts = of.size.experts;
    const std::int64_t each = (of.blocks + parts - 1) / parts;
    block.each_warp([&](const auto& warp, int w, int) {
      const std::int64_t begin = w * each < of.blocks ? w * each : of.blocks;
      const std::int64_t end = begin + each < of.blocks ? begin + each : of.blocks;
      warp.each([&](int lane, int) {
        const std::int64_t c = first + lane;
        Real sum = 0;
        if (c < of.columns && (c < 3 * experts || c >= 4 * experts)) {
          const Real* from = &of.partial(group * of.blocks, c < 3 * experts ? c : c - experts);
          const auto stride = static_cast<std::int64_t>(of.partial.extent(1));
          for (std::int64_t b = begin; b < end; ++b) sum += from[b * stride];
        }
        sums[w * gpu::warp_size + lane] = sum;
      });
    });
    block.sync();
    block.each([&](int thread) {
      const std::int64_t c = first + thread;
      if (thread >= gpu::warp_size || c >= of.columns) return;
      Real sum = 0;
      for (int part = 0; part < parts; ++part) sum += sums[part * gpu::warp_size + thread];
      if (c >= 3 * experts && c < 4 * experts) sum = static_cast<Real>(of.filled(group, c - 3 * experts));
      of.sums(of.size.group_begin + group, c) = sum;
    });
  }
};

/// balance_kernel: a warp per group.
template <class Real, class Space>
struct balance_rows {
  balance_kernel<Real, Space> of;
  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t g) const {
    const std::int64_t experts = of.size.experts;
    const Real n = of.sums(g, 4 * experts + column::tokens);
    const Real total =
        sum_strided<Real>(warp, experts, [&](std::int64_t e) { return of.sums(g, e) * of.sums(g, experts + e); });
    warp.each([&](int lane, int) {
      if (lane == 0) of.out(g) = n > 0 ? static_cast<Real>(experts) * (total / (n * n)) : Real(0);
    });
  }
};

/// summary_kernel by one warp.
template <class Real, class Space>
struct summary_rows {
  summary_kernel<Real, Space> of;

  struct spread {
    double mean, variance;
    KOKKOS_FUNCTION double cv2() const { return mean > 0 ? variance / (mean * mean) : 0.0; }
  };
  template <class Warp>
  KOKKOS_FUNCTION spread spread_of(const Warp& warp, const Real* values, double scale) const {
    const std::int64_t n = of.size.experts;
    const double mean =
        sum_strided<double>(warp, n, [&](std::int64_t i) { return static_cast<double>(values[i]) * scale; }) /
        static_cast<double>(n);
    const double squares = sum_strided<double>(warp, n, [&](std::int64_t i) {
      const double off = static_cast<double>(values[i]) * scale - mean;
      return off * off;
    });
    return {mean, squares / static_cast<double>(n)};
  }

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t) const {
    const std::int64_t all = of.size.experts, groups = of.size.groups_total;
    const auto total = [&](int c) {
      return sum_strided<double>(warp, groups,
                                 [&](std::int64_t g) { return static_cast<double>(of.sums(g, 4 * all + c)); });
    };
    const double n = total(column::tokens), z = total(column::z), entropy = total(column::entropy);
    const double confidence = total(column::confidence), nonfinite = total(column::nonfinite);
    const double wanted = total(column::wanted), kept = total(column::kept);
    const double per_token = n > 0 ? 1 / n : 0.0, experts = static_cast<double>(all);
    const spread importance = spread_of(warp, of.expert_sums.data(), 1.0);
    const spread load = spread_of(warp, of.expert_sums.data() + all, per_token);
    double balance =
        groups > 0
            ? sum_strided<double>(warp, groups, [&](std::int64_t g) { return static_cast<double>(of.balance(g)); }) /
                  static_cast<double>(groups)
            : 0.0;
    if (of.set.scope == balance_scope::batch)
      balance = experts * per_token * per_token * sum_strided<double>(warp, all, [&](std::int64_t e) {
                  return static_cast<double>(of.expert_sums(3 * all + e)) * static_cast<double>(of.expert_sums(e));
                });
    const double mu = load.mean;
    warp.each([&](int lane, int) {
      if (lane == 0) {
        const double results[] = {balance,
                                  z * per_token,
                                  importance.cv2(),
                                  load.cv2(),
                                  n,
                                  wanted > 0 ? 1 - kept / wanted : 0.0,
                                  entropy * per_token,
                                  confidence * per_token,
                                  nonfinite,
                                  per_token,
                                  importance.mean};
        for (int i = 0; i < 11; ++i) of.result(i) = results[i];
      }
      for (std::int64_t e = lane; e < all; e += gpu::warp_size) { // see summary_kernel
        const double m = static_cast<double>(of.expert_sums(all + e)) * per_token;
        const double slope =
            mu > 0 ? 2 * (m - mu) / (experts * mu * mu) - 2 * load.variance / (experts * mu * mu * mu) : 0.0;
        of.dm(e) = static_cast<Real>(of.set.load * slope * per_token);
      }
    });
  }
};

} // namespace switchyard::router::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/router/detail/warp_slots.hpp>

/// \file
/// Position in expert: which of an expert's C slots a choice gets, group by group.
///
///   stage j = 0 .. K-1:  pos(t) = kept(e) + #{tokens before t whose choice j is the same e},   kept iff pos < C
///
/// First choices before second choices, tokens in order (or falling priority), stable. Only kept choices count for
/// later stages. No-token-left-behind runs the same stages over the tokens that have no slot yet. Expert choice sorts
/// each expert's tokens by score and takes the first C.

namespace switchyard::router {

/// Buffers of assign_slots; allocates.
template <std::floating_point Real, class Space>
struct slot_scratch {
  std::int64_t blocks = 0;
  Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Space> histogram; // [(K *) groups * blocks, E], token choice
  detail::sorter<Real, Space> sort;                                   // batch priority or expert choice

  slot_scratch() = default;
  /// choices: K; where warps count, all of them are counted at once.
  slot_scratch(const problem& p, routing_policy routing, slot_order order, int choices = 1) {
    if (routing == routing_policy::expert_choice) {
      sort = detail::sorter<Real, Space>(p.groups * p.experts, p.tokens);
      return;
    }
    blocks = (p.tokens + detail::slot_block - 1) / detail::slot_block;
    const bool at_once = gpu_space<typename Space::execution_space> && routing != routing_policy::no_token_left_behind;
    histogram = decltype(histogram)(Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::histogram"),
                                    static_cast<std::size_t>((at_once ? choices : 1) * p.groups * blocks),
                                    static_cast<std::size_t>(p.experts));
    if (order == slot_order::batch_prioritized) sort = detail::sorter<Real, Space>(p.groups, p.tokens);
  }
};

namespace detail {

/// The stages of token choice by warps: all at once where the histogram has room and no choice depends on the slots of
/// earlier ones, else one after the other.
template <class Exec, class Real, class Space>
void number_choices(const Exec& exec, const problem& size, const settings& set, const decision<Real, Space>& d,
                    const Kokkos::View<const std::int32_t*, Space>& order, const slot_scratch<Real, Space>& scratch) {
  const std::int64_t tasks = size.groups * scratch.blocks;
  const bool at_once = static_cast<std::int64_t>(scratch.histogram.extent(0)) >= set.choices * tasks &&
                       set.routing != routing_policy::no_token_left_behind;
  const int stages = at_once ? set.choices : 1;
  const int bytes = static_cast<int>(size.experts) * static_cast<int>(sizeof(std::int32_t));
  for (int j = 0; j < set.choices; j += stages) {
    const slot_stages<Real, Space> s{size, set, j, stages, scratch.blocks, order, d, scratch.histogram};
    gpu::for_each_warp<4>("switchyard::router::count_choices", exec, stages * tasks, count_block<Real, Space>{s},
                          bytes);
    gpu::for_each_warp<4>("switchyard::router::scan_choices", exec, size.groups * size.experts,
                          scan_blocks<Real, Space>{s});
    gpu::for_each_warp<4>("switchyard::router::assign_slots", exec, stages * tasks, assign_block<Real, Space>{s},
                          bytes);
  }
}

} // namespace detail

/// choice [T, K] -> slot [T, K], filled [groups, E]. Deterministic, no atomics, does not communicate or allocate.
template <class Exec, class Real, class Space>
void assign_slots(const Exec& exec, const problem& size, const settings& set, const padding<Space>& pad,
                  const decision<Real, Space>& d, const slot_scratch<Real, Space>& scratch) {
  if (set.routing == routing_policy::expert_choice) {
    for_each_index(
        "switchyard::router::expert_keys", exec, scratch.sort.segments * size.tokens,
        detail::expert_key_kernel<Real, Space>{size, pad, d.probs, scratch.sort.keys[0], scratch.sort.order[0]});
    detail::sort(exec, scratch.sort);
    const detail::take_tokens_kernel<Real, Space> take{size, set, pad, d, scratch.sort.order[0]};
    if constexpr (gpu_space<Exec>)
      gpu::for_each_warp<4>("switchyard::router::take_tokens", exec, size.groups * size.experts,
                            detail::take_tokens_rows<Real, Space>{take});
    else
      for_each_index("switchyard::router::take_tokens", exec, size.groups * size.experts, take);
    return;
  }
  Kokkos::View<const std::int32_t*, Space> order; // empty: token order
  if (set.order == slot_order::batch_prioritized) {
    for_each_index(
        "switchyard::router::priority_keys", exec, size.groups * size.tokens,
        detail::priority_key_kernel<Real, Space>{size, pad, d.probs, scratch.sort.keys[0], scratch.sort.order[0]});
    detail::sort(exec, scratch.sort);
    order = scratch.sort.order[0];
  }
  if constexpr (gpu_space<Exec>)
    if (size.experts <= detail::most_bins) return detail::number_choices(exec, size, set, d, order, scratch);
  Kokkos::deep_copy(exec, d.filled, 0);
  for (int j = 0; j < set.choices; ++j) {
    const detail::stage<Real, Space> stage{size, set, j, scratch.blocks, order, d, scratch.histogram};
    for_each_index("switchyard::router::count_choices", exec, size.groups * scratch.blocks,
                   detail::count_kernel<Real, Space>{stage});
    for_each_index("switchyard::router::scan_choices", exec, size.groups * size.experts,
                   detail::scan_kernel<Real, Space>{stage});
    for_each_index("switchyard::router::assign_slots", exec, size.groups * scratch.blocks,
                   detail::assign_kernel<Real, Space>{stage});
  }
}

} // namespace switchyard::router

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/router/detail/warp_losses.hpp>
#include <switchyard/router/detail/warp_router.hpp>

/// \file
/// Auxiliary losses and metrics. With n_g real tokens in group g, n of them in all, f_ge = #{choices e of group g} /
/// n_g, P_ge = mean p_e over the real tokens of group g:
///
///   load balance  L = 1/G sum_g E sum_e f_ge P_ge                    (paper, equation 4; mean over groups), or
///                 L = E sum_e f_e P_e, f and P over all real tokens  (balance_scope::batch)
///   router z      L = 1/n sum_t (log sum_e exp h_te)^2               (ST-MoE, equation 5)
///   importance    L = CV^2_e of sum_t p_te                           (Shazeer 2017; population variance / mean^2)
///   load          L = CV^2_e of mean_t [1 - Phi((tau_t - h_te) E)]   (V-MoE; tau_t = the K-th largest logit of t)
///
/// f is a constant to the gradient. Sums are made per group in blocks of fixed size, then over the groups of all ranks
/// in order: the same bytes for every number of threads and for every layout.

namespace switchyard::router {

/// Losses without their coefficients, and metrics, over all real tokens of all ranks.
struct summary {
  double load_balance = 0, router_z = 0, importance = 0, load = 0;
  double tokens = 0;            ///< real tokens
  double dropped_fraction = 0;  ///< of the choices that asked for a slot; expert choice: of the tokens, taken by nobody
  double entropy = 0;           ///< mean over tokens of -sum p log p, in nats
  double confidence = 0;        ///< mean over tokens of max p
  double nonfinite_outputs = 0; ///< expert outputs, of tokens here, with a NaN or an infinity: half overflows at 65504
  double nonfinite_tokens = 0;  ///< tokens with a NaN or an infinity among their logits, routed all the same
};

/// Columns of statistics.sums beside the four of every expert.
inline constexpr int statistics_scalars = detail::column::count;
inline constexpr int summary_numbers = 11; ///< of statistics.result

/// Sums over the tokens, one row per group: f, p, load, filled (E each), then the scalars of detail::column.
template <std::floating_point Real, class Space>
struct statistics {
  static constexpr int scalars = statistics_scalars;

  Kokkos::View<Real**, Kokkos::LayoutRight, Space> partial; // [groups * blocks, 3E + scalars]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> sums;    // [G of all ranks, 4E + scalars]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dp;      // [groups, E] d losses / d p, without d p / d h
  Kokkos::View<Real*, Space> dm;                            // [E] d losses / d (load of e), per token
  Kokkos::View<Real*, Space> balance;                       // [G]
  Kokkos::View<Real*, Space> expert_sums;                   // [4E] importance, load, filled, choices, over all groups
  Kokkos::View<double*, Space> result;                      // [11] the summary's fields, 1 / tokens, mean importance

  statistics() = default;
  /// Allocates.
  statistics(const problem& p)
      : partial(make("partial", p.groups * blocks(p), 3 * p.experts + scalars)),
        sums(make("sums", p.groups_total, 4 * p.experts + scalars)), dp(make("dp", p.groups, p.experts)),
        dm("switchyard::router::dm", static_cast<std::size_t>(p.experts)),
        balance("switchyard::router::balance", static_cast<std::size_t>(p.groups_total)),
        expert_sums("switchyard::router::expert_sums", static_cast<std::size_t>(4 * p.experts)),
        result("switchyard::router::summary", summary_numbers) {}

  static std::int64_t blocks(const problem& p) { return (p.tokens + detail::loss_block - 1) / detail::loss_block; }

 private:
  static auto make(const char* what, std::int64_t rows, std::int64_t columns) {
    return Kokkos::View<Real**, Kokkos::LayoutRight, Space>(
        std::string("switchyard::router::") + what, static_cast<std::size_t>(rows), static_cast<std::size_t>(columns));
  }
};

/// logits -> probs, lse, choice, and slot = slot_dropped where a choice asks for a slot, slot_none where not; with them
/// the sums over blocks of tokens that need no slots. Deterministic; does not communicate or allocate.
template <class Storage, class Exec, class Real, class Space>
void decide(const Exec& exec, const problem& size, const settings& set, const padding<Space>& pad,
            const decision<Real, Space>& d, const statistics<Real, Space>& s) {
  const std::int64_t blocks = statistics<Real, Space>::blocks(size);
  if constexpr (gpu_space<Exec>) {
    const auto run = [&]<int Values>(std::integral_constant<int, Values>) {
      using block = detail::decide_block<Real, Storage, Space, Values>;
      gpu::for_each_block<block::threads>("switchyard::router::decide", exec, size.groups * blocks, block::bytes,
                                          block{size, set, pad, d, s.partial, blocks});
    };
    if (size.experts <= detail::few_experts) return run(detail::few_values());
    if (size.experts <= detail::more_experts) return run(detail::more_values());
  }
  for_each_index("switchyard::router::decide", exec, size.groups * blocks,
                 detail::decide_kernel<Real, Storage, Space>{size, set, pad, d, s.partial, blocks});
}

/// This rank's rows of statistics.sums, once the slots are given. Does not communicate: the layer gathers the rows of
/// the other ranks.
template <class Exec, class Real, class Space>
void sum_groups(const Exec& exec, const problem& size, const settings& set, const padding<Space>& pad,
                const decision<Real, Space>& d, const statistics<Real, Space>& s) {
  const std::int64_t blocks = statistics<Real, Space>::blocks(size);
  const std::int64_t columns = static_cast<std::int64_t>(s.sums.extent(1));
  const detail::count_slots_kernel<Real, Space> count{size, set, pad, d, s.partial, blocks};
  const detail::sum_group_kernel<Real, Space> sum{size, d.filled, s.partial, s.sums, blocks, columns};
  if constexpr (gpu_space<Exec>) {
    using block = detail::sum_group_block<Real, Space>;
    const std::int64_t tiles = (columns + gpu::warp_size - 1) / gpu::warp_size;
    gpu::for_each_warp<4>("switchyard::router::count_slots", exec, size.groups * blocks,
                          detail::count_slots_rows<Real, Space>{count});
    gpu::for_each_block<block::threads>("switchyard::router::sum_groups", exec, size.groups * tiles, block::bytes,
                                        block{sum, tiles});
  } else {
    for_each_index("switchyard::router::count_slots", exec, size.groups * blocks, count);
    for_each_index("switchyard::router::sum_groups", exec, size.groups * columns, sum);
  }
}

/// All rows of statistics.sums -> summary, and what the backward needs (dp, dm). Every rank computes the same.
template <class Exec, class Real, class Space>
void losses(const Exec& exec, const problem& size, const settings& set, const statistics<Real, Space>& s) {
  for_each_index("switchyard::router::sum_experts", exec, 4 * size.experts,
                 detail::sum_expert_kernel<Real, Space>{size, s.sums, s.expert_sums});
  const detail::balance_kernel<Real, Space> balance{size, set, s.sums, s.balance};
  const detail::summary_kernel<Real, Space> summarize{size, set, s.sums, s.balance, s.expert_sums, s.dm, s.result};
  if constexpr (gpu_space<Exec>) {
    gpu::for_each_warp<4>("switchyard::router::balance", exec, size.groups_total,
                          detail::balance_rows<Real, Space>{balance});
    gpu::for_each_warp<2>("switchyard::router::summary", exec, 1, detail::summary_rows<Real, Space>{summarize});
  } else {
    for_each_index("switchyard::router::balance", exec, size.groups_total, balance);
    for_each_index("switchyard::router::summary", exec, 1, summarize);
  }
  for_each_index("switchyard::router::loss_gradient", exec, size.groups * size.experts,
                 detail::loss_gradient_kernel<Real, Space>{size, set, s.sums, s.expert_sums, s.result, s.dp});
}

} // namespace switchyard::router

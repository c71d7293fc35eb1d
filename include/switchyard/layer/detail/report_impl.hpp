// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/switch_layer.hpp>

// What a pass tells: its losses and metrics, its bytes, the experts' load. Definitions of switch_layer's members.

namespace switchyard {

template <class E, precision P, class M, class R, class G>
router::summary switch_layer<E, P, M, R, G>::summary(const E& exec, const tape_type& t) const {
  Kokkos::deep_copy(exec, t.summary, t.statistics.result);
  exec.fence("switchyard: the summary is read on the host");
  const auto nonfinite =
      combine::count_nonfinite<E, value, real, space>(exec, t.size, t.set, t.decision, t.map(), t.combined_rows());
  const auto& s = t.summary;
  return {s(0), s(1), s(2), s(3), s(4), s(5), s(6), s(7), static_cast<double>(nonfinite), s(8)};
}

template <class E, precision P, class M, class R, class G>
layer_traffic<M::rank> switch_layer<E, P, M, R, G>::traffic(const tape_type& t, bool training) const {
  layer_traffic<M::rank> all = predicted(t, training);
  if (canonical()) count_canonical(t, all);
  if constexpr (layout::groups_split)
    for (std::size_t a = 0; a != M::rank && t.sums == gradient_sums::by_caller; ++a)
      if (layout::axis_splits_groups[a]) all.backward[a][static_cast<std::size_t>(collective::all_reduce)] = 0;
  return all;
}

template <class E, precision P, class M, class R, class G>
layer_traffic<M::rank> switch_layer<E, P, M, R, G>::predicted(const tape_type& t, bool training) const {
  const switch_config& c = config_;
  const layer_extents n{t.size.groups_total,
                        t.size.tokens,
                        c.d_model,
                        c.d_ff,
                        c.experts,
                        t.choices,
                        c.capacity(t.size.tokens, training),
                        c.gated,
                        c.bias};
  if constexpr (layout::experts_split) {
    if (t.compact) {
      exchanged_rows rows;
      for (std::size_t r = 0; r < t.exchange.sent().size(); ++r) {
        const bool away = static_cast<std::int64_t>(r) != mesh_.coordinate(layout::expert_axis_index);
        rows.sent += away ? t.exchange.sent()[r] : 0;
        rows.returned += away ? t.exchange.arrived()[r] : 0;
        rows.held += t.exchange.arrived()[r];
      }
      return predict_traffic<M, R, P>(n, mesh_.extents(), mesh_.coordinates(), rows);
    }
  }
  return predict_traffic<M, R, P>(n, mesh_.extents(), mesh_.coordinates());
}

template <class E, precision P, class M, class R, class G>
std::vector<std::int64_t> switch_layer<E, P, M, R, G>::expert_load(const E& exec, const tape_type& t) const {
  const auto experts = static_cast<std::size_t>(config_.experts);
  std::vector<real> filled(experts);
  Kokkos::deep_copy(exec, Kokkos::View<real*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(filled.data(), experts),
                    Kokkos::subview(t.statistics.expert_sums, std::pair(2 * experts, 3 * experts)));
  exec.fence("switchyard: the expert load is read on the host");
  return std::vector<std::int64_t>(filled.begin(), filled.end());
}

} // namespace switchyard

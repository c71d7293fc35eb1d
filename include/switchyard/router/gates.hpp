// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/router/decision.hpp>

/// \file
/// Gates q from the selected probabilities r_j = p[e_j], and the way back:
///
///   none         q_j = r_j                             dr_j = dq_j
///   before_drop  q_j = r_j / d, d = sum r + 1e-9       dr_j = (dq_j - sum_i dq_i q_i) / d
///   after_drop   q_j = r_j / d, d = sum of kept r      dr_j = kept_j (dq_j - sum_i dq_i q_i) / d
///
/// A choice without a slot has q_j = 0 and dq_j = 0. top_1, no_token_left_behind and expert_choice never renormalize:
/// a renormalized top-1 gate is 1 and its router learns nothing.

namespace switchyard::router {

namespace detail {

/// What the gates of one token are divided by; 1 where they are not renormalized.
template <class Real, class Space>
KOKKOS_INLINE_FUNCTION Real gate_divisor(const settings& set, const decision<Real, Space>& d, std::int64_t t) {
  if (set.routing != routing_policy::top_k || set.renormalize == renormalize_policy::none || d.choice(t, 0) < 0)
    return 1;
  const bool before = set.renormalize == renormalize_policy::before_drop;
  Real sum = 0;
  for (int j = 0; j < set.choices; ++j)
    if (before || d.slot(t, j) >= 0) sum += d.probs(t, d.choice(t, j));
  if (before) return sum + Real(1e-9);
  return sum > 0 ? sum : Real(1);
}

template <class Real, class Storage, class Space>
struct gate_kernel {
  settings set;
  decision<Real, Space> d;
  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const Real divisor = gate_divisor(set, d, t);
    for (int j = 0; j < set.choices; ++j)
      d.gate(t, j) = d.slot(t, j) >= 0 ? rounded<Storage>(d.probs(t, d.choice(t, j)) / divisor) : Real(0);
  }
};

/// dq -> dr of one token, handed to add(expert, dr_j).
template <class Real, class Space, class Add>
KOKKOS_INLINE_FUNCTION void gates_backward(const settings& set, const decision<Real, Space>& d, std::int64_t t,
                                           const Real* dq, const Add& add) {
  if (d.choice(t, 0) < 0 && set.routing != routing_policy::expert_choice) return; // padding
  const bool renormalized = set.routing == routing_policy::top_k && set.renormalize != renormalize_policy::none;
  Real mean = 0; // sum_i dq_i q_i
  if (renormalized)
    for (int j = 0; j < set.choices; ++j)
      if (d.slot(t, j) >= 0) mean += dq[j] * d.gate(t, j);
  const Real divisor = gate_divisor(set, d, t);
  const bool dropped_too = renormalized && set.renormalize == renormalize_policy::before_drop;
  for (int j = 0; j < set.choices; ++j) {
    const bool kept = d.slot(t, j) >= 0;
    if (kept || dropped_too) add(d.choice(t, j), ((kept ? dq[j] : Real(0)) - mean) / divisor);
  }
}

} // namespace detail

/// probs, choice, slot -> gate [T, K], rounded to Storage.
template <class Storage, class Exec, class Real, class Space>
void gates(const Exec& exec, const settings& set, const decision<Real, Space>& d) {
  for_each_index("switchyard::router::gates", exec, static_cast<std::int64_t>(d.lse.extent(0)),
                 detail::gate_kernel<Real, Storage, Space>{set, d});
}

} // namespace switchyard::router

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/detail/loss_kernels.hpp>
#include <switchyard/router/gates.hpp>

namespace switchyard::router {

/// J of one pass: jitter U[1 - eps, 1 + eps] times dropout, per element, keyed by the global element.
struct input_noise {
  double jitter = 0, dropout = 0;
  generator jitter_draw, dropout_draw;

  KOKKOS_FUNCTION bool active() const { return jitter > 0 || dropout > 0; }

  template <class Real>
  KOKKOS_FUNCTION Real factor(std::uint64_t element) const {
    Real f = 1;
    if (jitter > 0) f += static_cast<Real>(jitter) * (Real(2) * jitter_draw.template uniform<Real>(element) - Real(1));
    if (dropout > 0)
      f = dropout_draw.template uniform<Real>(element) < static_cast<Real>(dropout)
              ? Real(0)
              : f / (Real(1) - static_cast<Real>(dropout));
    return f;
  }
};

namespace detail {

template <class T, class Real, class Space>
struct scale_input_kernel {
  problem size;
  input_noise noise;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> x;   // [T, M]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> scaled; // [T, M]
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t width = static_cast<std::int64_t>(x.extent(1));
    const auto element = static_cast<std::uint64_t>(size.group_begin * size.tokens * width + i);
    scaled.data()[i] = static_cast<Real>(x.data()[i]) * noise.template factor<Real>(element);
  }
};

template <class Real, class Storage, class Space>
struct logit_epilogue {
  static constexpr bool paired = false;
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> logits;
  Real cap;
  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n, Real* h) const {
    if (cap > 0)
      for (int j = 0; j < n; ++j) h[j] = cap * Kokkos::tanh(h[j] / cap);
    Real* KOKKOS_RESTRICT to = &logits(row, column);
    for (int j = 0; j < n; ++j) to[j] = rounded<Storage>(h[j]);
  }
};

/// One token: dq -> dr -> dp -> dh.
template <class Real, class Space>
struct backward_kernel {
  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> dp_losses; // [groups, E]
  Kokkos::View<const Real*, Space> dm;                              // [E]
  Kokkos::View<const double*, Space> result;                        // (9): 1 / real tokens
  Real loss_scale;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> dq; // [T, K]
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dh;       // [T, E]

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const std::int64_t experts = size.experts, group = t / size.tokens;
    Real* g = &dh(t, 0);
    if (!pad.real(group, t % size.tokens)) {
      for (std::int64_t e = 0; e < experts; ++e) g[e] = 0;
      return;
    }
    // dp
    const Real* p = &d.probs(t, 0);
    for (std::int64_t e = 0; e < experts; ++e) g[e] = loss_scale * dp_losses(group, e);
    gates_backward(set, d, t, &dq(t, 0), [&](std::int32_t e, Real dr) { g[e] += dr; });
    // dh_i = p_i (dp_i - sum_l p_l dp_l) + c_z 2/n lse p_i. A constant added to dp changes nothing: seen from the most
    // probable expert, no difference loses its digits when p is all but 1 there.
    const Real origin = g[next_best<Real>(experts, p, nullptr, 0)];
    for (std::int64_t e = 0; e < experts; ++e) g[e] -= origin;
    const Real mean = lane_sum<Real>(experts, [&](std::int64_t e) { return p[e] * g[e]; });
    const Real z = loss_scale * static_cast<Real>(set.router_z * 2 * result(9)) * d.lse(t);
    for (std::int64_t e = 0; e < experts; ++e) g[e] = p[e] * (g[e] - mean + z);
    if (set.load > 0) add_load(t, g);
    if (set.logit_softcap > 0) { // h = cap tanh(u / cap): du = dh (1 - (h / cap)^2)
      const Real cap = static_cast<Real>(set.logit_softcap);
      for (std::int64_t e = 0; e < experts; ++e) g[e] *= Real(1) - d.logits(t, e) / cap * (d.logits(t, e) / cap);
    }
  }

  /// u_te = phi(z) dm_e / sigma;  dh_te += u_te,  dh_t,kth -= sum_e u_te
  KOKKOS_FUNCTION void add_load(std::int64_t t, Real* g) const {
    const std::int64_t experts = size.experts;
    const Real* h = &d.logits(t, 0);
    const std::int32_t kth = kth_largest(h, experts, set.choices);
    Real sum = 0;
    for (std::int64_t e = 0; e < experts; ++e) {
      const Real inverse_sigma = static_cast<Real>(experts);
      const Real u = loss_scale * normal_pdf((h[kth] - h[e]) * inverse_sigma) * dm(e) * inverse_sigma;
      g[e] += u;
      sum += u;
    }
    g[kth] -= sum;
  }
};

} // namespace detail
} // namespace switchyard::router

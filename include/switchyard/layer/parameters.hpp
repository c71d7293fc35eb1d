// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <switchyard/core/large_pages.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/core/random.hpp>
#include <switchyard/layer/config.hpp>
#include <switchyard/mesh/mesh.hpp>

namespace switchyard {

/// The parameters of a Switch layer, this rank's part: weights as stored, or their gradients. Views share ownership;
/// a copy of the struct is the same parameters.
template <class T, class Space>
struct switch_parameters {
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;
  using stack = Kokkos::View<T***, Kokkos::LayoutRight, Space>;

  matrix router;      // [M, E] all experts, on every rank
  stack wi;           // [E here, M, F]
  stack wi_gate;      // [E here, M, F], gated experts only
  stack wo;           // [E here, F, M]
  matrix bi, bi_gate; // [E here, F], with bias only
  matrix bo;          // [E here, M], with bias only

  switch_parameters() = default;
  /// Zeros. Allocates. What the configuration does not have stays a view of nothing.
  switch_parameters(const switch_config& c, part experts)
      : router(detail::make_zeros<matrix>("switchyard::router.weight", c.d_model, c.experts)),
        wi(detail::make_zeros<stack>("switchyard::wi.weight", experts.count, c.d_model, c.d_ff)),
        wo(detail::make_zeros<stack>("switchyard::wo.weight", experts.count, c.d_ff, c.d_model)) {
    if (c.gated) wi_gate = detail::make_zeros<stack>("switchyard::wi_gate.weight", experts.count, c.d_model, c.d_ff);
    if (!c.bias) return;
    bi = detail::make_zeros<matrix>("switchyard::wi.bias", experts.count, c.d_ff);
    bo = detail::make_zeros<matrix>("switchyard::wo.bias", experts.count, c.d_model);
    if (c.gated) bi_gate = detail::make_zeros<matrix>("switchyard::wi_gate.bias", experts.count, c.d_ff);
  }
};

namespace detail {

template <class T, class Space>
struct truncated_normal_kernel {
  T* values;
  generator draw;
  double sigma;
  std::int64_t begin; // global number of the first element here
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    values[i] = T(sigma * draw.truncated_normal(static_cast<std::uint64_t>(begin + i)));
  }
};

template <class Exec, class View>
void fill_truncated_normal(const Exec& exec, const View& weight, seed s, stream what, double scale, std::int64_t fan_in,
                           std::int64_t begin) {
  using T = typename View::non_const_value_type;
  Kokkos::parallel_for(
      "switchyard::init",
      Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, static_cast<std::int64_t>(weight.size())),
      truncated_normal_kernel<T, typename View::memory_space>{weight.data(), generator(s, what),
                                                              std::sqrt(scale / static_cast<double>(fan_in)), begin});
}

} // namespace detail

/// Truncated normal, sigma = sqrt(init_scale / fan_in), cut at 2 sigma without correcting the variance (paper, section
/// 2.4; TensorFlow's truncated_normal). fan_in is M for the router, wi and wi_gate, F for wo: the expert dimension is
/// not part of it. Biases are 0. Keyed by the global element: the same numbers under every layout.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const switch_config& c, part experts, seed s, const switch_parameters<T, Space>& w) {
  const std::int64_t first = experts.begin * c.d_model * c.d_ff;
  detail::fill_truncated_normal(exec, w.router, s, stream::router_weights, c.init_scale, c.d_model, 0);
  detail::fill_truncated_normal(exec, w.wi, s, stream::wi_weights, c.init_scale, c.d_model, first);
  detail::fill_truncated_normal(exec, w.wi_gate, s, stream::wi_gate_weights, c.init_scale, c.d_model, first);
  detail::fill_truncated_normal(exec, w.wo, s, stream::wo_weights, c.init_scale, c.d_ff, first);
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cmath>
#include <switchyard/core/for_each_index.hpp>
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
  stack wi;           // [E here, M, F here]
  stack wi_gate;      // [E here, M, F here], gated experts only
  stack wo;           // [E here, F here, M]
  matrix bi, bi_gate; // [E here, F here], with bias only
  matrix bo;          // [E here, M], with bias only

  switch_parameters() = default;
  /// Zeros. Allocates. What the configuration does not have stays a view of nothing.
  switch_parameters(const switch_config& c, part experts, part d_ff)
      : router(detail::make_zeros<matrix>("switchyard::router.weight", c.d_model, c.experts)),
        wi(detail::make_zeros<stack>("switchyard::wi.weight", experts.count, c.d_model, d_ff.count)),
        wo(detail::make_zeros<stack>("switchyard::wo.weight", experts.count, d_ff.count, c.d_model)) {
    if (c.gated)
      wi_gate = detail::make_zeros<stack>("switchyard::wi_gate.weight", experts.count, c.d_model, d_ff.count);
    if (!c.bias) return;
    bi = detail::make_zeros<matrix>("switchyard::wi.bias", experts.count, d_ff.count);
    bo = detail::make_zeros<matrix>("switchyard::wo.bias", experts.count, c.d_model);
    if (c.gated) bi_gate = detail::make_zeros<matrix>("switchyard::wi_gate.bias", experts.count, d_ff.count);
  }
  /// The same with whole experts.
  switch_parameters(const switch_config& c, part experts) : switch_parameters(c, experts, {0, c.d_ff}) {}
};

namespace detail {

/// Where the elements of a weight that is here lie in the whole one: rows of `here` of its `whole` elements each, the
/// first one beginning at element `begin`.
struct element_numbers {
  std::int64_t begin, here, whole;
  KOKKOS_FUNCTION std::uint64_t operator()(std::int64_t i) const {
    return static_cast<std::uint64_t>(begin + i / here * whole + i % here);
  }
};

template <class T, class Space>
struct truncated_normal_kernel {
  T* values;
  generator draw;
  double sigma;
  element_numbers global;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const { values[i] = T(sigma * draw.truncated_normal(global(i))); }
};

template <class Exec, class View>
void fill_truncated_normal(const Exec& exec, const View& weight, seed s, stream what, double scale, std::int64_t fan_in,
                           const element_numbers& global) {
  using T = typename View::non_const_value_type;
  for_each_index("switchyard::init", exec, static_cast<std::int64_t>(weight.size()),
                 truncated_normal_kernel<T, typename View::memory_space>{
                     weight.data(), generator(s, what), std::sqrt(scale / static_cast<double>(fan_in)), global});
}
/// The same for a weight that is here whole.
template <class Exec, class View>
void fill_truncated_normal(const Exec& exec, const View& weight, seed s, stream what, double scale,
                           std::int64_t fan_in) {
  const auto all = static_cast<std::int64_t>(weight.size());
  fill_truncated_normal(exec, weight, s, what, scale, fan_in, {0, all, all});
}

} // namespace detail

/// Truncated normal, sigma = sqrt(init_scale / fan_in), cut at 2 sigma without correcting the variance (paper, section
/// 2.4; TensorFlow's truncated_normal). fan_in is M for the router, wi and wi_gate, F for wo: the expert dimension is
/// not part of it. Biases are 0. Keyed by the global element: the same numbers under every layout.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const switch_config& c, part experts, part d_ff, seed s,
                const switch_parameters<T, Space>& w) {
  const std::int64_t first = experts.begin * c.d_model * c.d_ff;
  const detail::element_numbers in{first + d_ff.begin, d_ff.count, c.d_ff};
  const detail::element_numbers out{first + d_ff.begin * c.d_model, d_ff.count * c.d_model, c.d_ff * c.d_model};
  detail::fill_truncated_normal(exec, w.router, s, stream::router_weights, c.init_scale, c.d_model,
                                {0, c.experts, c.experts});
  detail::fill_truncated_normal(exec, w.wi, s, stream::wi_weights, c.init_scale, c.d_model, in);
  detail::fill_truncated_normal(exec, w.wi_gate, s, stream::wi_gate_weights, c.init_scale, c.d_model, in);
  detail::fill_truncated_normal(exec, w.wo, s, stream::wo_weights, c.init_scale, c.d_ff, out);
}

/// The same with whole experts.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const switch_config& c, part experts, seed s, const switch_parameters<T, Space>& w) {
  initialize(exec, c, experts, {0, c.d_ff}, s, w);
}

} // namespace switchyard

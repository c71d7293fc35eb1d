// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/switch_layer.hpp>

// Weights in the orders that the products want. Definitions of switch_layer's members.

namespace switchyard {

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::pack(const E& exec, const weights_type& w) const -> packed_type {
  const std::int64_t m = config_.d_model, e = config_.experts;
  detail::check_parameters("weights", w, config_, experts_here(), d_ff_here());
  packed_type to;
  to.made_for = packed_facts();
  to.router = router_engine::template allocate<E, real>(exec, 1, m, e);
  to.router_transposed = router_engine::template allocate<E, real>(exec, 1, e, m);
  if constexpr (gpu_space<E>) to.router_pieces = router::split_weights<space>(m, e);
  for (std::int64_t i = 0; i < hidden_pieces().count; ++i) to.ffn.push_back(allocate_ffn(exec, w));
  pack(exec, w, to);
  return to;
}

template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::pack(const E& exec, const weights_type& w, const packed_type& to) const {
  using gemm::orientation;
  detail::check_parameters("weights", w, config_, experts_here(), d_ff_here());
  detail::check_made_for("packed weights", "pack", to.made_for, packed_facts());
  const Kokkos::View<const weight***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged> router(
      w.router.data(), 1, w.router.extent(0), w.router.extent(1));
  router_engine::template pack<E, real>(exec, to.router, router, orientation::forward);
  router_engine::template pack<E, real>(exec, to.router_transposed, router, orientation::transposed);
  router::split(exec, w.router, to.router_pieces);
  if (!canonical()) return pack_ffn(exec, w, to.ffn.front());
  for (std::size_t i = 0; i < to.ffn.size(); ++i)
    pack_ffn(exec, piece_of(exec, w, static_cast<std::int64_t>(i)), to.ffn[i]);
}

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::packed_facts() const -> std::array<detail::fact, 7> {
  return {{{"d_model", config_.d_model},
           {"d_ff here", d_ff_here().count},
           {"experts", config_.experts},
           {"experts here", experts_here().count},
           {"gated", config_.gated},
           {"bias", config_.bias},
           {"canonical", config_.canonical}}};
}

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::allocate_ffn(const E& exec, const weights_type& w) const
    -> experts::packed_ffn<G, E, value> {
  const std::int64_t here = experts_here().count, m = config_.d_model, f = d_ff_here().count / hidden_pieces().count;
  experts::packed_ffn<G, E, value> to;
  to.wi = G::template allocate<E, value>(exec, here, m, f, config_.gated);
  to.wo = G::template allocate<E, value>(exec, here, f, m);
  to.wi_transposed = G::template allocate<E, value>(exec, here, config_.gated ? 2 * f : f, m);
  to.wo_transposed = G::template allocate<E, value>(exec, here, m, f);
  const auto bias = [](const auto& v, std::int64_t columns) {
    using view = typename experts::packed_ffn<G, E, value>::bias;
    return v.data() == nullptr ? view()
                               : view("switchyard::packed_bias", v.extent(0), static_cast<std::size_t>(columns));
  };
  to.bi = bias(w.bi, f);
  to.bi_gate = bias(w.bi_gate, f);
  to.bo = bias(w.bo, m);
  return to;
}

/// w: of as many columns of the hidden layer as `to`.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::pack_ffn(const E& exec, const weights_type& w,
                                           const experts::packed_ffn<G, E, value>& to) const {
  using gemm::orientation;
  using stack = Kokkos::View<const weight***, Kokkos::LayoutRight, space>;
  const stack wi(w.wi), gate(w.wi_gate), wo(w.wo);
  if (config_.gated) { // forward: column panels in pairs; backward: Wg^T above W1^T
    G::template pack<E, value>(exec, to.wi, gate, orientation::forward, 0, 0);
    G::template pack<E, value>(exec, to.wi, wi, orientation::forward, 0, 1);
    G::template pack<E, value>(exec, to.wi_transposed, gate, orientation::transposed, 0);
    G::template pack<E, value>(exec, to.wi_transposed, wi, orientation::transposed, to.wi.columns);
  } else {
    G::template pack<E, value>(exec, to.wi, wi, orientation::forward);
    G::template pack<E, value>(exec, to.wi_transposed, wi, orientation::transposed);
  }
  G::template pack<E, value>(exec, to.wo, wo, orientation::forward);
  G::template pack<E, value>(exec, to.wo_transposed, wo, orientation::transposed);
  detail::convert(exec, w.bi, to.bi);
  detail::convert(exec, w.bi_gate, to.bi_gate);
  detail::convert(exec, w.bo, to.bo);
}

} // namespace switchyard

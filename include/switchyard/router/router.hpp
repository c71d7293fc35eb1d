// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/pack.hpp>
#include <switchyard/gemm/grouped_product.hpp>
#include <switchyard/router/detail/route_block.hpp>
#include <switchyard/router/losses.hpp>
#include <switchyard/router/slots.hpp>

/// \file
/// The router, forward and backward:
///
///   x~ = x ∘ J,   h = x~ W_r,   p = softmax(h),   choices, slots, gates, losses
///   dh = softmax'(dp) + z-loss + load,   dW_r = x~^T dh,   dx += J ∘ (dh W_r^T)
///
/// J is jitter and input dropout: only the router sees it. Routing decisions, order and drops are constants to the
/// gradient; it flows through the probabilities of the chosen experts.

namespace switchyard::router {

/// Router input scaled by J, materialized only where J is not 1.
template <class Exec, class T, class Real, class Space>
void scale_input(const Exec& exec, const problem& size, const input_noise& noise,
                 const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
                 const Kokkos::View<Real**, Kokkos::LayoutRight, Space>& scaled) {
  for_each_index("switchyard::router::scale_input", exec, static_cast<std::int64_t>(x.extent(0) * x.extent(1)),
                 detail::scale_input_kernel<T, Real, Space>{size, noise, x, scaled});
}

/// x~ [T, M] times packed W_r [M, E] -> logits, soft-capped, rounded to Storage.
template <class Engine, class Storage, class Exec, class A, class Packed, class Real, class Space>
void logits(const Exec& exec, const gemm::row_groups<Space>& all, const gemm::rows<A, Space>& x, const Packed& weight,
            const settings& set, const decision<Real, Space>& d) {
  gemm::grouped_product<Engine>(
      exec, all, x, weight,
      detail::logit_epilogue<Real, Storage, Space>{d.logits, static_cast<Real>(set.logit_softcap)});
}

/// logits and decide. Where warps can, and the pieces of the weights are there, x is read once for both: then `weight`
/// is not.
template <class Engine, class Storage, class Exec, class T, class Packed, class Real, class Space>
void score(const Exec& exec, const problem& size, const settings& set, const padding<Space>& pad,
           const gemm::row_groups<Space>& all, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
           const Packed& weight, const split_weights<Space>& pieces, const decision<Real, Space>& d,
           const statistics<Real, Space>& s) {
  if constexpr (gpu_space<Exec> && std::is_same_v<T, bfloat16> && std::is_same_v<Real, float>) {
    const std::int64_t blocks = statistics<Real, Space>::blocks(size);
    const auto run = [&]<int Tiles>(std::integral_constant<int, Tiles>) {
      constexpr int values = Tiles == 1 ? 1 : Tiles / 2; // numbers of a row per lane
      using block = detail::route_block<Storage, Space, Tiles, values>;
      if (!gpu::multiplies_bfloat16(exec, block::bytes)) return false;
      gpu::for_each_block<block::threads>("switchyard::router::score", exec, size.groups * blocks, block::bytes,
                                          block{{size, set, pad, d, s.partial, blocks}, x, pieces});
      return true;
    };
    if (!pieces.empty() && gpu::in_wide_pieces(x)) {
      const int tiles = pieces.tiles;
      if (tiles == 1 && run(std::integral_constant<int, 1>())) return;
      if (tiles == 4 && run(std::integral_constant<int, 4>())) return;
      if (tiles == 8 && run(std::integral_constant<int, 8>())) return;
      if (tiles == 16 && run(std::integral_constant<int, 16>())) return;
    }
  }
  logits<Engine, Storage>(exec, all, gemm::rows<T, Space>(x), weight, set, d);
  decide<Storage>(exec, size, set, pad, d, s);
}

/// dq [T, K] -> dh [T, E], the gradient of all that depends on the logits (before the softcap). Padding gets zeros.
template <class Exec, class Real, class Space>
void backward(const Exec& exec, const problem& size, const settings& set, const padding<Space>& pad,
              const decision<Real, Space>& d, const statistics<Real, Space>& s, double loss_scale,
              const Kokkos::View<const Real**, Kokkos::LayoutRight, Space>& dq,
              const Kokkos::View<Real**, Kokkos::LayoutRight, Space>& dh) {
  const detail::backward_kernel<Real, Space> kernel{
      size, set, pad, d, s.dp, s.dm, s.result, static_cast<Real>(loss_scale), dq, dh};
  if constexpr (gpu_space<Exec>) {
    const auto run = [&]<int Values>(std::integral_constant<int, Values>) {
      gpu::for_each_warp("switchyard::router::backward", exec, size.groups * size.tokens,
                         detail::backward_rows<Real, Space, Values>{kernel});
    };
    if (size.experts <= detail::few_experts) return run(detail::few_values());
    if (size.experts <= detail::more_experts) return run(detail::more_values());
  }
  for_each_index("switchyard::router::backward", exec, static_cast<std::int64_t>(d.lse.extent(0)), kernel);
}

} // namespace switchyard::router

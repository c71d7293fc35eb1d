// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/combine/detail/combine_kernels.hpp>
#include <switchyard/combine/detail/token_rows.hpp>
#include <switchyard/core/for_each_index.hpp>

/// \file
/// Combine, forward and backward:
///
///   y_t    = T(sum_j q_tj o[row(t, j)])          over the choices with a slot, in order of j; exactly 0 without any
///   do_row = T(q_tj dy_t),   dq_tj = <dy_t, o[row(t, j)]>
///
/// o has been rounded to T before the gate. Every token has its own rows, so nothing is ever added atomically. A token
/// with one choice has one row, so the last product of the experts can write y itself (experts::token_output).

namespace switchyard::combine {

/// o [rows, M] and gates -> y [T, M]. Does not communicate, allocate or fence; deterministic.
template <class Exec, class T, class Real, class Space>
void forward(const Exec& exec, const router::problem& size, const router::settings& set,
             const router::decision<Real, Space>& d, const dispatch::slot_map<Space>& map,
             const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& o,
             const Kokkos::View<T**, Kokkos::LayoutRight, Space>& y) {
  if constexpr (gpu_space<Exec>) {
    const auto run = [&]<int N>(std::integral_constant<int, N>) {
      gpu::for_each_warp("switchyard::combine::forward", exec, size.groups * size.tokens,
                         detail::forward_rows<T, Real, Space, N>{{size, set, d, map}, d.gate, o, y});
    };
    return gpu::in_wide_pieces(y) && gpu::in_wide_pieces(o) ? run(gpu::pieces<T>()) : run(gpu::pieces_of_one());
  } else {
    for_each_index("switchyard::combine::forward", exec, size.groups * size.tokens,
                   detail::forward_kernel<T, Real, Space>{size, set, d, map, o, y});
  }
}

/// What is left of forward() where every token has one choice and the product that made o has written q o to y: tokens
/// without a slot (=) 0. As forward.
template <class Exec, class T, class Real, class Space>
void zero_dropped(const Exec& exec, const router::problem& size, const router::decision<Real, Space>& d,
                  const Kokkos::View<T**, Kokkos::LayoutRight, Space>& y) {
  if constexpr (gpu_space<Exec>)
    gpu::for_each_warp("switchyard::combine::zero_dropped", exec, size.groups * size.tokens,
                       detail::dropped_rows<T, Space>{d.slot, y});
  else
    for_each_index("switchyard::combine::zero_dropped", exec, size.groups * size.tokens,
                   detail::dropped_kernel<T, Space>{d.slot, y});
}

/// dy [T, M], o [rows, M] -> do [rows, M] (the rows in use), dq [T, K]. As forward. Where o has some of the M columns
/// only, those from `first`, do has the same and dq is their part of the sum. pieces: dq [pieces T, K] gets the sum
/// over the columns piece by piece, each for all tokens.
template <class Exec, class T, class Real, class Space>
void backward(const Exec& exec, const router::problem& size, const router::settings& set,
              const router::decision<Real, Space>& d, const dispatch::slot_map<Space>& map,
              const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& dy,
              const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& o,
              const Kokkos::View<T**, Kokkos::LayoutRight, Space>& d_o,
              const Kokkos::View<Real**, Kokkos::LayoutRight, Space>& dq, std::int64_t first = 0,
              std::int64_t pieces = 1) {
  if constexpr (gpu_space<Exec>)
    if (pieces == 1) {
      const auto run = [&]<int N>(std::integral_constant<int, N>) {
        gpu::for_each_warp(
            "switchyard::combine::backward", exec, size.groups * size.tokens,
            detail::backward_rows<T, Real, Space, N>{{size, set, d, map}, d.gate, dy, o, d_o, dq, first});
      };
      return gpu::in_wide_pieces(dy, first) && gpu::in_wide_pieces(o) && gpu::in_wide_pieces(d_o)
                 ? run(gpu::pieces<T>())
                 : run(gpu::pieces_of_one());
    }
  for_each_index("switchyard::combine::backward", exec, size.groups * size.tokens,
                 detail::backward_kernel<T, Real, Space>{size, set, d, map, dy, o, d_o, dq, first, pieces});
}

/// How many expert outputs of tokens here hold a number that is not finite. Waits for exec.
template <class Exec, class T, class Real, class Space>
std::int64_t count_nonfinite(const Exec& exec, const router::problem& size, const router::settings& set,
                             const router::decision<Real, Space>& d, const dispatch::slot_map<Space>& map,
                             const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& o) {
  std::int64_t count = 0;
  Kokkos::parallel_reduce("switchyard::combine::count_nonfinite", indices(exec, size.groups * size.tokens),
                          detail::nonfinite_kernel<T, Real, Space>{size, set, d, map, o}, count);
  return count;
}

} // namespace switchyard::combine

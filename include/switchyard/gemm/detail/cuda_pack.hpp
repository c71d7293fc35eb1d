// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/tile.hpp>

namespace switchyard::gemm::detail {

/// W [groups, K, N] -> to [groups * step, N, k_stride] from k_begin on, matrix group * step + half; or, where W is
/// already [groups, N, K] (transposed), its rows as they are. 32 x 32 numbers per team, through its memory, so that
/// both sides are read and written along rows.
template <class T, class W, class Space>
struct pack_columns_kernel {
  static constexpr int Tile = 32, Rows = 8;

  Kokkos::View<const W***, Kokkos::LayoutRight, Space> source;
  Kokkos::View<T*, Space> to;
  std::int64_t n_count, k_stride, k_begin, k_count, step, half;
  bool transposed;

  KOKKOS_FUNCTION static std::size_t scratch_bytes() { return Tile * (Tile + 1) * sizeof(T); }

  template <class Member>
  KOKKOS_FUNCTION void operator()(const Member& member) const {
    const std::int64_t k_tiles = ceil_div(k_count, Tile), n_tiles = ceil_div(n_count, Tile);
    const std::int64_t task = member.league_rank();
    const std::int64_t k = task % k_tiles * Tile, n = task / k_tiles % n_tiles * Tile, g = task / k_tiles / n_tiles;
    T* const tile = static_cast<T*>(member.team_shmem().get_shmem(static_cast<std::ptrdiff_t>(scratch_bytes())));
    const std::int64_t outer = transposed ? n : k, inner = transposed ? k : n;
    const std::int64_t outer_end = transposed ? n_count : k_count, inner_end = transposed ? k_count : n_count;
    Kokkos::parallel_for(Kokkos::TeamThreadRange(member, Tile * Tile), [&](int i) {
      const std::int64_t o = outer + i / Tile, c = inner + i % Tile;
      if (o < outer_end && c < inner_end) tile[i / Tile * (Tile + 1) + i % Tile] = T(source(g, o, c));
    });
    member.team_barrier();
    Kokkos::parallel_for(Kokkos::TeamThreadRange(member, Tile * Tile), [&](int i) {
      const int in_n = i / Tile, in_k = i % Tile;
      if (n + in_n >= n_count || k + in_k >= k_count) return;
      to(((g * step + half) * n_count + n + in_n) * k_stride + k_begin + k + in_k) =
          transposed ? tile[in_n * (Tile + 1) + in_k] : tile[in_k * (Tile + 1) + in_n];
    });
  }
};

/// See pack of the engines.
template <class T, class Exec, class View>
void pack_columns(const Exec& exec, const View& weight, orientation how,
                  const Kokkos::View<T*, typename Exec::memory_space>& to, std::int64_t groups, std::int64_t n_count,
                  std::int64_t k_stride, std::int64_t row_begin, std::int64_t step, std::int64_t half) {
  using kernel = pack_columns_kernel<T, typename View::non_const_value_type, typename Exec::memory_space>;
  const bool transposed = how == orientation::transposed;
  const std::int64_t k_count = static_cast<std::int64_t>(weight.extent(transposed ? 2 : 1));
  const std::int64_t tasks = groups * ceil_div(k_count, kernel::Tile) * ceil_div(n_count, kernel::Tile);
  if (tasks == 0) return;
  Kokkos::parallel_for("switchyard::gemm::pack",
                       Kokkos::TeamPolicy<Exec>(exec, static_cast<int>(tasks), Kokkos::AUTO)
                           .set_scratch_size(0, Kokkos::PerTeam(kernel::scratch_bytes() + 16)),
                       kernel{weight, to, n_count, k_stride, row_begin, k_count, step, half, transposed});
}

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <concepts>
#include <switchyard/gemm/detail/tile.hpp>

// What the engines of the host share: tasks with memory of their own.

namespace switchyard::gemm::detail {

template <class Exec>
concept host_space = Kokkos::is_execution_space_v<Exec> && std::same_as<typename Exec::memory_space, Kokkos::HostSpace>;

inline std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return ceil_div(n, unit) * unit;
}

/// to = T(from)
template <class T, class A>
void convert(const A* KOKKOS_RESTRICT from, std::int64_t n, T* KOKKOS_RESTRICT to) {
  for (std::int64_t j = 0; j < n; ++j) to[j] = T(from[j]);
}

/// Tasks with memory of their own, which the execution space keeps from one launch to the next; whoever is done early
/// takes tasks of others.
template <class Exec>
using scratch_policy = Kokkos::TeamPolicy<Exec, Kokkos::Schedule<Kokkos::Dynamic>>;

template <class Exec>
scratch_policy<Exec> make_scratch_policy(const Exec& exec, std::int64_t tasks, std::size_t bytes) {
  return scratch_policy<Exec>(exec, static_cast<int>(tasks), 1)
      .set_scratch_size(1, Kokkos::PerTeam(bytes + 64))
      .set_chunk_size(1);
}

template <class Exec>
struct no_task {
  void operator()(const typename scratch_policy<Exec>::member_type&) const {}
};

/// Have exec get that memory now, so that products allocate nothing.
template <class Exec>
void reserve_scratch(const Exec& exec, std::size_t bytes) {
  Kokkos::parallel_for("switchyard::gemm::reserve", make_scratch_policy(exec, 1, bytes), no_task<Exec>());
}

template <class Member>
char* scratch_of(const Member& member, std::size_t bytes) {
  return static_cast<char*>(member.team_scratch(1).get_shmem_aligned(static_cast<std::ptrdiff_t>(bytes), 64));
}

/// Bytes of `count` numbers, in whole cache lines.
template <class T>
std::size_t line_bytes(std::int64_t count) {
  return static_cast<std::size_t>(round_up(count * static_cast<std::int64_t>(sizeof(T)), 64));
}

/// How many parts to cut each of `tasks` into, at most `limit`, so that all threads have something to do.
template <class Exec>
std::int64_t parts_for(const Exec& exec, std::int64_t tasks, std::int64_t limit, int per_thread) {
  return std::clamp<std::int64_t>(ceil_div(exec.concurrency() * per_thread, std::max<std::int64_t>(tasks, 1)), 1,
                                  limit);
}

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/types.hpp>

namespace switchyard::model::detail {

/// Kokkos gives a team 20 MiB at most.
inline constexpr std::size_t task_memory_limit = std::size_t{16} << 20;

/// Tasks with memory of their own, which the execution space keeps from one launch to the next.
template <class Exec>
using task_policy_type = Kokkos::TeamPolicy<Exec, Kokkos::Schedule<Kokkos::Dynamic>>;

template <class Exec>
task_policy_type<Exec> task_policy(const Exec& exec, std::int64_t count, std::size_t bytes) {
  return task_policy_type<Exec>(exec, static_cast<int>(count), 1)
      .set_scratch_size(1, Kokkos::PerTeam(bytes + 64))
      .set_chunk_size(1);
}

template <class Exec>
struct idle_task {
  KOKKOS_FUNCTION void operator()(const typename task_policy_type<Exec>::member_type&) const {}
};

/// Have exec get that memory now.
template <class Exec>
void reserve_task_memory(const Exec& exec, std::size_t bytes) {
  Kokkos::parallel_for("switchyard::model::reserve", task_policy(exec, 1, bytes), idle_task<Exec>());
}

/// A task's memory, handed out piece by piece. Pieces begin at cache lines where their sizes are multiples of one.
template <class R>
struct task_memory {
  R* next;

  template <class Member>
  KOKKOS_FUNCTION task_memory(const Member& member, std::size_t bytes)
      : next(static_cast<R*>(member.team_scratch(1).get_shmem_aligned(static_cast<std::ptrdiff_t>(bytes), 64))) {}
  KOKKOS_FUNCTION R* take(std::int64_t count) {
    R* here = next;
    next += count;
    return here;
  }
};

} // namespace switchyard::model::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string>
#include <switchyard/core/warp.hpp>
#include <type_traits>

/// \file
/// Execution spaces whose threads step in warps of 32, and how kernels over warps and blocks are launched there.

namespace switchyard {

namespace detail {
template <class Exec>
struct has_warps : std::false_type {};
#if defined(KOKKOS_ENABLE_CUDA)
template <>
struct has_warps<Kokkos::Cuda> : std::true_type {};
#endif
} // namespace detail

/// Kernels written for warps (core/warp.hpp) run here; elsewhere there are those written for one thread.
template <class Exec>
concept gpu_space = detail::has_warps<Exec>::value;

namespace gpu {

/// kernel(warp, i) for every i < n, each by a warp of its own; with memory, kernel(warp, i, its shared memory).
template <class Kernel, int Warps>
struct warp_tasks {
  Kernel kernel;
  std::int64_t n;
  int bytes; // of shared memory per warp, a multiple of 16
  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
#if defined(KOKKOS_ENABLE_CUDA)
    const std::int64_t i = static_cast<std::int64_t>(team.league_rank()) * Warps + team.team_rank();
    if constexpr (std::is_invocable_v<const Kernel&, const device_warp&, std::int64_t>) {
      if (i < n) kernel(device_warp(), i);
    } else {
      auto* shared = static_cast<std::byte*>(team.team_scratch(0).get_shmem_aligned(Warps * bytes, 16));
      if (i < n) kernel(device_warp(), i, shared + team.team_rank() * bytes);
    }
#else
    (void)team;
#endif
  }
};

/// kernel(block, i, shared memory) for every i < n.
template <class Kernel, int Threads>
struct block_tasks {
  Kernel kernel;
  int bytes;
  template <class Team>
  KOKKOS_FUNCTION void operator()(const Team& team) const {
#if defined(KOKKOS_ENABLE_CUDA)
    kernel(device_block<Threads>(), static_cast<std::int64_t>(team.league_rank()),
           static_cast<std::byte*>(team.team_scratch(0).get_shmem_aligned(bytes, 16)));
#else
    (void)team;
#endif
  }
};

namespace detail {
// A team of an even number of warps: behind the words that Kokkos keeps per warp, shared memory is aligned to 16 bytes.
// The hint passes the kernel's data with its launch in every version of Kokkos; the other way is a buffer for whose
// last reader the host would wait.
template <class Exec, int Threads, class Functor>
void launch(const char* label, const Exec& exec, std::int64_t teams, int bytes, const Functor& functor) {
  static_assert(Threads % (2 * warp_size) == 0);
  if (teams == 0) return;
  Kokkos::TeamPolicy<Exec, Kokkos::LaunchBounds<Threads>> policy(exec, static_cast<int>(teams), Threads / warp_size,
                                                                 warp_size);
  if (bytes > 0) policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 16));
  Kokkos::parallel_for(
      label, Kokkos::Experimental::require(policy, Kokkos::Experimental::WorkItemProperty::HintLightWeight), functor);
}
} // namespace detail

/// Can blocks here copy beside their work, multiply matrices of bfloat16, and share this much memory?
template <class Exec>
bool multiplies_bfloat16(const Exec& exec, int bytes) {
  if constexpr (gpu_space<Exec>) {
    const auto& device = exec.cuda_device_prop();
#if KOKKOS_VERSION >= 50200
    const std::size_t most = device.sharedMemPerBlockOptin;
#else // which may launch no team with more than the 48 KiB that nobody has to ask for
    const std::size_t most = device.sharedMemPerBlock;
#endif
    return device.major >= 8 && static_cast<std::size_t>(bytes) + 1024 <= most;
  } else {
    static_cast<void>(exec);
    static_cast<void>(bytes);
    return false;
  }
}

/// Queues kernel for n warps, `Warps` to a block. Neither fences nor allocates.
template <int Warps = 8, class Exec, class Kernel>
void for_each_warp(const char* label, const Exec& exec, std::int64_t n, const Kernel& kernel, int bytes = 0) {
  const int aligned = (bytes + 15) / 16 * 16;
  detail::launch<Exec, Warps * warp_size>(label, exec, (n + Warps - 1) / Warps, Warps * aligned,
                                          warp_tasks<Kernel, Warps>{kernel, n, aligned});
}

/// Queues kernel for n blocks of `Threads` threads. Neither fences nor allocates.
template <int Threads, class Exec, class Kernel>
void for_each_block(const char* label, const Exec& exec, std::int64_t n, int bytes, const Kernel& kernel) {
  detail::launch<Exec, Threads>(label, exec, n, bytes, block_tasks<Kernel, Threads>{kernel, bytes});
}

} // namespace gpu
} // namespace switchyard

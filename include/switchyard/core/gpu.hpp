// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string>
#include <switchyard/core/error.hpp>
#include <switchyard/core/for_each_index.hpp>
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

namespace detail {
// A team of an even number of warps: behind the words that Kokkos keeps per warp, shared memory is aligned to 16 bytes.
template <class Exec, int Threads, class Functor>
void launch(const char* label, const Exec& exec, std::int64_t teams, int bytes, const Functor& functor) {
  static_assert(Threads % (2 * warp_size) == 0);
  static_assert(sizeof(Functor) <= 4096 - 256, "switchyard: a launch takes 4 KiB, and Kokkos adds its policy");
  if (teams == 0) return;
  Kokkos::TeamPolicy<Exec, Kokkos::LaunchBounds<Threads>> policy(exec, static_cast<int>(teams), Threads / warp_size,
                                                                 warp_size);
  if (bytes > 0) policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 16));
  Kokkos::parallel_for(label, light_weight(policy), functor);
}

#if defined(KOKKOS_ENABLE_CUDA)
template <class Kernel, int Threads>
__global__ void __launch_bounds__(Threads) block_on_cuda(const __grid_constant__ Kernel kernel) {
  extern __shared__ uint4 memory_of_block[]; // aligned to 16 bytes
  kernel(device_block<Threads>(), static_cast<std::int64_t>(blockIdx.x), reinterpret_cast<std::byte*>(memory_of_block));
}

// Not by Kokkos, which before 5.2 launches no team with more than the 48 KiB of memory that nobody has to ask for.
template <int Threads, class Kernel>
void launch_blocks(const char* label, const Kokkos::Cuda& exec, std::int64_t n, int bytes, const Kernel& kernel) {
  static_assert(sizeof(Kernel) <= 4096, "switchyard: a launch takes 4 KiB");
  if (n == 0) return;
  const auto require_success = [label](cudaError_t result) {
    switchyard::detail::require(result == cudaSuccess, label, ": ", cudaGetErrorString(result));
  };
  std::uint64_t id = 0;
  const bool watched = Kokkos::Tools::profileLibraryLoaded();
  if (watched) Kokkos::Tools::beginParallelFor(label, Kokkos::Tools::Experimental::device_id(exec), &id);
  require_success(cudaSetDevice(exec.cuda_device()));
  if (bytes > 48 << 10)
    require_success(
        cudaFuncSetAttribute(block_on_cuda<Kernel, Threads>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  block_on_cuda<Kernel, Threads>
      <<<static_cast<unsigned>(n), Threads, static_cast<std::size_t>(bytes), exec.cuda_stream()>>>(kernel);
  require_success(cudaGetLastError());
  if (watched) Kokkos::Tools::endParallelFor(id);
}
#endif
} // namespace detail

/// Can blocks here copy beside their work, multiply matrices of bfloat16, and share this much memory?
template <class Exec>
bool multiplies_bfloat16(const Exec& exec, int bytes) {
  if constexpr (gpu_space<Exec>) {
    const auto& device = exec.cuda_device_prop();
    return device.major >= 8 && static_cast<std::size_t>(bytes) <= device.sharedMemPerBlockOptin;
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

/// Queues kernel(block, i, shared memory) for every i < n, each by a block of `Threads` threads. Neither fences nor
/// allocates.
template <int Threads, class Exec, class Kernel>
void for_each_block(const char* label, const Exec& exec, std::int64_t n, int bytes, const Kernel& kernel) {
  static_assert(gpu_space<Exec>);
#if defined(KOKKOS_ENABLE_CUDA)
  detail::launch_blocks<Threads>(label, exec, n, bytes, kernel);
#else
  (void)label, (void)exec, (void)n, (void)bytes, (void)kernel;
#endif
}

} // namespace gpu
} // namespace switchyard

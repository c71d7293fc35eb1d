// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>

#if defined(KOKKOS_ENABLE_CUDA)

#include <algorithm>
#include <switchyard/core/error.hpp>
#include <switchyard/gemm/detail/cuda_machine.hpp>
#include <switchyard/gemm/rows.hpp>

namespace switchyard::gemm::detail {

inline void require_success(cudaError_t result, const char* what) {
  switchyard::detail::require(result == cudaSuccess, what, ": ", cudaGetErrorString(result));
}

/// Blocks stay and take one piece of work after another. Two would not fit on a multiprocessor.
template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads, 1) run_on_cuda(const __grid_constant__ Kernel kernel) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800 // older: the engines do not launch it
  kernel.template run<cuda_machine>();
#endif
}

/// Queues the kernel on exec, for `work` pieces of work, under a label that Kokkos' tools see. Neither waits nor
/// allocates; may be captured in a graph.
template <class Kernel>
void launch(const Kokkos::Cuda& exec, const char* label, std::int64_t work, const Kernel& kernel) {
  if (work == 0) return;
  constexpr int bytes = static_cast<int>(Kernel::shared_bytes + 1024); // the first multiple of 1024 is looked for
  const auto blocks = std::min<std::int64_t>(work, exec.cuda_device_prop().multiProcessorCount);
  std::uint64_t id = 0;
  const bool watched = Kokkos::Tools::profileLibraryLoaded();
  if (watched) Kokkos::Tools::beginParallelFor(label, Kokkos::Tools::Experimental::device_id(exec), &id);
  require_success(cudaSetDevice(exec.cuda_device()), label);
  require_success(cudaFuncSetAttribute(run_on_cuda<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), label);
  run_on_cuda<Kernel><<<static_cast<unsigned>(blocks), Kernel::threads, bytes, exec.cuda_stream()>>>(kernel);
  require_success(cudaGetLastError(), label);
  if (watched) Kokkos::Tools::endParallelFor(id);
}

/// May chunks of 16 bytes of these rows be copied as they lie?
template <class A, class Space>
bool copies_directly(const rows<A, Space>& a) {
  return reinterpret_cast<std::uintptr_t>(a.values.data()) % 16 == 0 && a.values.stride(0) * sizeof(A) % 16 == 0;
}

} // namespace switchyard::gemm::detail

#endif

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <string>

/// \file
/// How kernels with an iteration per number are launched, on every execution space. Those of warps: core/gpu.hpp.

namespace switchyard {

/// The policy with a hint for CUDA: the kernel's data go with its launch, in every version of Kokkos. Without it, and
/// without grid constants, 512 bytes or more go through one buffer, for whose last reader the host waits.
template <class Policy>
auto light_weight(const Policy& policy) {
#if defined(KOKKOS_ENABLE_CUDA)
  return Kokkos::Experimental::require(policy, Kokkos::Experimental::WorkItemProperty::HintLightWeight);
#else
  return policy; // the hint makes other types of everything, a tenth of the time that a layer takes to compile
#endif
}

/// [0, n) on exec.
template <class Exec>
auto indices(const Exec& exec, std::int64_t n) {
  return light_weight(Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, n));
}

/// Queues kernel(i) for every i < n. Neither fences nor allocates.
template <class Exec, class Kernel>
void for_each_index(const std::string& label, const Exec& exec, std::int64_t n, const Kernel& kernel) {
  static_assert(sizeof(Kernel) <= 4096 - 256, "switchyard: a launch takes 4 KiB, and Kokkos adds its policy");
  Kokkos::parallel_for(label, indices(exec, n), kernel);
}

} // namespace switchyard

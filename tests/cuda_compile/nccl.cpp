// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/nccl.hpp>

// Exchanges of what lies in the memory of GPUs, over NCCL.

namespace sy = switchyard;
using view = Kokkos::View<double*, Kokkos::CudaSpace>;
static_assert(sy::buffer_memory_of<Kokkos::CudaSpace> == sy::buffer_memory::device);
static_assert(sy::buffer_memory_of<Kokkos::CudaUVMSpace> == sy::buffer_memory::host);
static_assert(sy::buffer_memory_of<Kokkos::SharedHostPinnedSpace> == sy::buffer_memory::host);

void exchange(const Kokkos::Cuda& exec, const sy::communicator& host, const std::vector<std::int64_t>& counts) {
  const sy::communicator comm = sy::nccl(host).split(0, "axis");
  const sy::staged<view> a(view("a", 8), comm), b(view("b", 8), comm);
  sy::all_to_all(exec, comm, a, counts, b, counts, 2);
  sy::start_all_to_all(exec, comm, a, counts, b, counts, 2).wait(exec);
  sy::all_gather(exec, comm, a, counts, 2);
  sy::start_all_gather(exec, comm, a, counts, 2).wait(exec);
  sy::reduce_scatter_sum(exec, comm, a, counts, b, view("c", 8));
  sy::all_reduce_sum(exec, comm, a, b);
}

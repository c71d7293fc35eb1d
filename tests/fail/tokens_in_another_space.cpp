// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: tokens must live where the layer's execution space can reach them
#include <switchyard/switchyard.hpp>

namespace sy = switchyard;
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace>;

// Memory that the host cannot reach, for a Kokkos that has none.
struct elsewhere : Kokkos::HostSpace {
  using memory_space = elsewhere;
  using device_type = Kokkos::Device<Kokkos::DefaultHostExecutionSpace, elsewhere>;
};

#ifdef CONTROL
using space = layer::space;
#else
using space = elsewhere;
#endif
using tokens = Kokkos::View<layer::value***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>;

void check(const Kokkos::DefaultHostExecutionSpace& exec, const layer& l, const layer::packed_type& packed,
           layer::tape_type& tape, const tokens& x) {
  l.forward(exec, packed, x, x, tape);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: tokens have the value type of the layer's precision
#include <switchyard/switchyard.hpp>

namespace sy = switchyard;
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace>;

#ifdef CONTROL
using value = sy::bfloat16;
#else
using value = float;
#endif
using tokens = Kokkos::View<value***, Kokkos::LayoutRight, layer::space>;

void check(const Kokkos::DefaultHostExecutionSpace& exec, const layer& l, const layer::packed_type& packed,
           layer::tape_type& tape, const tokens& x) {
  l.forward(exec, packed, x, x, tape);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: view_is_not_layout_right<.*LayoutLeft.*>
// expect: switchyard: tokens must be in a LayoutRight view
#include <switchyard/switchyard.hpp>

namespace sy = switchyard;
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace>;

#ifdef CONTROL
using order = Kokkos::LayoutRight;
#else
using order = Kokkos::LayoutLeft;
#endif
using tokens = Kokkos::View<layer::value***, order, layer::space>;

void check(const Kokkos::DefaultHostExecutionSpace& exec, const layer& l, const layer::packed_type& packed,
           layer::tape_type& tape, const tokens& x) {
  l.forward(exec, packed, x, x, tape);
}

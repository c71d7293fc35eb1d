// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: satisf.*precision
#include <switchyard/switchyard.hpp>

namespace sy = switchyard;

#ifdef CONTROL
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace, sy::uniform<float>>;
#else
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace, float>;
#endif
constexpr auto size = sizeof(layer);

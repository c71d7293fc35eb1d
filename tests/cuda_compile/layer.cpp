// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gate.hpp"

// The layer of one GPU.

template class sy::switch_layer<Kokkos::Cuda, precision>;
auto use_layer = use<sy::switch_layer<Kokkos::Cuda, precision>>;

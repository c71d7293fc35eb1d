// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/model.hpp>

#include "gate.hpp"

// The model of one GPU: every kernel of every operation is in one of its members.

template class sy::transformer<Kokkos::Cuda, precision>;
template class sy::text_generator<Kokkos::Cuda, precision>;

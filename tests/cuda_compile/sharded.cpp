// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gate.hpp"

// The layer on a mesh of GPUs: data parallel, then data and expert parallel.

struct data : sy::name<"data"> {};
using line = sy::mesh<sy::axis<data>>;
using group_rule = sy::split<sy::dims::group, data>;
using expert_rule = sy::split<sy::dims::experts, data>;

using data_parallel = sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule>>;
using expert_parallel = sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule, expert_rule>>;

template class sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule>>;
template class sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule, expert_rule>>;
auto use_data_parallel = use<data_parallel>;
auto use_expert_parallel = use<expert_parallel>;

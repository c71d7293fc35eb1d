// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gate.hpp"

// The layer on a mesh of GPUs: data parallel, model parallel, and everything at once. Two layouts have all the code
// there is.

struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using line = sy::mesh<sy::axis<data>, sy::axis<model>>;
using cube = sy::mesh<sy::axis<replica>, sy::axis<data>, sy::axis<model>>;
using group_rule = sy::split<sy::dims::group, data>;
using replica_rule = sy::split<sy::dims::group, replica>;
using expert_rule = sy::split<sy::dims::experts, data>;
using d_ff_rule = sy::split<sy::dims::d_ff, model>;

using data_model = sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule, d_ff_rule>>;
using everything =
    sy::switch_layer<Kokkos::Cuda, precision, cube, sy::rules<replica_rule, group_rule, expert_rule, d_ff_rule>>;

template class sy::switch_layer<Kokkos::Cuda, precision, line, sy::rules<group_rule, d_ff_rule>>;
template class sy::switch_layer<Kokkos::Cuda, precision, cube,
                                sy::rules<replica_rule, group_rule, expert_rule, d_ff_rule>>;
auto use_data_model = use<data_model>;
auto use_everything = use<everything>;

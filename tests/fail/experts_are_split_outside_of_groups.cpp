// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: experts_are_split_outside_of_groups<.*data>
// expect: switchyard: .*put the axis of the replicas first in the mesh
#include <switchyard/layer/layout.hpp>

// Where experts are replicated, the axis of the replicas is outside of the axis that splits the experts.

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct replica : sy::name<"replica"> {};

#ifdef CONTROL
using mesh = sy::mesh<sy::axis<replica>, sy::axis<data>>;
#else
using mesh = sy::mesh<sy::axis<data>, sy::axis<replica>>;
#endif
using rules = sy::rules<sy::split<sy::dims::group, replica>, sy::split<sy::dims::group, data>,
                        sy::split<sy::dims::experts, data>>;
template struct sy::switch_layout<mesh, rules>;

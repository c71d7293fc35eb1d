// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: axis_is_not_in_mesh<.*split<.*dims::group, ?stage>
// expect: switchyard: .*a rule names an axis that the mesh does not have
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct stage : sy::name<"stage"> {};

#ifdef CONTROL
using mesh = sy::mesh<sy::axis<data>, sy::axis<stage>>;
#else
using mesh = sy::mesh<sy::axis<data>>;
#endif
template struct sy::switch_layout<mesh, sy::rules<sy::split<sy::dims::group, stage>>>;

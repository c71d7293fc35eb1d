// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: experts_are_split_where_groups_are_not<.*model>
// expect: switchyard: .*experts are split over an axis that does not split
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, data>>;
#else
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, model>>;
#endif
template struct sy::switch_layout<sy::mesh<sy::axis<data>, sy::axis<model>>, rules>;

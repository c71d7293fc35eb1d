// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: d_ff_is_split_where_groups_are<.*data>
// expect: switchyard: .*every token needs all of its expert
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::d_ff, model>>;
#else
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::d_ff, data>>;
#endif
template struct sy::switch_layout<sy::mesh<sy::axis<data>, sy::axis<model>>, rules>;

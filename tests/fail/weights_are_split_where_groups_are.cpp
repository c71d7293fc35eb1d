// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: weights_are_split_where_groups_are<.*dims::heads
// expect: switchyard: .*every token needs all of them
#include <switchyard/model/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::heads, model>>;
#else
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::heads, data>>;
#endif
template struct sy::transformer_layout<sy::mesh<sy::axis<data>, sy::axis<model>>, rules>;

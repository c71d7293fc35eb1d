// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: dimension_is_split_twice<.*dims::d_ff, ?data, ?model>
// expect: switchyard: .*one dimension of a tensor is split over two mesh axes
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::d_ff, data>>;
#else
using rules = sy::rules<sy::split<sy::dims::d_ff, data>, sy::split<sy::dims::d_ff, model>>;
#endif
template struct sy::switch_layout<sy::mesh<sy::axis<data>, sy::axis<model>>, rules>;

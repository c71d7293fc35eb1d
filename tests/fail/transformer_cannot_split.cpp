// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: transformer_cannot_split<.*dims::heads
// expect: switchyard: .*a transformer cannot be split over that dimension
#include <switchyard/model/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, data>>;
#else
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::heads, model>>;
#endif
template struct sy::transformer_layout<sy::mesh<sy::axis<data>, sy::axis<model>>, rules>;

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: layer_cannot_split<.*dims::token>
// expect: switchyard: .*this layer cannot be split over that dimension
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>>;
#else
using rules = sy::rules<sy::split<sy::dims::token, data>>;
#endif
template struct sy::switch_layout<sy::mesh<sy::axis<data>>, rules>;

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: dimension_is_not_of_any_tensor<.*split<rows, ?data>
// expect: switchyard: .*a rule names a dimension that none of the layer's tensors has
#include <switchyard/layer/layout.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct rows : sy::name<"rows"> {};

#ifdef CONTROL
using rules = sy::rules<sy::split<sy::dims::group, data>>;
#else
using rules = sy::rules<sy::split<rows, data>>;
#endif
template struct sy::switch_layout<sy::mesh<sy::axis<data>>, rules>;

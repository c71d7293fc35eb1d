// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: axis_is_repeated_in_mesh<data>
// expect: switchyard: .*a mesh names the same axis twice
#include <switchyard/mesh/mesh.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

#ifdef CONTROL
template class sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
#else
template class sy::mesh<sy::axis<data, 4>, sy::axis<data, 2>>;
#endif

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: named
#include <switchyard/mesh/mesh.hpp>

namespace sy = switchyard;

#ifdef CONTROL
struct data : sy::name<"data"> {};
#else
struct data {};
#endif
template class sy::mesh<sy::axis<data>>;

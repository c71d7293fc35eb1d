// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: an axis has at least one rank
#include <switchyard/mesh/mesh.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};

#ifdef CONTROL
template struct sy::axis<data, 1>;
#else
template struct sy::axis<data, 0>;
#endif

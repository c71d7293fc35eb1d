// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: nodiscard
#include <switchyard/mesh/tensor.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
#pragma GCC diagnostic error "-Wunused-result"
using mesh = sy::mesh<sy::axis<data, 4>>;
using sums = sy::tensor<double, mesh, sy::dimensions<dims::d_ff>, sy::placements<sy::P>>;
sums make();

#ifdef CONTROL
void use() {
  static_cast<void>(make());
}
#else
void use() {
  make();
}
#endif

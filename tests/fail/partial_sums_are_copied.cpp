// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: partial_sums_are_moved_not_copied
#include <switchyard/mesh/tensor.hpp>

namespace sy = switchyard;
struct data : sy::name<"data"> {};
using mesh = sy::mesh<sy::axis<data, 4>>;
using sums = sy::tensor<double, mesh, sy::dimensions<sy::dims::d_ff>, sy::placements<sy::P>>;

#ifdef CONTROL
sums use(sums x) {
  return x;
}
#else
sums use(const sums& x) {
  return x;
}
#endif

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: nonlinear_on_partial_sums<.*P>
// expect: switchyard: .*a function is applied to partial sums
#include <switchyard/mesh/elementwise.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
template <class Placement, class D = dims::d_ff>
using row = sy::tensor<double, mesh, sy::dimensions<D>, sy::placements<sy::R, Placement>>;
const Kokkos::DefaultHostExecutionSpace exec;

#ifdef CONTROL
using product = row<sy::R>;
#else
using product = row<sy::P>;
#endif
struct relu {
  KOKKOS_FUNCTION double operator()(double x) const { return x > 0 ? x : 0; }
};
auto use(const product& x) {
  return sy::map(exec, relu(), x);
}

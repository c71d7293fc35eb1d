// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: not_a_gradient_of<
// expect: switchyard: .*a gradient has the mesh and the dimensions
#include <switchyard/mesh/reshard.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
template <class A, class B>
using row = sy::tensor<double, mesh, sy::dimensions<dims::d_ff>, sy::placements<A, B>>;
using split = sy::S<dims::d_ff>;
const Kokkos::DefaultHostExecutionSpace exec;

#ifdef CONTROL
using weight = row<split, sy::R>;
#else
using weight = sy::tensor<double, mesh, sy::dimensions<dims::d_model>, sy::placements<sy::R, sy::R>>;
#endif
auto use(row<sy::P, sy::R> dw) {
  return sy::gradient_of<weight>(exec, std::move(dw));
}

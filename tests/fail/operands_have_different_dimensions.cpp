// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: operands_have_different_dimensions<
// expect: switchyard: .*the same dimensions in the same order
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
using other = row<sy::R>;
#else
using other = row<sy::R, dims::d_model>;
#endif
auto use(const row<sy::R>& a, const other& b) {
  return sy::add(exec, a, b);
}

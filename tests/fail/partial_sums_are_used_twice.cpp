// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: partial_sums_are_used_twice<.*P>
// expect: switchyard: .*hand them over with std::move
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
auto use(row<sy::R, sy::P> x) {
  return sy::reshard<sy::placements<sy::R, sy::R>>(exec, std::move(x));
}
#else
auto use(row<sy::R, sy::P> x) {
  return sy::reshard<sy::placements<sy::R, sy::R>>(exec, x);
}
#endif

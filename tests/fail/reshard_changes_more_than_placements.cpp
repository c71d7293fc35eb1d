// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: reshard_changes_more_than_placements<
// expect: switchyard: .*changes where a tensor lies and nothing else
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
using to = row<sy::R, split>;
#else
using to = sy::tensor<float, mesh, sy::dimensions<dims::d_ff>, sy::placements<sy::R, split>>;
#endif
using moved = sy::resharded<row<sy::R, sy::R>, to>;
constexpr auto size = sizeof(moved);

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: inner_split_is_in_the_way<.*dims::d_ff, ?data, ?model>
// expect: switchyard: .*gather it over the inner axis first
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
using to = row<split, sy::R>;
#else
using to = row<sy::R, split>;
#endif
constexpr auto plan = sy::plan_of<row<split, split>, to>;

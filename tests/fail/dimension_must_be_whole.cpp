// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: dimension_must_be_whole<.*S<.*d_ff>.*, ?switchyard::dims::d_ff>
// expect: switchyard: .*an operation along a dimension needs it whole
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
using logits = row<sy::R>;
#else
using logits = row<sy::S<dims::d_ff>>;
#endif
struct running_sum {
  template <class X, class Y>
  KOKKOS_FUNCTION void operator()(const X& x, const Y& y) const {
    for (std::int64_t i = 0; i < x.size(); ++i) y[i] = x[i] + (i > 0 ? y[i - 1] : 0);
  }
};
auto use(const logits& x) {
  return sy::along<dims::d_ff>(exec, running_sum(), x);
}

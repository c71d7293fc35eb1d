// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: einsum_of_partial_sums<model, ?switchyard::P
// expect: switchyard: .*an operand of einsum holds partial sums
#include <switchyard/mesh/einsum.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
template <class A, class B, class... D>
using matrix = sy::tensor<double, mesh, sy::dimensions<D...>, sy::placements<A, B>>;
using b = matrix<sy::R, sy::S<dims::d_model>, dims::d_model, dims::d_ff>;

#ifdef CONTROL
using a = matrix<sy::R, sy::S<dims::d_model>, dims::token, dims::d_model>;
#else
using a = matrix<sy::R, sy::P, dims::token, dims::d_model>;
#endif
using out = sy::einsum_t<double, a, b, dims::token, dims::d_ff>;
constexpr auto size = sizeof(out);

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: einsum_operands_are_split_apart<model, ?switchyard::S<.*d_model>, ?switchyard::R>
// expect: switchyard: .*split over this axis in one of them only
#include <switchyard/mesh/einsum.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
template <class A, class B, class... D>
using matrix = sy::tensor<double, mesh, sy::dimensions<D...>, sy::placements<A, B>>;
using a = matrix<sy::R, sy::S<dims::d_model>, dims::token, dims::d_model>;

#ifdef CONTROL
using b = matrix<sy::R, sy::S<dims::d_model>, dims::d_model, dims::d_ff>;
#else
using b = matrix<sy::R, sy::R, dims::d_model, dims::d_ff>;
#endif
using out = sy::einsum_t<double, a, b, dims::token, dims::d_ff>;
constexpr auto size = sizeof(out);

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: einsum_sums_one_operand_alone<.*dims::token,
// expect: switchyard: .*leaves out a dimension that only one operand has
#include <switchyard/mesh/einsum.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
template <class A, class B, class... D>
using matrix = sy::tensor<double, mesh, sy::dimensions<D...>, sy::placements<A, B>>;
using a = matrix<sy::R, sy::R, dims::token, dims::d_model>;
using b = matrix<sy::R, sy::R, dims::d_model, dims::d_ff>;

#ifdef CONTROL
using out = sy::einsum_t<double, a, b, dims::token, dims::d_ff>;
#else
using out = sy::einsum_t<double, a, b, dims::d_ff>;
#endif
constexpr auto size = sizeof(out);

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: operands_are_on_different_meshes<.*axis<data, ?4.*axis<data, ?2
// expect: switchyard: .*two tensors of one operation live on different meshes
#include <switchyard/mesh/einsum.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
template <std::int64_t Ranks>
using vector = sy::tensor<double, sy::mesh<sy::axis<data, Ranks>>, sy::dimensions<dims::d_ff>, sy::placements<sy::R>>;

#ifdef CONTROL
using other = vector<4>;
#else
using other = vector<2>;
#endif
using out = sy::einsum_t<double, vector<4>, other>;
constexpr auto size = sizeof(out);

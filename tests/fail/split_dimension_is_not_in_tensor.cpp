// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: split_dimension_is_not_in_tensor<.*dimensions<.*S<.*dims::heads>
// expect: switchyard: .*a placement splits a dimension that the tensor does not have
#include <switchyard/mesh/placements.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;

template <class Split>
constexpr bool lies =
    sy::detail::tensor_rules<mesh, sy::dimensions<dims::d_model, dims::d_ff>, sy::placements<sy::R, Split>>::ok;

#ifdef CONTROL
static_assert(lies<sy::S<dims::d_ff>>);
#else
static_assert(lies<sy::S<dims::heads>>);
#endif

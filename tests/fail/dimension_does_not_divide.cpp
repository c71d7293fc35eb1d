// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: dimension_does_not_divide<.*dimension<.*dims::d_ff, ?6
// expect: switchyard: .*not a multiple of the extents of the mesh axes
#include <switchyard/mesh/placements.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;

template <class D> // 4 x 2 parts
constexpr bool lies =
    sy::detail::tensor_rules<mesh, sy::dimensions<D>, sy::placements<sy::S<dims::d_ff>, sy::S<dims::d_ff>>>::ok;

#ifdef CONTROL
static_assert(lies<sy::dimension<dims::d_ff, 16>>);
#else
static_assert(lies<sy::dimension<dims::d_ff, 6>>);
#endif

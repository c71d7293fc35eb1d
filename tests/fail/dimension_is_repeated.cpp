// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: dimension_is_repeated<.*dimensions<.*dims::d_model>
// expect: switchyard: .*names the same dimension twice
#include <switchyard/mesh/placements.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;

#ifdef CONTROL
using shape = sy::dimensions<dims::d_model, dims::d_ff>;
#else
using shape = sy::dimensions<dims::d_model, dims::d_model>;
#endif
constexpr bool ok = sy::detail::tensor_rules<mesh, shape, sy::placements<sy::R, sy::R>>::ok;

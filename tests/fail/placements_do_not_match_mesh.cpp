// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: placements_do_not_match_mesh<.*placements<.*R
// expect: switchyard: .*one placement per axis of its mesh
#include <switchyard/mesh/placements.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;

#ifdef CONTROL
using laid = sy::placements<sy::R, sy::R>;
#else
using laid = sy::placements<sy::R>;
#endif
constexpr bool ok = sy::detail::tensor_rules<mesh, sy::dimensions<dims::d_ff>, laid>::ok;

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: axis_is_placed_twice<.*mesh<.*, ?data>
// expect: switchyard: .*an axis of the mesh is given two placements
#include <switchyard/mesh/placements.hpp>

namespace sy = switchyard;
namespace dims = sy::dims;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;

#ifdef CONTROL
using second = sy::on<model, sy::S<dims::d_ff>>;
#else
using second = sy::on<data, sy::S<dims::d_ff>>;
#endif
using laid = sy::placed<mesh, sy::on<data, sy::S<dims::experts>>, second>;

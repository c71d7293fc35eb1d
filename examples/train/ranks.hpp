// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "settings.hpp"
#include <switchyard/config.hpp>
#include <switchyard/mesh/mesh.hpp>
#include <switchyard/mesh/rules.hpp>

namespace train_example {

namespace sy = switchyard;

// One type for every layout: of replica x data x model ranks, those along replica and data share the batch, those along
// data the experts, those along model the weights.
#if SWITCHYARD_HAS_MPI
struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};
struct weights : sy::name<"model"> {};
using mesh_type = sy::mesh<sy::axis<replica>, sy::axis<data>, sy::axis<weights>>;
using rules_type = sy::rules<sy::split<sy::dims::group, replica>, sy::split<sy::dims::group, data>,
                             sy::split<sy::dims::experts, data>, sy::split<sy::dims::heads, weights>,
                             sy::split<sy::dims::d_ff, weights>, sy::split<sy::dims::vocab, weights>>;
inline mesh_type make_mesh(const settings& s, const sy::communicator& world) {
  return mesh_type(world, mesh_of(s, world.size()));
}
#else
using mesh_type = sy::mesh<>;
using rules_type = sy::rules<>;
inline mesh_type make_mesh(const settings&, const sy::communicator&) {
  return {};
}
#endif

/// Which rank holds what of a batch of `groups` routing groups, as SVG; nothing in a program without MPI.
std::string picture_of(const mesh_type& mesh, const sy::transformer_config& c, std::int64_t groups,
                       std::int64_t tokens);

} // namespace train_example

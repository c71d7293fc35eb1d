// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "trainer_on_mesh.hpp"

using namespace training_test;

// Heads, d_ff and vocabulary over an axis: Adafactor's factors and means are of whole matrices, the norm counts every
// element once, and checkpoints have every element once.

namespace {
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
using rules_type =
    sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, data>, sy::split<sy::dims::heads, model>,
              sy::split<sy::dims::d_ff, model>, sy::split<sy::dims::vocab, model>>;
using model_type = sy::transformer<Exec, sy::uniform<double>, mesh_type, rules_type>;
} // namespace

TEST_CASE("training on shared weights is training on one process", "[train]") {
  trains_as_one<model_type, 2>("weights", train::optimizer_kind::adafactor, 3,
                               {std::array<std::int64_t, 2>{ranks() / 2, 2}},
                               [](const auto& world, const auto& extents) { return mesh_type(world, extents); });
}

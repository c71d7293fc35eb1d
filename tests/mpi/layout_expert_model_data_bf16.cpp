// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "layer_on_mesh.hpp"

using namespace layer_test;

// 16-bit values travel as such; where no sum of them crosses ranks, the bytes are those of one process.

using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
using rules_type = sy::rules<group_rule, expert_rule, d_ff_rule>;
using layer = sy::switch_layer<Kokkos::DefaultExecutionSpace, sy::selective<sy::bfloat16>, mesh_type, rules_type>;

TEST_CASE("expert, model and data equals one process, selective<bfloat16>", "[layouts]") {
  every_policy_on<layer, mesh_type>("selective<bfloat16>", 0.03, shapes(false, true, true),
                                    [](const auto& world, const shape& s) {
                                      return mesh_type(world, {s.data, s.model});
                                    });
}

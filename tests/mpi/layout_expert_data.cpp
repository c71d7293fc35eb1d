// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "layer_on_mesh.hpp"

using namespace layer_test;

using mesh_type = sy::mesh<sy::axis<data>>;
using rules_type = sy::rules<group_rule, expert_rule>;
using layer = sy::switch_layer<Kokkos::DefaultExecutionSpace, sy::uniform<double>, mesh_type, rules_type>;

TEST_CASE("expert and data equals one process", "[layouts]") {
  every_policy_on<layer, mesh_type>("uniform<double>", 1e-12, shapes(false, true, false),
                                    [](const auto& world, const shape& s) { return mesh_type(world, {s.data}); });
}

TEST_CASE("failing expert_data", "[.]") { // see CMakeLists.txt
  fail_as_told<layer, mesh_type>({4});
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "model_on_mesh.hpp"

using namespace model_test;

// The batch split over two axes, the experts over the inner one: their gradients are summed over the outer one alone.

using mesh_type = sy::mesh<sy::axis<replica>, sy::axis<data>>;
using model_type = sy::transformer<Kokkos::DefaultExecutionSpace, sy::uniform<double>, mesh_type,
                                   sy::rules<replica_rule, group_rule, expert_rule>>;

TEST_CASE("a model over data, experts and replicas of them equals one process", "[models]") {
  every_job<model_type, mesh_type>("uniform<double>", 1e-12, true,
                                   [](const auto& world, std::int64_t r, std::int64_t n) {
                                     return mesh_type(world, {r, n});
                                   });
}

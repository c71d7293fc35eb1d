// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "model_on_mesh.hpp"

using namespace model_test;

// Batch and experts split over one axis, in the paper's precision: results, losses and the gradients of experts have
// the bytes of one process.

using mesh_type = sy::mesh<sy::axis<data>>;
using model_type = sy::transformer<Kokkos::DefaultExecutionSpace, sy::selective<sy::bfloat16>, mesh_type,
                                   sy::rules<group_rule, expert_rule>>;

TEST_CASE("a model over data and experts equals one process, selective<bfloat16>", "[models]") {
  every_job<model_type, mesh_type>(
      "selective<bfloat16>", 1e-5, false,
      [](const auto& world, std::int64_t, std::int64_t n) { return mesh_type(world, {n}); });
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "trainer_on_mesh.hpp"

using namespace training_test;

// The batch over two axes, the experts over the inner one.

namespace {
struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};
using mesh_type = sy::mesh<sy::axis<replica>, sy::axis<data>>;
using rules_type = sy::rules<sy::split<sy::dims::group, replica>, sy::split<sy::dims::group, data>,
                             sy::split<sy::dims::experts, data>>;
using model_type = sy::transformer<Exec, sy::uniform<double>, mesh_type, rules_type>;
} // namespace

TEST_CASE("training on a mesh is training on one process", "[train]") {
  const std::int64_t n = ranks();
  std::vector<std::array<std::int64_t, 2>> meshes;
  for (const auto& extents : std::vector<std::array<std::int64_t, 2>>{{n, 1}, {1, n}, {2, n / 2}})
    if (extents[0] * extents[1] == n) meshes.push_back(extents);
  for (const auto kind : {train::optimizer_kind::adafactor, train::optimizer_kind::adamw})
    trains_as_one<model_type>("experts", kind, 3, meshes,
                              [](const auto& world, const auto& extents) { return mesh_type(world, extents); });
}

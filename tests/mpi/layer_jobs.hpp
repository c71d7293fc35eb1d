// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "harness.hpp"
#include <cstdint>
#include <string>
#include <vector>

/// \file
/// On which meshes a layer is compared with one process, and with which jobs.

namespace layer_test {

/// A mesh shape: ranks along each axis.
struct shape {
  std::int64_t replica, data, model;
};
/// All with that many ranks; along axes that a layout does not have, one. With an axis of replicas, those without
/// replication are left to the layout that has none.
std::vector<shape> shapes(bool has_replica, bool has_data, bool has_model);

/// The jobs: every policy, with experts and groups that mostly do not divide, no group at all, one group; then all
/// tokens to one expert, and a token that is not a number.
struct named_job {
  std::string name;
  switchyard_test::job work;
};
std::vector<named_job> jobs(std::int64_t model_ranks, int canonical = 0, std::int64_t most_groups = 5);

} // namespace layer_test

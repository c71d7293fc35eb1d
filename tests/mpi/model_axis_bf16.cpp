// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "model_on_mesh.hpp"

using namespace model_test;

// Heads and d_ff over an axis, vocabulary and experts whole, in the paper's precision: parts of sums are rounded before
// they travel, so results are near those of one process; what is sent, and that ranks agree, is exact.

namespace {
struct model : sy::name<"model"> {};
using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
using model_type =
    sy::transformer<Kokkos::DefaultExecutionSpace, sy::selective<sy::bfloat16>, mesh_type,
                    sy::rules<group_rule, sy::split<sy::dims::heads, model>, sy::split<sy::dims::d_ff, model>>>;
} // namespace

TEST_CASE("a model that shares heads and d_ff, selective<bfloat16>", "[models]") {
  const model_subject *one = nullptr, *exact = nullptr;
  for (const model_subject& s : model_subjects()) {
    if (std::string(s.precision) == "selective<bfloat16>") one = &s;
    if (std::string(s.precision) == "uniform<double>") exact = &s;
  }
  REQUIRE(one != nullptr);
  REQUIRE(exact != nullptr);
  sy::traffic sent;
  const mesh_type mesh(sy::counting(sy::mpi(MPI_COMM_WORLD), sent), {ranks() / 2, 2});
  const named_job dense = shared(jobs()[2]); // a token that is routed otherwise is not near
  INFO(dense.name);
  compare<model_type>(mesh, sent, *one, dense, 0.05, exact);
}

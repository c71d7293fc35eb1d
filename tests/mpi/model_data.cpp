// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "model_on_mesh.hpp"

using namespace model_test;

// The batch split, experts whole; and what is wrong for one rank is an error of all.

using mesh_type = sy::mesh<sy::axis<data>>;
using model_type =
    sy::transformer<Kokkos::DefaultExecutionSpace, sy::uniform<double>, mesh_type, sy::rules<group_rule>>;

TEST_CASE("a model over data equals one process", "[models]") {
  every_job<model_type, mesh_type>(
      "uniform<double>", 1e-12, false,
      [](const auto& world, std::int64_t, std::int64_t n) { return mesh_type(world, {n}); });
}

TEST_CASE("models on which ranks disagree", "[models]") {
  const int n = ranks();
  if (n == 1) return;
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const mesh_type mesh(world, {n});
  const bool odd = world.rank() == n - 1;
  const auto says = [&](const std::string& part, const auto& body) {
    std::string text;
    try {
      body();
    } catch (const sy::disagreement& e) {
      text = e.what();
    }
    return everywhere(text.find(part) != std::string::npos);
  };
  const auto with = [&](const std::string& part, auto change) {
    sy::transformer_config c = small_job().config;
    if (odd) change(c);
    return says(part, [&] { const model_type made(mesh, c); });
  };
  const std::string last = " on rank " + std::to_string(n - 1);
  CHECK(with("dropout = 0.5" + last, [](auto& c) { c.dropout = 0.5; }));
  CHECK(with("vocabulary = 0" + last, [](auto& c) { c.vocabulary = 0; })); // wrong on one rank alone
  CHECK(with("experts = 0" + last, [](auto& c) { c.routing.experts = 0; }));
  const model_type model(mesh, small_job().config);
  const Kokkos::DefaultExecutionSpace exec;
  CHECK(says("batch = 3" + last, [&] { (void)model.make_tape(exec, odd ? 3 : 2, 5, 4); }));
  CHECK(says("seed = 1" + last, [&] { (void)model.init(exec, sy::seed{odd ? 1u : 2u}); }));
}

TEST_CASE("failing model", "[.]") { // one rank alone is given tokens of another length; the others wait for it
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const model_job j = small_job();
  const model_type model(mesh_type(world, {world.size()}), j.config);
  const Kokkos::DefaultExecutionSpace exec;
  auto tape = model.make_tape(exec, world.size(), 5, 4);
  const bool last = world.rank() == world.size() - 1;
  const sy::model::matrix<std::int32_t, model_type::space> source("source", 1, 5), target("target", 1, last ? 3 : 4);
  model.forward(exec, model.pack(exec, model.init(exec, sy::seed{1})), source, target, tape);
}

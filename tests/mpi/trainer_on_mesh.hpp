// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../train/trainer_checks.hpp"
#include "together.hpp"
#include <switchyard/train/resume.hpp>

/// \file
/// Training on a mesh against one process, which every rank runs for itself: the loss curve, the weights, evaluation,
/// and checkpoints that go from one to the other.

namespace training_test {

using namespace mpi_test;
using namespace switchyard_test;

using alone_type = sy::transformer<Exec, sy::uniform<double>>;

/// A name for this job's folder, or for one of each rank's own.
inline std::string name_here(const std::string& what, bool own) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return "train_" + what + "_" + std::to_string(ranks()) + (own ? "_" + std::to_string(rank) : "");
}

inline bool close(double a, double b, double bound) {
  return std::abs(a - b) <= bound * std::abs(b);
}

/// Are the weights here a part of those of one process?
template <class Trainer, class Alone>
bool weights_are(const Trainer& t, const Alone& alone, double bound) {
  const auto numbers_of = [](const auto& view) {
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
    return std::vector<double>(host.data(), host.data() + host.size());
  };
  std::map<std::string, std::vector<double>> whole;
  sy::for_each_parameter([&](const std::string& name, const auto& view) { whole[name] = numbers_of(view); },
                         alone.weights());
  bool good = true;
  t.model().for_each_parameter_slice(
      [&](const std::string& name, const sy::parameter_slice& slice, const auto& view) {
        std::vector<sy::part> where;
        for (std::size_t d = 0; d < slice.shape.size(); ++d) where.push_back({slice.offset[d], slice.extent[d]});
        good = good && mpi_test::close(numbers_of(view), cut(whole[name], slice.shape, where), whole[name], bound);
      },
      t.weights());
  return good;
}

/// Trains a model of this type on meshes of these extents, with one optimizer. `name`: of the test, for its folders.
template <class Model, std::size_t Axes, class MakeMesh>
void trains_as_one(const std::string& name, train::optimizer_kind kind, std::int64_t experts,
                   const std::vector<std::array<std::int64_t, Axes>>& meshes, const MakeMesh& make) {
  const folder f(name_here(name + "_text", true));
  const auto maker = small_text(f);
  auto c = small_training(maker);
  c.batch = 10; // in passes of 5, which do not divide
  c.micro_batches = 2;
  auto m = small_model();
  m.dropout = 0.1;
  m.routing.jitter = 0.01;
  m.routing.experts = experts;
  const auto world = sy::mpi(MPI_COMM_WORLD);
  c.optimizer.kind = kind;
  c.schedule.rate = kind == train::optimizer_kind::adamw ? 0.002 : 0.02;
  train::trainer<alone_type> alone(Exec(), alone_type(m), c);
  train::batches all(maker, alone.examples_here());
  std::vector<train::step_report> expected;
  train::evaluation middle;
  for (int step = 0; step < 50; ++step) {
    expected.push_back(alone.step(all));
    if (step == 19) middle = alone.evaluate(maker);
  }
  for (const auto& extents : meshes) {
    INFO("mesh " << extents[0] << " x " << extents[1]);
    train::trainer<Model> t(Exec(), Model(make(world, extents), m), c);
    train::batches here(maker, t.examples_here());
    bool losses = true, norms = true, evaluated = true, saved = true;
    // Saved by one process and by all, each goes on in the other.
    const std::string shared = name_here(name + "_checkpoint", false);
    const auto root = std::filesystem::temp_directory_path();
    std::filesystem::remove_all(root / shared);
    std::int64_t late = 0;
    for (std::size_t step = 0; step < 50; ++step) {
      const allocation_watch watch(false);
      const auto r = t.step(here);
      if (step > 0) late += watch.count();
      losses = losses && close(r.loss, expected[step].loss, 1e-10) && r.targets == expected[step].targets;
      norms = norms && close(r.gradient_norm, expected[step].gradient_norm, 1e-9);
      if (step != 19) continue;
      const auto e = t.evaluate(maker);
      evaluated = close(e.all.nats, middle.all.nats, 1e-10) && e.all.targets == middle.all.targets &&
                  e.all.bytes == middle.all.bytes && e.languages.size() == 2 &&
                  close(e.languages[1].loss.nats, middle.languages[1].loss.nats, 1e-10);
      train::save_run(t, root / shared);
    }
    CHECK(everywhere(late == 0));
    CHECK(everywhere(losses));
    CHECK(everywhere(norms));
    CHECK(everywhere(evaluated));
    CHECK(everywhere(weights_are(t, alone, 1e-9)));

    train::trainer<alone_type> taken(Exec(), alone_type(m), c);
    train::load_run(taken, *train::newest_checkpoint(root / shared));
    train::batches rest(maker, taken.examples_here(), taken.state().position);
    for (std::size_t step = 20; step < 30; ++step)
      saved = saved && close(taken.step(rest).loss, expected[step].loss, 1e-10);
    CHECK(everywhere(saved));
    MPI_Barrier(MPI_COMM_WORLD);
    if (world.rank() == 0) { // and back
      std::filesystem::remove_all(root / shared);
      train::save_run(taken, root / shared);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    train::load_run(t, *train::newest_checkpoint(world, root / shared));
    here.seek(t.state().position);
    bool back = t.state().step == 30;
    for (std::size_t step = 30; step < 40; ++step) back = back && close(t.step(here).loss, expected[step].loss, 1e-10);
    CHECK(everywhere(back));
    MPI_Barrier(MPI_COMM_WORLD);
    if (world.rank() == 0) std::filesystem::remove_all(root / shared);
  }
}

} // namespace training_test

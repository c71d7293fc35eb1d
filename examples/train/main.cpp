// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run.hpp"
#include <csignal>
#include <iostream>
#include <switchyard/config.hpp>
#if SWITCHYARD_HAS_MPI
#include <switchyard/mpi.hpp>
#endif

// Trains a model on text, on one process or, under mpirun, on several. train --help, docs/training.md.

namespace {
volatile std::sig_atomic_t signals = 0;

void note(int number) {
  signals = signals + 1;
  if (signals > 1) std::signal(number, SIG_DFL); // who asks a third time does not want to wait
}

/// The exit status. Errors are those of all ranks, one of them says so.
int work(int count, char** arguments, const switchyard::communicator& world) {
  try {
    train_example::settings settings;
    if (!train_example::parse(count, arguments, settings, world.rank() == 0)) return 0;
    const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
    train_example::run(settings, world);
  } catch (const std::exception& problem) {
    const std::string what = problem.what(), prefix = "switchyard: ";
    if (world.rank() == 0)
      std::cerr << "train: " << (what.starts_with(prefix) ? what.substr(prefix.size()) : what) << '\n';
    return 1;
  }
  return 0;
}
} // namespace

bool train_example::asked_to_stop() {
  return signals > 0;
}

int main(int count, char** arguments) {
  std::signal(SIGINT, note);
  std::signal(SIGTERM, note);
#if SWITCHYARD_HAS_MPI
  MPI_Init(nullptr, nullptr);
  const int status = work(count, arguments, switchyard::mpi(MPI_COMM_WORLD));
  MPI_Finalize();
  return status;
#else
  return work(count, arguments, switchyard::self());
#endif
}

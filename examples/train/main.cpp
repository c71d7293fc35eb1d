// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run.hpp"
#include <csignal>
#include <iostream>

// Trains a model on text. train --help, docs/training.md.

namespace {
volatile std::sig_atomic_t signals = 0;

void note(int number) {
  signals = signals + 1;
  if (signals > 1) std::signal(number, SIG_DFL); // who asks a third time does not want to wait
}
} // namespace

bool train_example::asked_to_stop() {
  return signals > 0;
}

int main(int count, char** arguments) {
  try {
    train_example::settings settings;
    if (!train_example::parse(count, arguments, settings)) return 0;
    std::signal(SIGINT, note);
    std::signal(SIGTERM, note);
    const Kokkos::ScopeGuard kokkos(Kokkos::InitializationSettings().set_disable_warnings(true));
    train_example::run(settings);
  } catch (const std::exception& problem) {
    const std::string what = problem.what(), prefix = "switchyard: ";
    std::cerr << "train: " << (what.starts_with(prefix) ? what.substr(prefix.size()) : what) << '\n';
    return 1;
  }
  return 0;
}

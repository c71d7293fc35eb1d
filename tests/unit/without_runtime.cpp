// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cstdio>
#include <functional>
#include <string>
#include <switchyard/switchyard.hpp>
#if SWITCHYARD_HAS_MPI
#include <switchyard/mpi.hpp>
#endif

// What is said to a program that forgot to start Kokkos or MPI. Not a Catch2 test: nothing may be running here.

namespace sy = switchyard;

namespace {

bool says(const char* expected, const std::function<void()>& call) {
  try {
    call();
  } catch (const sy::error& e) {
    if (std::string(e.what()).find(expected) != std::string::npos) return true;
    std::printf("said \"%s\" instead of \"%s\"\n", e.what(), expected);
    return false;
  }
  std::printf("no error, expected \"%s\"\n", expected);
  return false;
}

} // namespace

int main() {
  bool good = says("Kokkos is not running", [] {
    const sy::switch_layer<Kokkos::DefaultExecutionSpace, sy::uniform<double>> layer(
        {.d_model = 1, .d_ff = 1, .experts = 1});
  });
#if SWITCHYARD_HAS_MPI
  good = says("MPI is not running", [] { sy::mpi(MPI_COMM_WORLD); }) && good;
#endif
  return good ? 0 : 1;
}

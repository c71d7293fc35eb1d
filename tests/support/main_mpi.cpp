// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <Kokkos_Core.hpp>
#include <catch2/catch_session.hpp>
#include <switchyard/mpi.hpp>

// Every rank runs the same test cases and returns the same code: a failure anywhere fails the run everywhere.
int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  int failed = 0;
  {
    Kokkos::ScopeGuard kokkos;
    failed = Catch::Session().run(count, arguments);
  }
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return failed;
}

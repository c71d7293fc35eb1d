// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cstdio>
#include <switchyard/mpi.hpp>

// More than 2^31 units from each of two ranks to the other: counts beyond int. 9 GB of memory, both ranks together.

char value(std::int64_t i, int rank) {
  return static_cast<char>(i * 31 + (i >> 31) + rank);
}

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  std::int64_t wrong = 0;
  {
    const auto comm = switchyard::mpi(MPI_COMM_WORLD);
    if (comm.size() != 2) return 2;
    const int other = 1 - comm.rank();
    const std::int64_t units = (std::int64_t{1} << 31) + 4096;
    std::vector<std::int64_t> counts(2, 0);
    counts[static_cast<std::size_t>(other)] = units;
    std::vector<char> send(static_cast<std::size_t>(units)), receive(send.size());
    for (std::int64_t i = 0; i < units; ++i) send[static_cast<std::size_t>(i)] = value(i, comm.rank());
    comm.all_to_all(send.data(), counts, receive.data(), counts, 1);
    for (std::int64_t i = 0; i < units; ++i) wrong += receive[static_cast<std::size_t>(i)] != value(i, other);
    std::printf("rank %d: %lld of %lld wrong\n", comm.rank(), static_cast<long long>(wrong),
                static_cast<long long>(units));
  }
  MPI_Finalize();
  return wrong == 0 ? 0 : 1;
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cstdio>
#include <cstdlib>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mesh/mesh.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/mpi.hpp>

// A job that is meant to fail: failing throw|kill|bug|forget PHASE. One rank fails in one phase, while the others wait
// for it; the job must end by itself and say who, where and why. See failing.cmake.

namespace sy = switchyard;
struct data : sy::name<"data"> {};

int main(int count, char** arguments) {
  if (count < 3) return 2;
  MPI_Init(&count, &arguments);
  {
    const std::string how = arguments[1], where = arguments[2];
    const auto world = sy::mpi(MPI_COMM_WORLD);
    sy::fault plan{.rank = world.size() - 1, .phase = where, .call = 1};
    if (how == "kill") plan.what = sy::fault::action::kill;
    const bool planned = how == "kill" || how == "throw";
    const sy::mesh<sy::axis<data>> mesh(planned ? sy::faulting(world, plan) : world, {world.size()});
    const std::vector<std::int64_t> one(static_cast<std::size_t>(world.size()), 1);
    std::vector<char> bytes(one.size()), more(one.size());
    for (const char* phase : {"dispatch", "experts", "combine", "backward"})
      sy::run_phase(mesh.world(), phase, [&] {
        mesh.along(0).all_to_all(bytes.data(), one, more.data(), one, 1);
        if (how == "bug" && phase == where && mesh.world().rank() == 0) static_cast<void>(one.at(1000));
        if (how == "forget" && phase == where) {
          const auto handle = mesh.along(0).start_all_to_all(bytes.data(), one, more.data(), one, 1);
        }
        mesh.along(0).all_gather(bytes.data(), one, 1);
      });
  }
  MPI_Finalize();
  std::puts("ended well");
  return 0;
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cstdio>
#include <switchyard/switchyard.hpp>
#if SWITCHYARD_HAS_MPI
#include <switchyard/mpi.hpp>
#endif

// A user's program: one expert, so every gate is 1 and y = relu(x wi) wo can be checked by hand, exactly.

namespace sy = switchyard;

int main(int count, char** arguments) {
  const Kokkos::ScopeGuard kokkos(count, arguments);
  using exec_type = Kokkos::DefaultHostExecutionSpace;
  using layer_type = sy::switch_layer<exec_type>;
  const exec_type exec;
  const layer_type layer({.d_model = 2, .d_ff = 2, .experts = 1});

  auto weights = layer.init(exec, sy::seed{1});
  exec.fence("weights are written");
  weights.wi(0, 0, 0) = 1, weights.wi(0, 0, 1) = -1; // wi = (1 -1)
  weights.wi(0, 1, 0) = 2, weights.wi(0, 1, 1) = 1;  //      (2  1)
  weights.wo(0, 0, 0) = 3, weights.wo(0, 0, 1) = 0;  // wo = (3  0)
  weights.wo(0, 1, 0) = 1, weights.wo(0, 1, 1) = 5;  //      (1  5)

  using view = Kokkos::View<sy::bfloat16***, Kokkos::LayoutRight, layer_type::space>;
  view x("x", 1, 2, 2), y("y", 1, 2, 2);
  x(0, 0, 0) = sy::bfloat16(1.0f), x(0, 0, 1) = sy::bfloat16(2.0f);  // (1 2) -> (5  1) -> (16 5)
  x(0, 1, 0) = sy::bfloat16(1.0f), x(0, 1, 1) = sy::bfloat16(-1.0f); // (1 -1) -> (-1 -2) -> (0 0)
  const auto packed = layer.pack(exec, weights);
  auto tape = layer.make_tape(exec, 1, 2);
  layer.forward(exec, packed, x, y, tape);
  exec.fence("y is read");

  std::printf("switchyard %d.%d.%d: y = (%g %g) (%g %g)\n", SWITCHYARD_VERSION_MAJOR, SWITCHYARD_VERSION_MINOR,
              SWITCHYARD_VERSION_PATCH, double(y(0, 0, 0)), double(y(0, 0, 1)), double(y(0, 1, 0)), double(y(0, 1, 1)));
  const bool right = y(0, 0, 0) == 16 && y(0, 0, 1) == 5 && y(0, 1, 0) == 0 && y(0, 1, 1) == 0;
  return right ? 0 : 1;
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "on_mesh.hpp"
#include "problem.hpp"

namespace run_layer {

// Each in a file of its own, with run_impl.hpp. Kokkos must be initialized.
answer run_f64(const problem& p);  ///< uniform<double>
answer run_f32(const problem& p);  ///< uniform<float>
answer run_bf16(const problem& p); ///< selective<bfloat16>
answer run_f16(const problem& p);  ///< selective<half>

/// The forward and, where dy is given, the backward of <y,dy> + sum of coefficient * loss.
inline answer run(const problem& p, precision as) {
  switch (as) {
  case precision::f32:
    return run_f32(p);
  case precision::bf16:
    return run_bf16(p);
  case precision::f16:
    return run_f16(p);
  default:
    return run_f64(p);
  }
}

// On a mesh, the same numbers on every rank. Collective.
answer run_f64(const problem& p, const placement& where, const switchyard::communicator& world, traffic_report& report);
answer run_f32(const problem& p, const placement& where, const switchyard::communicator& world, traffic_report& report);
answer run_bf16(const problem& p, const placement& where, const switchyard::communicator& world,
                traffic_report& report);
answer run_f16(const problem& p, const placement& where, const switchyard::communicator& world, traffic_report& report);

inline answer run(const problem& p, precision as, const placement& where, const switchyard::communicator& world,
                  traffic_report& report) {
  switch (as) {
  case precision::f32:
    return run_f32(p, where, world, report);
  case precision::bf16:
    return run_bf16(p, where, world, report);
  case precision::f16:
    return run_f16(p, where, world, report);
  default:
    return run_f64(p, where, world, report);
  }
}

} // namespace run_layer

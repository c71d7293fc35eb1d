// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "settings.hpp"

namespace train_example {

// Each in a file of its own, with run_impl.hpp. Kokkos must be initialized. Collective over world; what goes wrong is
// thrown on every rank alike.
void run_bf16(const settings& s, const switchyard::communicator& world); ///< selective<bfloat16>
void run_f32(const settings& s, const switchyard::communicator& world);  ///< uniform<float>
void run_f64(const settings& s, const switchyard::communicator& world);  ///< uniform<double>

inline void run(const settings& s, const switchyard::communicator& world) {
  switch (s.precision) {
  case number_type::f32:
    return run_f32(s, world);
  case number_type::f64:
    return run_f64(s, world);
  default:
    return run_bf16(s, world);
  }
}

/// Has SIGINT or SIGTERM come? Then a run ends after its step.
bool asked_to_stop();

} // namespace train_example

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "settings.hpp"

namespace train_example {

// Each in a file of its own, with run_impl.hpp. Kokkos must be initialized.
void run_bf16(const settings& s); ///< selective<bfloat16>
void run_f32(const settings& s);  ///< uniform<float>
void run_f64(const settings& s);  ///< uniform<double>

inline void run(const settings& s) {
  switch (s.precision) {
  case number_type::f32:
    return run_f32(s);
  case number_type::f64:
    return run_f64(s);
  default:
    return run_bf16(s);
  }
}

/// Has SIGINT or SIGTERM come? Then a run ends after its step.
bool asked_to_stop();

} // namespace train_example

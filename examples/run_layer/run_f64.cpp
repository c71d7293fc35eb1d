// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run_impl.hpp"

run_layer::answer run_layer::run_f64(const problem& p) {
  return run_in<switchyard::uniform<double>>(p);
}

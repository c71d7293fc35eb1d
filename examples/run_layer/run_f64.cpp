// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run_impl.hpp"

run_layer::answer run_layer::run_f64(const problem& p) {
  return run_in<switchyard::uniform<double>>(p);
}
run_layer::answer run_layer::run_f64(const problem& p, const placement& where, const switchyard::communicator& world,
                                     traffic_report& report) {
  return run_on_mesh<switchyard::uniform<double>>(p, where, world, report);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run_impl.hpp"

run_layer::answer run_layer::run_bf16(const problem& p) {
  return run_in<switchyard::selective<switchyard::bfloat16>>(p);
}
run_layer::answer run_layer::run_bf16(const problem& p, const placement& where, const switchyard::communicator& world,
                                      traffic_report& report) {
  return run_on_mesh<switchyard::selective<switchyard::bfloat16>>(p, where, world, report);
}

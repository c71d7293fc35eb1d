// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run_impl.hpp"

namespace train_example {
void run_f64(const settings& s, const switchyard::communicator& world) {
  run_in<switchyard::uniform<double>>(s, world);
}
} // namespace train_example

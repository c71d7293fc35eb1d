// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run_impl.hpp"

namespace train_example {
void run_f32(const settings& s, const switchyard::communicator& world) {
  run_in<switchyard::uniform<float>>(s, world);
}
} // namespace train_example

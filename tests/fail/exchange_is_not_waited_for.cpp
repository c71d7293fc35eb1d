// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: nodiscard
#include <switchyard/mesh/communicator.hpp>

namespace sy = switchyard;
#pragma GCC diagnostic error "-Wunused-result"

#ifdef CONTROL
void use(const sy::communicator& c) {
  c.start_all_to_all(nullptr, {}, nullptr, {}, 1).wait();
}
#else
void use(const sy::communicator& c) {
  c.start_all_to_all(nullptr, {}, nullptr, {}, 1);
}
#endif

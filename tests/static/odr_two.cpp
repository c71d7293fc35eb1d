// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "odr.hpp"

// The other half of the test of the one definition rule; see odr_one.cpp.

double result_of_two() {
  return odr::checksum();
}

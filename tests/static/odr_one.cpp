// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "odr.hpp"

// One half of the test of the one definition rule; odr_two.cpp is the other.

double result_of_one() {
  return odr::checksum();
}

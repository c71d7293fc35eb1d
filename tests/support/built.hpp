// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "harness.hpp"
#include <catch2/catch_test_macros.hpp>

namespace switchyard_test {

/// The subjects of one precision. Where the tests were built without it the test is skipped and says so: a loop over
/// nothing would pass.
inline std::vector<subject> built(const std::string& precision) {
  std::vector<subject> some = subjects_of(precision);
  if (some.empty()) SKIP("built without " << precision);
  return some;
}

} // namespace switchyard_test

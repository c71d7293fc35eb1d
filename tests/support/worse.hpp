// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace switchyard_test {

/// The larger of two errors; infinite where one is not finite. std::max(worst, NaN) is `worst`: a NaN would pass.
inline double worse(double a, double b) {
  return std::isfinite(a) && std::isfinite(b) ? std::max(a, b) : std::numeric_limits<double>::infinity();
}

} // namespace switchyard_test

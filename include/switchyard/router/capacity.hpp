// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <switchyard/router/policy.hpp>

namespace switchyard::router {

/// Slots per expert and group: max(min(round(tokens * factor / experts), tokens), minimum), in double.
///
/// tokens: S, the whole group, padding included; the factor is not multiplied by k. The clamp to the group comes before
/// the minimum, as in Mesh TensorFlow, so a minimum above S exceeds it. multiple_of_4 rounds up before the clamp only.
inline std::int64_t capacity(std::int64_t tokens, std::int64_t experts, double factor, capacity_policy rounding,
                             std::int64_t minimum) {
  const double exact = static_cast<double>(tokens) * factor / static_cast<double>(experts);
  // A factor that asks for more than the group is clamped before it could leave the range of the integer.
  const double bounded = std::min(exact, static_cast<double>(tokens) + 4.0);
  double slots = 0;
  switch (rounding) {
  case capacity_policy::truncate:
    slots = std::trunc(bounded);
    break;
  case capacity_policy::half_even:
    slots = std::nearbyint(bounded);
    break;
  case capacity_policy::ceil:
    slots = std::ceil(bounded);
    break;
  case capacity_policy::multiple_of_4:
    slots = 4.0 * std::ceil(std::trunc(bounded) / 4.0);
    break;
  }
  return std::max(std::min(static_cast<std::int64_t>(slots), tokens), minimum);
}

} // namespace switchyard::router

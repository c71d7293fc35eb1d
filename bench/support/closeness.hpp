// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <switchyard/core/bfloat16.hpp>

namespace bench {

/// Norm of got - want over that of want, against what roundings of T explain.
struct closeness {
  double error = 0, all = 0;
  void add(double got, double want) {
    error += (got - want) * (got - want);
    all += want * want;
  }
  std::string verdict(const std::string& what, double allowed) const {
    const double is = std::sqrt(error / std::max(all, 1e-300));
    if (is <= allowed) return {}; // NaN is not
    return what + ": relative error " + std::to_string(is) + ", allowed " + std::to_string(allowed);
  }
};

template <class T>
inline constexpr double allowed_error = sizeof(T) == 2 ? 1.5e-2 : 3e-5;

template <class T>
double number_of_value(T v) {
  return static_cast<double>(static_cast<float>(v));
}

} // namespace bench

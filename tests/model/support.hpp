// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>
#include <switchyard/model/types.hpp>
#include <tuple>
#include <vector>

/// \file
/// The operations of a model against plain loops in double. A test writes the forward of an operation as a function of
/// vectors; the gradient that its backward must give is that function's central differences.

namespace switchyard_test {

namespace sy = switchyard;
namespace model_precisions {
using namespace switchyard;
using switchyard::half; // CUDA has a ::half
using all = std::tuple<SWITCHYARD_TEST_MODEL_PRECISIONS>;
} // namespace model_precisions
using model_precisions::all;

using Exec = Kokkos::DefaultExecutionSpace;
using space = Exec::memory_space;
using numbers = std::vector<double>;

/// n numbers ~ size * N(0, 1).
inline numbers random_numbers(std::size_t n, std::uint64_t seed, double size = 1) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal(0, size);
  numbers values(n);
  for (double& v : values) v = normal(engine);
  return values;
}

/// A view of these numbers, and the numbers as the view holds them: rounded to its type.
template <class View, class... N>
View view_of(numbers& values, N... extent) {
  View view("test", static_cast<std::size_t>(extent)...);
  const auto host = Kokkos::create_mirror_view(view);
  REQUIRE(host.size() == values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    host.data()[i] = static_cast<typename View::non_const_value_type>(values[i]);
    values[i] = static_cast<double>(host.data()[i]);
  }
  Kokkos::deep_copy(view, host);
  return view;
}

template <class View>
numbers numbers_of(const View& view) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  numbers values(host.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(host.data()[i]);
  return values;
}

/// Memory that nobody has written: NaN.
template <class View, class... N>
View unwritten(N... extent) {
  View view("test", static_cast<std::size_t>(extent)...);
  Kokkos::deep_copy(view, typename View::value_type(std::nan("")));
  return view;
}

template <class T>
constexpr double unit_roundoff = std::is_same_v<T, double>         ? 0x1p-53
                                 : std::is_same_v<T, float>        ? 0x1p-24
                                 : std::is_same_v<T, sy::bfloat16> ? 0x1p-8
                                                                   : 0x1p-11;

/// max |a - b| / (eps (|b| + size of b) + slack): below 1 is right. The slack is what central differences are off by.
template <class T>
double error(const numbers& a, const numbers& b, double units = 16, double slack = 0) {
  REQUIRE(a.size() == b.size());
  double size = 0, worst = 0;
  for (const double v : b) size = std::max(size, std::abs(v));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(a[i] - b[i]) / (units * unit_roundoff<T> * (std::abs(b[i]) + size) + slack + 1e-300);
    worst = e <= worst ? worst : e; // NaN stays
    if (std::isnan(e)) return e;
  }
  return worst;
}

inline constexpr double difference_slack = 2e-8; // of central differences

/// d f() / d values by central differences.
template <class F>
numbers differences(numbers& values, const F& f, double step = 1e-5) {
  numbers slope(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double here = values[i];
    values[i] = here + step;
    const double up = f();
    values[i] = here - step;
    const double down = f();
    values[i] = here;
    slope[i] = (up - down) / (2 * step);
  }
  return slope;
}

inline double dot(const numbers& a, const numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

} // namespace switchyard_test

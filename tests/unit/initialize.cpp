// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/worse.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <switchyard/layer/parameters.hpp>

namespace sy = switchyard;

namespace {

using space = Kokkos::DefaultHostExecutionSpace::memory_space;

struct moments {
  double mean = 0, deviation = 0, largest = 0;
};

template <class View>
moments measure(const View& v) {
  moments m;
  const auto n = static_cast<double>(v.size());
  for (std::size_t i = 0; i < v.size(); ++i) m.mean += static_cast<double>(v.data()[i]) / n;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double d = static_cast<double>(v.data()[i]);
    m.deviation += (d - m.mean) * (d - m.mean) / n;
    m.largest = switchyard_test::worse(m.largest, std::abs(d));
  }
  m.deviation = std::sqrt(m.deviation);
  return m;
}

} // namespace

TEST_CASE("weights are truncated normal with the fan of one expert, scale 0.1", "[init]") {
  const sy::switch_config c{.d_model = 64, .d_ff = 256, .experts = 8, .gated = true, .bias = true};
  const Kokkos::DefaultHostExecutionSpace exec;
  const sy::switch_parameters<float, space> w(c, {0, 8});
  sy::initialize(exec, c, {0, 8}, sy::seed{3}, w);
  exec.fence("test");
  const auto check = [](const moments& m, double fan_in) {
    const double sigma = std::sqrt(0.1 / fan_in);
    CHECK(std::abs(m.mean) < 0.1 * sigma);
    CHECK(std::abs(m.deviation / sigma - 0.8796) < 0.03); // the variance of the cut is not corrected
    CHECK(m.largest <= 2 * sigma * 1.000001);
    CHECK(m.largest > 1.9 * sigma);
  };
  check(measure(w.router), 64);
  check(measure(w.wi), 64);
  check(measure(w.wi_gate), 64);
  check(measure(w.wo), 256);
  CHECK(measure(w.bi).largest == 0);
  CHECK(measure(w.bo).largest == 0);
  CHECK(w.wi(0, 0, 0) != w.wi_gate(0, 0, 0)); // streams of their own
  CHECK(w.wi(0, 0, 0) != w.wi(1, 0, 0));

  const sy::switch_parameters<float, space> part(c, {3, 2}); // the same numbers wherever the experts lie
  sy::initialize(exec, c, {3, 2}, sy::seed{3}, part);
  exec.fence("test");
  for (std::size_t i = 0; i < part.wo.size(); ++i) REQUIRE(part.wo.data()[i] == w.wo.data()[3 * 64 * 256 + i]);

  sy::initialize(exec, c, {0, 8}, sy::seed{4}, w);
  exec.fence("test");
  CHECK(part.wi(0, 0, 0) != w.wi(3, 0, 0)); // another seed
}

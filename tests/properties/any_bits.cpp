// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include "policies.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>

// Whatever bits the tokens are - NaN, infinities, denormals, huge numbers - the routing is a valid one.

using namespace switchyard_test;

namespace {

double any_double(std::mt19937_64& bits) {
  switch (bits() % 6) {
  case 0: {
    const std::uint32_t word = static_cast<std::uint32_t>(bits());
    float f;
    std::memcpy(&f, &word, sizeof f);
    return f;
  }
  case 1:
    return static_cast<double>(bits() % 7) - 3; // many ties
  case 2:
    return std::ldexp(1.0, static_cast<int>(bits() % 300) - 150);
  case 3:
    return 0.0;
  case 4:
    return bits() % 2 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  default:
    return std::normal_distribution<double>()(bits);
  }
}

} // namespace

TEST_CASE("any bits route to valid slots", "[fuzz]") {
  std::mt19937_64 bits(2026);
  for (const subject& s : subjects())
    for (const named_config& n : every_policy())
      for (int round = 0; round < 3; ++round) {
        job j = random_job(n.config, 2, 19, 61);
        j.training = n.training;
        for (double& v : j.x) v = any_double(bits);
        if (round == 1)
          for (double& v : j.weights.router) v = any_double(bits);
        if (round == 2)
          for (int t = 0; t < 38; ++t) j.mask.push_back(any_double(bits));
        INFO(s.precision << ", " << n.name << ", round " << round);
        const outcome o = s.run(j);
        const auto k = static_cast<std::size_t>(n.config.choices());
        const std::int64_t capacity = n.config.capacity(19, n.training);
        std::set<std::array<std::int64_t, 3>> taken;
        for (std::size_t i = 0; i < o.slot.size(); ++i) {
          const std::size_t t = i / k;
          const bool real = j.mask.empty() || static_cast<float>(j.mask[t]) > 0;
          REQUIRE((o.slot[i] >= -2 && o.slot[i] < capacity));
          REQUIRE(o.choice[i] < n.config.experts);
          REQUIRE((real || o.slot[i] < 0));
          if (o.slot[i] < 0) continue;
          REQUIRE(o.choice[i] >= 0);
          REQUIRE(taken.insert({static_cast<std::int64_t>(t) / 19, o.choice[i], o.slot[i]}).second);
        }
        REQUIRE(o.guards_intact);
      }
}

TEST_CASE("an expert whose logit is NaN is not drawn where another one has a number", "[fuzz]") {
  for (const subject& s : subjects()) {
    switchyard::switch_config c{.d_model = 6, .d_ff = 4, .experts = 3};
    c.sample_temperature = 1;
    job j = random_job(c, 2, 17, 5);
    j.training = true;
    for (std::size_t m = 0; m < 6; ++m) j.weights.router[3 * m] = std::numeric_limits<double>::quiet_NaN();
    const outcome o = s.run(j);
    INFO(s.precision);
    for (const std::int64_t e : o.choice) CHECK((e == 1 || e == 2));
  }
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_test_macros.hpp>
#include <switchyard/router/capacity.hpp>

using switchyard::capacity_policy;
using switchyard::router::capacity;

TEST_CASE("capacity, as each implementation rounds it", "[router]") {
  using enum capacity_policy;
  // tokens, experts, factor -> truncate, half_even, ceil, multiple_of_4 with the minimum of 4
  CHECK(capacity(4096, 128, 1.25, truncate, 4) == 40);
  CHECK(capacity(4096, 128, 1.25, half_even, 4) == 40);
  CHECK(capacity(4096, 128, 1.25, multiple_of_4, 4) == 40);
  CHECK(capacity(1000, 64, 1.25, truncate, 4) == 19);
  CHECK(capacity(1000, 64, 1.25, half_even, 4) == 20);
  CHECK(capacity(1000, 64, 1.25, ceil, 4) == 20);
  CHECK(capacity(1000, 64, 1.25, multiple_of_4, 4) == 20);
  CHECK(capacity(28, 8, 1.0, truncate, 0) == 3);
  CHECK(capacity(28, 8, 1.0, half_even, 0) == 4); // 3.5
  CHECK(capacity(20, 8, 1.0, half_even, 0) == 2); // 2.5, not 3
  CHECK(capacity(20, 8, 1.0, truncate, 0) == 2);
  CHECK(capacity(6, 3, 1.0, truncate, 0) == 2);
  CHECK(capacity(6, 3, 1.5, truncate, 0) == 3);
  CHECK(capacity(392, 8, 1.05, truncate, 4) == 51);
  CHECK(capacity(392, 8, 1.05, half_even, 4) == 51); // 51.45
  CHECK(capacity(392, 8, 1.05, ceil, 4) == 52);
  CHECK(capacity(392, 8, 1.05, multiple_of_4, 4) == 52);
  CHECK(capacity(1024, 512, 1.25, truncate, 4) == 4);
  CHECK(capacity(1024, 512, 1.25, half_even, 4) == 4);
  CHECK(capacity(1024, 512, 1.25, truncate, 0) == 2);
  CHECK(capacity(1024, 512, 1.25, half_even, 0) == 2); // 2.5, not 3
}

TEST_CASE("capacity at its edges", "[router]") {
  using enum capacity_policy;
  CHECK(capacity(8, 3, 100, truncate, 4) == 8);         // clamped to the group
  CHECK(capacity(2, 3, 100, truncate, 4) == 4);         // but the minimum exceeds it
  CHECK(capacity(8, 3, 1e300, ceil, 0) == 8);           // no overflow
  CHECK(capacity(5, 1, 1.0, multiple_of_4, 0) == 5);    // 8, then the clamp; not rounded again
  CHECK(capacity(8, 100, 0.01, multiple_of_4, 0) == 0); // 0 stays 0
  CHECK(capacity(0, 4, 1.25, truncate, 0) == 0);
}

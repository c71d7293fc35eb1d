// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cmath>

// More elements than a 32-bit integer counts: 2^20 + 8 tokens times 2056 hidden values. Needs 9 GB of memory.

using namespace switchyard_test;

TEST_CASE("offsets beyond 2^31", "[large]") {
  switchyard::switch_config c{.d_model = 1, .d_ff = 2056, .experts = 2, .dropless = true};
  const std::int64_t tokens = (std::int64_t{1} << 20) + 8;
  for (const subject& s : built("selective<bfloat16>")) {
    job big = random_job(c, 1, tokens, 71);
    big.weights.router = {1, 0.999};
    for (double& v : big.x) v = std::abs(v) + 0.1; // all to expert 0
    big.poison = false;
    const outcome o = s.run(big);
    job tail = big; // the last tokens alone: the same bytes
    tail.x.assign(big.x.end() - 64, big.x.end());
    tail.dy.assign(big.dy.end() - 64, big.dy.end());
    tail.groups = 1;
    tail.tokens = 64;
    tail.config.load_balance = big.config.load_balance = 0;
    const outcome few = s.run(tail);
    REQUIRE(o.slot.back() == tokens - 1);
    for (std::size_t i = 0; i < 64; ++i) CHECK(o.y[o.y.size() - 64 + i] == few.y[i]);
  }
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "gemm_checks.hpp"
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

// The test cases of one engine: a file per engine defines `exec_space`, `engine`, `subjects` (a std::tuple of
// subject) and `exact` (types whose rows are of T itself), then includes this.

namespace gemm_checks {

inline const std::vector<extent> odd_groups{5, 0, 1, 129, 2, 0, 64, 3, 127, 9, 65, 17, 0};
inline const std::vector<extent> odd_extents{1, 3, 8, 16, 17, 64, 100};

// Under sanitizers, which take ten times as long: every shape, but fewer rows and replays.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

} // namespace gemm_checks

namespace {

using namespace gemm_checks;

TEMPLATE_LIST_TEST_CASE("products agree with loops in double, for odd extents", "", subjects) {
  using A = typename TestType::rows_type;
  using T = typename TestType::type;
  for (const extent k : odd_extents)
    for (const extent n : odd_extents) {
      CAPTURE(k, n);
      CHECK(product_error<engine, exec_space, A, T>(odd_groups, k, n, shape::plain, false, false) < 16);
      CHECK(product_error<engine, exec_space, A, T>(odd_groups, k, n, shape::plain, true, true) == 0);
      CHECK(product_error<engine, exec_space, A, T>({1, 7, 0}, k, n, shape::transposed, true, true) == 0);
      CHECK(product_error<engine, exec_space, A, T>({0, 19}, k, n, shape::stacked, true, true) == 0);
      CHECK(product_error<engine, exec_space, A, T>({9, 2}, k, n, shape::paired, true, true) == 0);
    }
}

TEMPLATE_LIST_TEST_CASE("products of every height, of one group and of many", "", subjects) {
  using A = typename TestType::rows_type;
  using T = typename TestType::type;
  for (const extent rows : {0, 1, 2, 3, 5, 9, 17, 64, 65, 127, 129}) {
    CAPTURE(rows);
    CHECK(product_error<engine, exec_space, A, T>({rows}, 300, 70, shape::plain, true, false) < 16);
    CHECK(product_error<engine, exec_space, A, T>({0, 0, rows, 0}, 40, 24, shape::paired, false, false) < 16);
    CHECK(product_error<engine, exec_space, A, T>({rows, 1}, 301, 130, shape::stacked, false, false) < 16);
    CHECK(product_error<engine, exec_space, A, T>({1, rows}, 1601, 30, shape::plain, true, true) == 0);
  }
}

TEMPLATE_LIST_TEST_CASE("weight gradients agree with loops in double", "", subjects) {
  using A = typename TestType::rows_type;
  using T = typename TestType::type;
  for (const extent k : odd_extents)
    for (const extent n : odd_extents) {
      CAPTURE(k, n);
      CHECK(gradient_error<engine, exec_space, A, T, T>(odd_groups, k, n, false, false) < 16);
      CHECK(gradient_error<engine, exec_space, A, T, T>({3, 0, 18}, k, n, true, true) == 0);
    }
  CHECK(gradient_error<engine, exec_space, A, T, T>({0, 1300, 0, 513}, 300, 70, false, false) < 16);
  CHECK(gradient_error<engine, exec_space, A, T, T>({1300, 2}, 70, 20, true, true) == 0);
  CHECK(gradient_error<engine, exec_space, A, T, T>({0, 0}, 70, 130, false, false) == 0);
  // More than a cache: engines may write such gradients another way, and again another one where lines are whole.
  CHECK(gradient_error<engine, exec_space, A, T, T>({2, 0, 3, 1, 0, 0, 0, 0, 1}, 1000, 1024, false, true) == 0);
  CHECK(gradient_error<engine, exec_space, A, T, T>({2, 0, 3, 1, 0, 0, 0, 0, sanitized ? 6 : 600}, 1000, 1024, true,
                                                    true) == 0);
  CHECK(gradient_error<engine, exec_space, A, T, T>({2, 0, 3, 1, 0, 0, 0, 0, 1}, 1000, 1030, false, true) == 0);
}

TEMPLATE_LIST_TEST_CASE("a row's bytes do not depend on the rows beside it", "", exact) {
  if (!engine::row_invariant) SKIP("the engine does not promise it");
  for (const extent k : {1, 17, 100, 300, 768, 1601}) {
    if (sanitized && k > 100) break;
    CAPTURE(k);
    CHECK(rows_that_vary<engine, exec_space, TestType>(k, 8) == 0);
    CHECK(rows_that_vary<engine, exec_space, TestType>(k, 100) == 0);
  }
}

TEMPLATE_LIST_TEST_CASE("the same bytes on every replay and for any number of threads", "", exact) {
  const std::vector<extent> sizes{40, 0, 700, 1, 90};
  const auto once = both<engine, exec_space, TestType>(exec_space(), sizes, 270, 150);
  for (int replay = 0; replay < (sanitized ? 2 : 20); ++replay)
    REQUIRE(same_bytes(once, both<engine, exec_space, TestType>(exec_space(), sizes, 270, 150)));
  if constexpr (std::is_constructible_v<exec_space, int>)
    for (const int threads : {1, 2, 3})
      CHECK(same_bytes(once, both<engine, exec_space, TestType>(exec_space(threads), sizes, 270, 150)));
}

TEMPLATE_LIST_TEST_CASE("NaN in one row stays in that row and in its group's gradient", "", exact) {
  const std::vector<extent> sizes{20, 70, 3};
  constexpr extent k = 70, n = 100, poisoned = 25;
  const auto clean = both<engine, exec_space, TestType>(exec_space(), sizes, k, n);
  const auto dirty = both<engine, exec_space, TestType>(exec_space(), sizes, k, n, poisoned);
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const bool product = i < 93 * n;
    const std::size_t part = product ? i / n : (i - 93 * n) / (k * n);
    if (part == (product ? std::size_t{poisoned} : std::size_t{1}))
      REQUIRE(std::isnan(dirty[i]));
    else
      REQUIRE(std::memcmp(&clean[i], &dirty[i], sizeof(clean[i])) == 0);
  }
}

} // namespace

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <switchyard/model/embedding.hpp>

namespace model = switchyard::model;
using namespace switchyard_test;

TEMPLATE_LIST_TEST_CASE("embedding: gathers rows, sums gradients in the order of the tokens", "[model]", all) {
  using T = typename TestType::value_type;
  using W = typename TestType::weight_type;
  using G = typename TestType::gradient_type;
  using acc = sy::accumulate_t<T>;
  const Exec exec{};
  constexpr std::int64_t rows = 50, vocabulary = 13, m = 37;
  numbers table = random_numbers(vocabulary * m, 1), dx = random_numbers(rows * m, 2);
  const auto table_view = view_of<model::matrix<W, space>>(table, vocabulary, m);
  const auto dx_view = view_of<model::matrix<T, space>>(dx, rows, m);
  std::vector<std::int32_t> tokens;
  for (int t = 0; t < rows; ++t) tokens.push_back(t * t % 11); // 11 and 12 never occur
  tokens[5] = -1;                                              // no tokens, and no indices
  tokens[9] = vocabulary;
  model::vector<std::int32_t, space> token_view("tokens", rows);
  Kokkos::deep_copy(token_view, Kokkos::View<std::int32_t*, Kokkos::HostSpace>(tokens.data(), rows));

  for (const double rate : {0.0, 0.5}) {
    const model::dropout<acc> drop{acc(rate), sy::generator(sy::seed{1}, sy::stream::dropout, 1, 0), 0};
    const auto x = unwritten<model::matrix<T, space>>(rows, m);
    const auto gradient = unwritten<model::matrix<G, space>>(vocabulary, m);
    model::embed(exec, table_view, token_view, drop, x);
    model::embed_backward(exec, token_view, dx_view, drop, gradient, false);
    numbers expected(rows * m, 0.0), slope(vocabulary * m, 0.0);
    for (std::int64_t t = 0; t < rows; ++t)
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t v = tokens[static_cast<std::size_t>(t)], at = t * m + i;
        if (v < 0 || v >= vocabulary) continue;
        const double factor = rate > 0 ? static_cast<double>(drop.factor(at)) : 1;
        expected[static_cast<std::size_t>(at)] = factor * table[static_cast<std::size_t>(v * m + i)];
        slope[static_cast<std::size_t>(v * m + i)] += factor * dx[static_cast<std::size_t>(at)];
      }
    CHECK(error<T>(numbers_of(x), expected, 2) <= 1);
    CHECK(error<acc>(numbers_of(gradient), slope) <= 1);
    for (std::size_t i = 11 * m; i < vocabulary * m; ++i) CHECK(numbers_of(gradient)[i] == 0);
    model::embed_backward(exec, token_view, dx_view, drop, gradient, true);
    for (double& v : slope) v *= 2;
    CHECK(error<acc>(numbers_of(gradient), slope) <= 1);
  }
}

TEMPLATE_LIST_TEST_CASE("dropout: the backward draws what the forward drew", "[model]", all) {
  using T = typename TestType::value_type;
  using acc = sy::accumulate_t<T>;
  const Exec exec{};
  constexpr std::int64_t rows = 40, m = 50;
  numbers x = random_numbers(rows * m, 1), s = random_numbers(rows * m, 2);
  const auto x_view = view_of<model::matrix<T, space>>(x, rows, m),
             s_view = view_of<model::matrix<T, space>>(s, rows, m);
  const model::dropout<acc> drop{acc(0.2), sy::generator(sy::seed{1}, sy::stream::dropout, 1, 0), 1000};
  const auto y = unwritten<model::matrix<T, space>>(rows, m), ds = unwritten<model::matrix<T, space>>(rows, m);
  model::add_residual(exec, x_view, s_view, drop, y);
  model::apply_dropout(exec, s_view, drop, ds);
  numbers sum, slope;
  std::size_t zeros = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double factor = static_cast<double>(drop.factor(static_cast<std::int64_t>(i)));
    CHECK((factor == 0 || std::abs(factor - 1.25) < 1e-6));
    zeros += factor == 0 ? 1u : 0u;
    sum.push_back(x[i] + factor * s[i]);
    slope.push_back(factor * s[i]);
  }
  CHECK(error<T>(numbers_of(y), sum, 2) <= 1);
  CHECK(error<T>(numbers_of(ds), slope, 2) <= 1);
  CHECK((zeros > 320 && zeros < 480)); // of 2000, expected 400
  model::add_residual(exec, x_view, s_view, model::dropout<acc>{}, y);
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] = x[i] + s[i];
  CHECK(error<T>(numbers_of(y), sum, 2) <= 1);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <switchyard/model/linear.hpp>

namespace model = switchyard::model;
using namespace switchyard_test;

namespace {

/// a [rows, k] b [k, n]
numbers product(const numbers& a, const numbers& b, std::size_t rows, std::size_t k, std::size_t n) {
  numbers c(rows * n, 0.0);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t l = 0; l < k; ++l)
      for (std::size_t j = 0; j < n; ++j) c[i * n + j] += a[i * k + l] * b[l * n + j];
  return c;
}

template <class T>
numbers rounded_to(const numbers& values) {
  numbers r(values);
  for (double& v : r) v = static_cast<double>(T(v));
  return r;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("linear: two projections of the same rows, their gradients, and a residual", "[model]", all) {
  using T = typename TestType::value_type;
  using W = typename TestType::weight_type;
  using G = typename TestType::gradient_type;
  using acc = sy::accumulate_t<T>;
  using Engine = sy::gemm::default_engine<Exec, T>;
  const Exec exec{};
  constexpr std::size_t rows = 37, in = 19, p = 8, q = 21, both = p + q;
  numbers x = random_numbers(rows * in, 1), wp = random_numbers(in * p, 2), wq = random_numbers(in * q, 3),
          dy = random_numbers(rows * both, 4), residual = random_numbers(rows * q, 5);
  const auto x_view = view_of<model::matrix<T, space>>(x, rows, in);
  const auto p_view = view_of<model::matrix<W, space>>(wp, in, p), q_view = view_of<model::matrix<W, space>>(wq, in, q);
  const auto dy_view = view_of<model::matrix<T, space>>(dy, rows, both);
  const auto residual_view = view_of<model::matrix<T, space>>(residual, rows, q);
  wp = rounded_to<T>(wp);
  wq = rounded_to<T>(wq);
  const model::one_group<space> all_rows(rows);
  const auto weights = model::make_packed_linear<Engine, Exec, T>(exec, in, {p, q});
  model::pack_linear(exec, p_view, weights, 0, 0);
  model::pack_linear(exec, q_view, weights, 1, p);

  // forward, side by side in one matrix
  const auto y = unwritten<model::matrix<T, space>>(rows, both);
  model::linear<Engine>(exec, all_rows, x_view, weights.forward[0], model::columns_of(y, 0, p));
  model::linear<Engine>(exec, all_rows, x_view, weights.forward[1], model::columns_of(y, p, q));
  const numbers yp = product(x, wp, rows, in, p), yq = product(x, wq, rows, in, q);
  numbers expected;
  for (std::size_t i = 0; i < rows; ++i) {
    expected.insert(expected.end(), yp.begin() + static_cast<std::ptrdiff_t>(i * p),
                    yp.begin() + static_cast<std::ptrdiff_t>((i + 1) * p));
    expected.insert(expected.end(), yq.begin() + static_cast<std::ptrdiff_t>(i * q),
                    yq.begin() + static_cast<std::ptrdiff_t>((i + 1) * q));
  }
  CHECK(error<T>(numbers_of(y), expected) <= 1);

  // the loss is <(x Wp | x Wq), dy>
  numbers dyp, dyq;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < both; ++j) (j < p ? dyp : dyq).push_back(dy[i * both + j]);
  const auto loss = [&] { return dot(product(x, wp, rows, in, p), dyp) + dot(product(x, wq, rows, in, q), dyq); };
  const auto dx = unwritten<model::matrix<T, space>>(rows, in);
  model::linear<Engine>(exec, all_rows, dy_view, weights.transposed, dx);
  numbers slope = differences(x, loss);
  CHECK(error<T>(numbers_of(dx), slope, 16, 1e-7) <= 1);
  model::linear<Engine>(exec, all_rows, dy_view, weights.transposed, dx, true);
  for (double& v : slope) v *= 2;
  CHECK(error<T>(numbers_of(dx), slope, 16, 2e-7) <= 1);

  const auto dq = unwritten<model::matrix<G, space>>(in, q);
  model::linear_weight_gradient<Engine>(exec, all_rows, x_view, model::columns_of(dy_view, p, q), weights.forward[1],
                                        dq, false);
  numbers dq_slope = differences(wq, loss);
  CHECK(error<acc>(numbers_of(dq), dq_slope, 64, 1e-7) <= 1);
  model::linear_weight_gradient<Engine>(exec, all_rows, x_view, model::columns_of(dy_view, p, q), weights.forward[1],
                                        dq, true);
  for (double& v : dq_slope) v *= 2;
  CHECK(error<acc>(numbers_of(dq), dq_slope, 64, 2e-7) <= 1);

  // into the residual stream, with dropout
  const model::dropout<acc> drop{acc(0.25), sy::generator(sy::seed{3}, sy::stream::dropout, 7, 2), 11};
  const auto sum = unwritten<model::matrix<T, space>>(rows, q);
  model::linear_residual<Engine>(exec, all_rows, x_view, weights.forward[1], residual_view, drop, sum);
  numbers with_residual(residual);
  std::size_t dropped = 0;
  for (std::size_t i = 0; i < rows * q; ++i) {
    const double factor = static_cast<double>(drop.factor(static_cast<std::int64_t>(i)));
    dropped += factor == 0 ? 1u : 0u;
    with_residual[i] += factor * yq[i];
  }
  CHECK(error<T>(numbers_of(sum), with_residual) <= 1);
  CHECK((dropped > rows * q / 6 && dropped < rows * q / 3));
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <switchyard/model/rms_norm.hpp>

namespace model = switchyard::model;
using namespace switchyard_test;

namespace {

numbers norm(const numbers& x, const numbers& g, double epsilon) {
  const std::size_t m = g.size();
  numbers y(x.size());
  for (std::size_t t = 0; t < x.size() / m; ++t) {
    double square = 0;
    for (std::size_t i = 0; i < m; ++i) square += x[t * m + i] * x[t * m + i];
    for (std::size_t i = 0; i < m; ++i)
      y[t * m + i] = x[t * m + i] * g[i] / std::sqrt(square / static_cast<double>(m) + epsilon);
  }
  return y;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("rms_norm: forward and backward are the equations", "[model]", all) {
  using T = typename TestType::value_type;
  using W = typename TestType::weight_type;
  using G = typename TestType::gradient_type;
  using acc = sy::accumulate_t<T>;
  const double epsilon = 1e-3;
  const Exec exec{};
  for (const auto& [rows, m] : {std::pair{1, 2}, {3, 5}, {33, 17}, {70, 32}, {0, 4}}) {
    const auto count = static_cast<std::size_t>(rows * m);
    numbers x = random_numbers(count, 1), g = random_numbers(static_cast<std::size_t>(m), 2),
            dy = random_numbers(count, 3), residual = random_numbers(count, 4);
    const auto x_view = view_of<model::matrix<T, space>>(x, rows, m);
    const auto g_view = view_of<model::vector<W, space>>(g, m);
    const auto dy_view = view_of<model::matrix<T, space>>(dy, rows, m);
    const auto y = unwritten<model::matrix<T, space>>(rows, m), dx = unwritten<model::matrix<T, space>>(rows, m);
    const auto dx_added = view_of<model::matrix<T, space>>(residual, rows, m);
    const auto inverse = unwritten<model::vector<acc, space>>(rows);
    const auto dg = unwritten<model::vector<G, space>>(m);
    const auto scratch = model::make_norm_scratch<acc, space>(rows, m);

    model::rms_norm(exec, x_view, g_view, epsilon, y, inverse);
    model::rms_norm_backward(exec, x_view, g_view, inverse, dy_view, dx, false, dg, false, scratch);
    const numbers once = numbers_of(dg);
    model::rms_norm_backward(exec, x_view, g_view, inverse, dy_view, dx_added, true, dg, true, scratch);
    INFO(rows << " x " << m);
    CHECK(error<T>(numbers_of(y), norm(x, g, epsilon)) <= 1);
    const auto loss = [&] { return dot(norm(x, g, epsilon), dy); };
    numbers slope = differences(x, loss);
    CHECK(error<T>(numbers_of(dx), slope, 16, difference_slack) <= 1);
    for (std::size_t i = 0; i < count; ++i) slope[i] += residual[i];
    CHECK(error<T>(numbers_of(dx_added), slope, 16, difference_slack) <= 1);
    numbers dg_slope = differences(g, loss);
    CHECK(error<acc>(once, dg_slope, 64, 10 * difference_slack) <= 1);
    for (double& v : dg_slope) v *= 2;
    CHECK(error<acc>(numbers_of(dg), dg_slope, 64, 20 * difference_slack) <= 1);
  }
}

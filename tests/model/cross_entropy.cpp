// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <switchyard/model/cross_entropy.hpp>

namespace model = switchyard::model;
using namespace switchyard_test;

namespace {

struct sums {
  double cross_entropy = 0, z = 0;
  int targets = 0, correct = 0;
};

sums plain(const numbers& x, const numbers& table, const std::vector<std::int32_t>& targets, std::size_t m,
           double scale) {
  sums s;
  const std::size_t vocabulary = table.size() / m;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] <= 0 || targets[t] >= static_cast<int>(vocabulary)) continue;
    numbers z(vocabulary, 0.0);
    double sum = 0, largest = -1e300;
    for (std::size_t v = 0; v < vocabulary; ++v) {
      for (std::size_t i = 0; i < m; ++i) z[v] += scale * x[t * m + i] * table[v * m + i];
      sum += std::exp(z[v]);
      largest = std::max(largest, z[v]);
    }
    const double target = z[static_cast<std::size_t>(targets[t])];
    s.cross_entropy += std::log(sum) - target;
    s.z += std::log(sum) * std::log(sum);
    s.targets += 1;
    s.correct += target == largest;
  }
  return s;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("cross-entropy: sums, and gradients of rows and projection", "[model]", all) {
  using T = typename TestType::value_type;
  using W = typename TestType::weight_type;
  using G = typename TestType::gradient_type;
  using acc = sy::accumulate_t<T>;
  using Engine = sy::gemm::default_engine<Exec, T>;
  const Exec exec{};
  constexpr std::size_t m = 9, vocabulary = 23;
  for (const auto& [rows, block] : {std::pair<std::int64_t, std::int64_t>{20, 8}, {16, 8}, {5, 100}, {0, 8}, {131, 64}})
    for (const bool tied : {false, true}) {
      INFO(rows << " rows in blocks of " << block << (tied ? ", scaled" : ""));
      const auto count = static_cast<std::size_t>(rows);
      numbers x = random_numbers(count * m, 1), table = random_numbers(vocabulary * m, 2, 0.5);
      const auto x_view = view_of<model::matrix<T, space>>(x, rows, m);
      const auto table_view = view_of<model::matrix<W, space>>(table, vocabulary, m);
      for (double& v : table) v = static_cast<double>(T(v));
      std::vector<std::int32_t> targets;
      for (std::size_t t = 0; t < count; ++t) targets.push_back(static_cast<std::int32_t>(t * 5 % 23)); // 0 is padding
      if (rows > 3) targets[2] = 23;
      if (rows > 3) targets[3] = -7;
      model::vector<std::int32_t, space> target_view("targets", count);
      Kokkos::deep_copy(target_view, Kokkos::View<std::int32_t*, Kokkos::HostSpace>(targets.data(), count));

      const model::cross_entropy_settings set{1e-2, tied ? 1 / 3.0 : 1.0, 0};
      const auto head = model::make_packed_linear<Engine, Exec, T>(exec, m, {vocabulary});
      model::pack_head(exec, table_view, head);
      const model::cross_entropy_tape<T, space> tape(rows, vocabulary, block);
      const auto dx = unwritten<model::matrix<T, space>>(rows, m);
      const auto gradient = unwritten<model::matrix<G, space>>(vocabulary, m);
      model::cross_entropy(exec, set, x_view, head, target_view, tape);
      const auto s = model::read_sums(exec, tape);
      const auto expected = plain(x, table, targets, m, set.logit_scale);
      CHECK(error<acc>({s.cross_entropy}, {expected.cross_entropy}) <= 1);
      CHECK(error<acc>({s.z}, {expected.z}) <= 1);
      CHECK(s.targets == expected.targets);
      CHECK(s.correct == expected.correct);

      const double n = std::max(expected.targets, 1);
      const auto loss = [&] {
        const auto now = plain(x, table, targets, m, set.logit_scale);
        return 3 * (now.cross_entropy + set.z * now.z) / n;
      };
      model::cross_entropy_backward(exec, set, {.scale = 3}, x_view, head, target_view, tape, dx, gradient, false);
      numbers slope = differences(x, loss), table_slope = differences(table, loss);
      CHECK(error<T>(numbers_of(dx), slope, 16, difference_slack) <= 1);
      CHECK(error<T>(numbers_of(gradient), table_slope, 16, difference_slack) <= 1);
      model::cross_entropy_backward(exec, set, {.scale = 6, .normalizer = 2 * n}, x_view, head, target_view, tape, dx,
                                    gradient, true);
      CHECK(error<T>(numbers_of(dx), slope, 16, difference_slack) <= 1);
      for (double& v : table_slope) v *= 2;
      CHECK(error<T>(numbers_of(gradient), table_slope, 16, 2 * difference_slack) <= 1);
    }
}

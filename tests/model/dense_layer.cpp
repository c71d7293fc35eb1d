// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <switchyard/layer/dense_layer.hpp>

using namespace switchyard_test;

namespace {

struct operands {
  numbers x, wi, gate, wo;
};

/// (D ∘ act(x Wg) ∘ x W1) W2, the gate only where it is.
numbers plain(const operands& o, std::size_t rows, std::size_t m, std::size_t f, const numbers& drop) {
  numbers y(rows * m, 0.0);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = 0; j < f; ++j) {
      double u = 0, v = 0;
      for (std::size_t i = 0; i < m; ++i) {
        v += o.x[r * m + i] * o.wi[i * f + j];
        if (!o.gate.empty()) u += o.x[r * m + i] * o.gate[i * f + j];
      }
      const double h = drop[r * f + j] * (o.gate.empty() ? v / (1 + std::exp(-v)) : u / (1 + std::exp(-u)) * v);
      for (std::size_t i = 0; i < m; ++i) y[r * m + i] += h * o.wo[j * m + i];
    }
  return y;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("dense_layer: forward and backward are the equations", "[model]", all) {
  using layer_type = sy::dense_layer<Exec, TestType>;
  using T = typename layer_type::value;
  using acc = sy::accumulate_t<T>;
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, space>;
  const Exec exec{};
  constexpr std::size_t rows = 21, m = 10, f = 19;
  for (const bool gated : {false, true})
    for (const double rate : {0.0, 0.25}) {
      INFO((gated ? "gated" : "plain") << ", dropout " << rate);
      const layer_type layer({.d_model = m,
                              .d_ff = f,
                              .activation = sy::activation_kind::silu,
                              .gated = gated,
                              .dropout = rate,
                              .seed = 9});
      operands o{random_numbers(rows * m, 1), random_numbers(m * f, 2, 0.3), random_numbers(gated ? m * f : 0, 3, 0.3),
                 random_numbers(f * m, 4, 0.3)};
      numbers dy = random_numbers(rows * m, 5);
      const auto x = view_of<matrix>(o.x, rows, m), dy_view = view_of<matrix>(dy, rows, m);
      auto weights = layer.init(exec, sy::seed{1});
      using weight_matrix = std::decay_t<decltype(weights.wi)>;
      weights.wi = view_of<weight_matrix>(o.wi, m, f);
      if (gated) weights.wi_gate = view_of<weight_matrix>(o.gate, m, f);
      weights.wo = view_of<weight_matrix>(o.wo, f, m);
      for (numbers* w : {&o.wi, &o.gate, &o.wo})
        for (double& v : *w) v = static_cast<double>(T(v));
      const auto packed = layer.pack(exec, weights);
      auto tape = layer.make_tape(exec, rows);
      const auto gradients = layer.zeros(exec);
      const auto forget = [](const auto&... views) { // nvcc mangles loops over lists in braces here
        ((views.data() != nullptr ? Kokkos::deep_copy(views, std::nanf("")) : void()), ...);
      };
      forget(gradients.wi, gradients.wi_gate, gradients.wo);
      const auto y = unwritten<matrix>(rows, m), dx = unwritten<matrix>(rows, m);
      sy::forward_options<space> options;
      options.step = 2;
      options.layer = 4;
      layer.forward(exec, packed, x, y, tape, options);
      layer.backward(exec, packed, dy_view, dx, tape, gradients);

      const sy::generator draw(sy::seed{9}, sy::stream::expert_dropout, 2, 4);
      numbers drop(rows * f, 1.0);
      for (std::size_t i = 0; rate > 0 && i < drop.size(); ++i)
        drop[i] = draw.uniform<acc>(i) < acc(rate) ? 0 : 1 / (1 - rate);
      const auto loss = [&] { return dot(plain(o, rows, m, f, drop), dy); };
      CHECK(error<T>(numbers_of(y), plain(o, rows, m, f, drop)) <= 1);
      CHECK(error<T>(numbers_of(dx), differences(o.x, loss), 16, difference_slack) <= 1);
      CHECK(error<T>(numbers_of(gradients.wi), differences(o.wi, loss), 16, difference_slack) <= 1);
      CHECK(error<T>(numbers_of(gradients.wo), differences(o.wo, loss), 16, difference_slack) <= 1);
      if (gated) CHECK(error<T>(numbers_of(gradients.wi_gate), differences(o.gate, loss), 16, difference_slack) <= 1);
      const numbers once = numbers_of(gradients.wi);
      layer.backward(exec, packed, dy_view, dx, tape, gradients, {.accumulate = true});
      const numbers twice = numbers_of(gradients.wi);
      for (std::size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == once[i] + once[i]);
    }
  CHECK_THROWS_AS(layer_type(sy::dense_config{.d_model = 4}), sy::invalid_argument);
  const layer_type layer({.d_model = 4, .d_ff = 4});
  auto tape = layer.make_tape(exec, 3);
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  const matrix x("x", 3, 4), y("y", 3, 4);
  CHECK_THROWS_AS(layer.backward(exec, packed, x, y, tape, layer.zeros(exec)), sy::invalid_argument);
  CHECK_THROWS_AS(layer.forward(exec, packed, x, x, tape), sy::invalid_argument);
}

#define CHECK_REFUSED(expression, text)                                                                                \
  CHECK_THROWS_MATCHES(expression, sy::invalid_argument,                                                               \
                       Catch::Matchers::MessageMatches(Catch::Matchers::ContainsSubstring(text)))

TEST_CASE("dense_layer: what does not fit is refused, by name", "[model]") {
  using layer_type = sy::dense_layer<Exec, sy::uniform<double>>;
  using matrix = Kokkos::View<double**, Kokkos::LayoutRight, space>;
  const Exec exec{};
  const sy::dense_config config{.d_model = 4, .d_ff = 6};
  const layer_type layer(config), wider({.d_model = 4, .d_ff = 8}), gated({.d_model = 4, .d_ff = 6, .gated = true}),
      right(config, {3, 3}), left(config, {0, 3});
  const auto weights = layer.init(exec, sy::seed{1});
  const auto packed = layer.pack(exec, weights);
  auto tape = layer.make_tape(exec, 5), of_gated = gated.make_tape(exec, 5), of_left = left.make_tape(exec, 5);
  const matrix x("x", 5, 4), y("y", 5, 4), dx("dx", 5, 4), longer("longer", 6, 4), thicker("thicker", 5, 6),
      nowhere(nullptr, 5, 4);

  CHECK_REFUSED(wider.pack(exec, weights), "weights.wi.extent(1) = 6: must be 8 for this layer");
  CHECK_REFUSED(gated.pack(exec, weights), "weights.wi_gate.extent(0) = 0: must be 4");
  CHECK_REFUSED(layer.pack(exec, gated.init(exec, sy::seed{1})), "whose configuration has none");
  CHECK_REFUSED(wider.pack(exec, wider.init(exec, sy::seed{1}), packed),
                "packed weights: made for d_ff here = 6, but this layer has 8");
  CHECK_REFUSED(layer.forward(exec, {}, x, y, tape), "packed weights: made for d_model = 0");
  CHECK_REFUSED(layer.forward(exec, packed, x, y, of_gated), "tape: made for gated = 1, but this layer has 0");
  CHECK_REFUSED(right.forward(exec, right.pack(exec, right.init(exec, sy::seed{1})), x, y, of_left),
                "tape: made for first column of d_ff = 0, but this layer has 3");
  CHECK_REFUSED(layer.forward(exec, packed, longer, y, tape), "x.extent(0) = 6: number of rows is 5 here");
  CHECK_REFUSED(layer.forward(exec, packed, x, thicker, tape), "y.extent(1) = 6: d_model is 4 here");
  CHECK_REFUSED(layer.forward(exec, packed, nowhere, y, tape), "x: a view of 20 values without memory");
  layer.forward(exec, packed, x, y, tape);
  CHECK_REFUSED(layer.backward(exec, packed, longer, dx, tape, layer.zeros(exec)), "dy.extent(0) = 6");
  CHECK_REFUSED(layer.backward(exec, packed, x, thicker, tape, layer.zeros(exec)), "dx.extent(1) = 6");
  CHECK_REFUSED(layer.backward(exec, packed, x, dx, tape, wider.zeros(exec)), "gradients.wi.extent(1) = 8");
  CHECK_REFUSED(layer.backward(exec, {}, x, dx, tape, layer.zeros(exec)), "packed weights: made for d_model = 0");
  CHECK_NOTHROW(layer.backward(exec, packed, x, dx, tape, layer.zeros(exec)));
}

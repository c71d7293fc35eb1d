// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <switchyard/switchyard.hpp>

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

// More values in the tokens than a 32-bit integer counts. The last 64 of 2^21 + 64 tokens of 1024 values go to expert
// 1, all others to expert 0, which has no room for most of them. Needs 9 GB: dy is x, and dx lies where y was.
TEST_CASE("tokens beyond 2^31 values", "[large]") {
  namespace sy = switchyard;
  using layer_type = sy::switch_layer<Kokkos::DefaultExecutionSpace>;
  using T = layer_type::value;
  using view = Kokkos::View<T***, Kokkos::LayoutRight, layer_type::space>;
  constexpr std::int64_t m = 1024, tail = 64, tokens = (std::int64_t{1} << 21) + tail;
  static_assert((tokens - tail) * m >= std::int64_t{1} << 31);
  const Kokkos::DefaultExecutionSpace exec;
  const auto weights_of = [&](const layer_type& layer) {
    const auto w = layer.init(exec, sy::seed{72});
    Kokkos::deep_copy(exec, w.router, 0);
    Kokkos::deep_copy(exec, Kokkos::subview(w.router, 0, 0), 4);
    return layer.pack(exec, w);
  };
  const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const auto last = [&](const view& v) {
    return Kokkos::subview(v, 0, std::pair(v.extent(1) - extent(tail), v.extent(1)), Kokkos::ALL);
  };
  // x, then y and dx of the last tokens
  const auto run = [&](const view& x, std::int64_t n, double capacity_factor) {
    const layer_type layer(
        {.d_model = m, .d_ff = 8, .experts = 2, .capacity_factor = capacity_factor, .load_balance = 0});
    const auto packed = weights_of(layer);
    const auto gradients = layer.zeros(exec);
    auto tape = layer.make_tape(exec, 1, n);
    const view y(Kokkos::view_alloc("y", Kokkos::WithoutInitializing), 1, extent(n), extent(m));
    const auto kept = [&] {
      const auto all = Kokkos::create_mirror(Kokkos::HostSpace(), last(y));
      Kokkos::deep_copy(all, last(y));
      std::vector<float> values;
      for (std::size_t t = 0; t < extent(tail); ++t)
        for (std::size_t i = 0; i < extent(m); ++i) values.push_back(static_cast<float>(all(t, i)));
      return values;
    };
    layer.forward(exec, packed, x, y, tape);
    exec.fence("test: results are read");
    CHECK(layer.expert_load(exec, tape)[1] == tail);
    auto values = kept();
    layer.backward(exec, packed, x, y, tape, gradients);
    exec.fence("test: results are read");
    const auto more = kept();
    values.insert(values.end(), more.begin(), more.end());
    return values;
  };
  const view x(Kokkos::view_alloc("x", Kokkos::WithoutInitializing), 1, extent(tokens), extent(m));
  const view few("few", 1, extent(tail), extent(m));
  const auto host = Kokkos::create_mirror_view(few);
  for (std::size_t t = 0; t < extent(tail); ++t)
    for (std::size_t i = 0; i < extent(m); ++i)
      host(0, t, i) = T(i == 0 ? -2.0f : static_cast<float>((t * 31 + i * 17) % 23) / 8.0f - 1.0f);
  Kokkos::deep_copy(few, host);
  Kokkos::deep_copy(x, T(1.0f));
  Kokkos::deep_copy(last(x), last(few));
  const auto all = run(x, tokens, 0.1), alone = run(few, tail, 4);
  REQUIRE(all.size() == 2 * extent(tail * m));
  CHECK(all == alone);
  CHECK(std::any_of(all.begin(), all.end(), [](float v) { return v != 0; }));
}

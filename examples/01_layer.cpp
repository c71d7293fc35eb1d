// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <cmath>
#include <cstdio>
#include <switchyard/switchyard.hpp>

// The smallest program: one layer, forward and backward.

namespace sy = switchyard;

using exec_type = Kokkos::DefaultExecutionSpace;
using layer_type = sy::switch_layer<exec_type>; // selective<bfloat16>, one process

int main(int count, char** arguments) {
  const Kokkos::ScopeGuard kokkos(count, arguments);
  const exec_type exec;
  constexpr std::int64_t groups = 4, tokens = 256, d_model = 64;

  const layer_type layer({.d_model = d_model, .d_ff = 256, .experts = 8});
  const auto weights = layer.init(exec, sy::seed{42});
  const auto packed = layer.pack(exec, weights); // again after every update of the weights
  const auto gradients = layer.zeros(exec);
  auto tape = layer.make_tape(exec, groups, tokens); // all memory that the two passes need

  using view = Kokkos::View<layer_type::value***, Kokkos::LayoutRight, layer_type::space>; // [group, token, d_model]
  const view x("x", groups, tokens, d_model), y("y", groups, tokens, d_model);
  const view dy("dy", groups, tokens, d_model), dx("dx", groups, tokens, d_model);
  const auto host = Kokkos::create_mirror_view(x);
  const sy::generator draw(sy::seed{1}, sy::stream::user);
  for (std::size_t i = 0; i < host.size(); ++i) host.data()[i] = sy::bfloat16(draw.normal(i, 0));
  Kokkos::deep_copy(exec, x, host);
  Kokkos::deep_copy(exec, dy, x);

  layer.forward(exec, packed, x, y, tape);
  layer.backward(exec, packed, dy, dx, tape, gradients);

  const sy::router::summary s = layer.summary(exec, tape);
  std::printf("%.0f tokens to 8 experts: %.1f %% dropped, load balance loss %.3f (1 is even),\n"
              "router entropy %.3f of at most %.3f, confidence %.3f\n",
              s.tokens, 100 * s.dropped_fraction, s.load_balance, s.entropy, std::log(8.0), s.confidence);
}

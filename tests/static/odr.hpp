// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <everything.hpp> // generated

namespace odr {

/// A layer in use: what both translation units instantiate. The sum of its outputs.
inline double checksum() {
  namespace sy = switchyard;
  using exec_type = Kokkos::DefaultHostExecutionSpace;
  using layer_type = sy::switch_layer<exec_type, sy::selective<sy::bfloat16>>;
  using view = Kokkos::View<sy::bfloat16***, Kokkos::LayoutRight, layer_type::space>;

  const exec_type exec;
  const layer_type layer({.d_model = 4, .d_ff = 8, .experts = 2});
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{3}));
  auto tape = layer.make_tape(exec, 1, 6);
  view x("x", 1, 6, 4), y("y", 1, 6, 4), dx("dx", 1, 6, 4);
  Kokkos::deep_copy(exec, x, sy::bfloat16(1.0f));
  layer.forward(exec, packed, x, y, tape);
  layer.backward(exec, packed, x, dx, tape, layer.zeros(exec));
  exec.fence("test: results are read");
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += double(float(y.data()[i])) + double(float(dx.data()[i]));
  return sum;
}

} // namespace odr

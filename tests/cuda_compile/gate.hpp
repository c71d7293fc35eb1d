// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/switchyard.hpp>

// Device code in every precision: -D SWITCHYARD_TEST_PRECISION=selective<bfloat16>.

namespace sy = switchyard;

namespace named_so_that_the_macro_needs_no_prefix {
using switchyard::bfloat16, switchyard::half, switchyard::selective, switchyard::uniform; // CUDA has a ::half
using type = SWITCHYARD_TEST_PRECISION;
} // namespace named_so_that_the_macro_needs_no_prefix
using precision = named_so_that_the_macro_needs_no_prefix::type;

/// Instantiates the member templates of a layer; an explicit instantiation of the class does the rest.
template <class Layer>
void use(const Layer& layer, const Kokkos::Cuda& exec, const typename Layer::packed_type& packed,
         typename Layer::tape_type& tape, const typename Layer::gradients_type& gradients) {
  using tokens_view = Kokkos::View<typename Layer::value***, Kokkos::LayoutRight, typename Layer::space>;
  const tokens_view x, y, dy, dx;
  layer.forward(exec, packed, x, y, tape);
  layer.backward(exec, packed, dy, dx, tape, gradients);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>

/// \file
/// Activations of the expert FFN and their derivatives. Gated experts use the same ones: hidden = act(x wi_gate) * (x
/// wi) is ReGLU, GEGLU or SwiGLU (Shazeer 2020).

namespace switchyard {

enum class activation_kind : std::uint8_t {
  relu,      ///< max(a, 0); the derivative at 0 is 0
  gelu,      ///< a Phi(a), Phi by the error function
  gelu_tanh, ///< a/2 (1 + tanh(sqrt(2/pi) (a + 0.044715 a^3)))
  silu       ///< a / (1 + exp(-a))
};

namespace experts {

/// act(a)
template <class R>
KOKKOS_INLINE_FUNCTION R activate(activation_kind kind, R a) {
  switch (kind) {
  case activation_kind::gelu:
    return R(0.5) * a * (R(1) + Kokkos::erf(a * R(0.70710678118654752440)));
  case activation_kind::gelu_tanh: {
    const R inner = R(0.79788456080286535588) * (a + R(0.044715) * a * a * a);
    return R(0.5) * a * (R(1) + Kokkos::tanh(inner));
  }
  case activation_kind::silu:
    return a / (R(1) + Kokkos::exp(-a));
  default:
    return a <= R(0) ? R(0) : a; // NaN stays NaN
  }
}

/// d act(a) / d a
template <class R>
KOKKOS_INLINE_FUNCTION R activate_derivative(activation_kind kind, R a) {
  switch (kind) {
  case activation_kind::gelu: {
    const R cdf = R(0.5) * (R(1) + Kokkos::erf(a * R(0.70710678118654752440)));
    const R pdf = R(0.39894228040143267794) * Kokkos::exp(R(-0.5) * a * a);
    return cdf + a * pdf;
  }
  case activation_kind::gelu_tanh: {
    const R t = Kokkos::tanh(R(0.79788456080286535588) * (a + R(0.044715) * a * a * a));
    const R inner = R(0.79788456080286535588) * (R(1) + R(3 * 0.044715) * a * a);
    return R(0.5) * (R(1) + t) + R(0.5) * a * (R(1) - t * t) * inner;
  }
  case activation_kind::silu: {
    const R s = R(1) / (R(1) + Kokkos::exp(-a));
    return s * (R(1) + a * (R(1) - s));
  }
  default:
    return a > R(0) ? R(1) : R(0);
  }
}

} // namespace experts
} // namespace switchyard

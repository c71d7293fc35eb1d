// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <switchyard/core/elementary.hpp>

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

/// One activation as a type: value(a) = act(a), derivative(a) = d act(a) / d a.
template <activation_kind Kind>
struct activation {
  template <class R>
  KOKKOS_FUNCTION static R value(R a) {
    if constexpr (Kind == activation_kind::relu)
      return a <= R(0) ? R(0) : a; // NaN stays NaN
    else if constexpr (Kind == activation_kind::gelu)
      return R(0.5) * a * (R(1) + Kokkos::erf(a * R(0.70710678118654752440)));
    else if constexpr (Kind == activation_kind::gelu_tanh)
      return R(0.5) * a * (R(1) + fast_tanh(inner(a)));
    else
      return a / (R(1) + fast_exp(-a));
  }

  template <class R>
  KOKKOS_FUNCTION static R derivative(R a) {
    if constexpr (Kind == activation_kind::relu) {
      return a > R(0) ? R(1) : R(0);
    } else if constexpr (Kind == activation_kind::gelu) {
      const R cdf = R(0.5) * (R(1) + Kokkos::erf(a * R(0.70710678118654752440)));
      const R pdf = R(0.39894228040143267794) * fast_exp(R(-0.5) * a * a);
      return cdf + a * pdf;
    } else if constexpr (Kind == activation_kind::gelu_tanh) {
      const R t = fast_tanh(inner(a));
      const R slope = R(0.79788456080286535588) * (R(1) + R(3 * 0.044715) * a * a);
      return R(0.5) * (R(1) + t) + R(0.5) * a * (R(1) - t * t) * slope;
    } else {
      const R s = R(1) / (R(1) + fast_exp(-a));
      return s * (R(1) + a * (R(1) - s));
    }
  }

 private:
  template <class R>
  KOKKOS_FUNCTION static R inner(R a) { // sqrt(2 / pi) (a + 0.044715 a^3)
    return R(0.79788456080286535588) * (a + R(0.044715) * a * a * a);
  }
};

/// f(activation<kind>()): one decision in front of a loop instead of one in each of its steps.
template <class F>
KOKKOS_INLINE_FUNCTION void with_activation(activation_kind kind, const F& f) {
  switch (kind) {
  case activation_kind::gelu:
    return f(activation<activation_kind::gelu>());
  case activation_kind::gelu_tanh:
    return f(activation<activation_kind::gelu_tanh>());
  case activation_kind::silu:
    return f(activation<activation_kind::silu>());
  default:
    return f(activation<activation_kind::relu>());
  }
}

} // namespace experts
} // namespace switchyard

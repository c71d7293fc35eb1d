// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <concepts>
#include <switchyard/core/bfloat16.hpp>
#include <switchyard/core/half.hpp>

/// \file
/// Precision policies: which number type each quantity of a layer has.
///
/// | policy         | activations, products, wire | router        | sums   | stored weights | gradients |
/// |----------------|-----------------------------|---------------|--------|----------------|-----------|
/// | selective<T>   | T                           | float         | float  | float          | float     |
/// | uniform<T>     | T                           | rounded to T  | float  | T              | float     |
/// | uniform<float> | float                       | float         | float  | float          | float     |
/// | uniform<double>| double                      | double        | double | double         | double    |
///
/// selective<bfloat16> is the Switch Transformer's own choice (paper, section 2.4): only the router is in float, and
/// float never crosses a rank. uniform<bfloat16> is the baseline it replaces: there the logits, probabilities and
/// gates are rounded to T after each step, so ties between experts are real ties of T.

namespace switchyard {

template <class T>
concept storage_type =
    std::same_as<T, double> || std::same_as<T, float> || std::same_as<T, bfloat16> || std::same_as<T, half>;

/// The type that products and sums of T are carried out in.
template <storage_type T>
using accumulate_t = std::conditional_t<std::same_as<T, double>, double, float>;

template <storage_type T = bfloat16>
struct selective {
  static_assert(!std::same_as<T, double>, "switchyard: selective<double> does not exist; use uniform<double>");
  using value_type = T;          ///< activations, expert products, the wire
  using accumulate_type = float; ///< sums of products, losses, statistics
  using router_type = float;     ///< type the router computes in
  using router_storage = float;  ///< type the router's values are rounded to
  using weight_type = float;     ///< stored (master) weights
  using gradient_type = float;   ///< weight gradients
};

template <storage_type T>
struct uniform {
  using value_type = T;
  using accumulate_type = accumulate_t<T>;
  using router_type = accumulate_t<T>;
  using router_storage = T;
  using weight_type = T;
  using gradient_type = accumulate_t<T>;
};

template <class P>
concept precision = requires {
  requires storage_type<typename P::value_type>;
  requires storage_type<typename P::weight_type>;
  requires storage_type<typename P::router_storage>;
  requires std::floating_point<typename P::accumulate_type>;
  requires std::floating_point<typename P::router_type>;
  requires std::floating_point<typename P::gradient_type>;
};

/// The value type of a policy.
template <precision P>
using value_of = typename P::value_type;

/// value rounded to Storage, as a number one can calculate with.
template <storage_type Storage, std::floating_point R>
KOKKOS_INLINE_FUNCTION R rounded(R value) {
  if constexpr (std::same_as<Storage, R>) {
    return value;
  } else {
    return static_cast<R>(static_cast<accumulate_t<Storage>>(Storage(value)));
  }
}

} // namespace switchyard

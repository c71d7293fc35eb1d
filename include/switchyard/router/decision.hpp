// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <concepts>
#include <cstdint>
#include <switchyard/core/random.hpp>
#include <switchyard/router/policy.hpp>

/// \file
/// What a router is asked and what it decides: the data of this room, as views and plain numbers.

namespace switchyard::router {

/// The part of the batch that this process routes.
struct problem {
  std::int64_t groups = 0;       ///< here
  std::int64_t tokens = 0;       ///< per group, S
  std::int64_t experts = 0;      ///< E, all of them
  std::int64_t group_begin = 0;  ///< global number of the first group here
  std::int64_t groups_total = 0; ///< on all ranks, G
};

/// The configuration as the kernels need it for one pass.
struct settings {
  routing_policy routing = routing_policy::top_1;
  renormalize_policy renormalize = renormalize_policy::none;
  second_expert_policy second_expert = second_expert_policy::all;
  slot_order order = slot_order::token;
  balance_form form = balance_form::first_choice;
  balance_scope scope = balance_scope::group;
  int choices = 1;           ///< K
  std::int64_t capacity = 0; ///< C of this pass
  double threshold = 0.2;
  double sample_temperature = 0; ///< 0 outside training
  double logit_softcap = 0;
  double load_balance = 0, router_z = 0, importance = 0, load = 0; ///< coefficients
  generator gumbel, second;                                        ///< draws of this pass
};

/// In `slot` where a choice has no slot.
inline constexpr std::int32_t slot_dropped = -1; ///< its expert was full
inline constexpr std::int32_t slot_none = -2;    ///< it asks for none: padding, removed by policy, never tried

/// Everything the router decided about T = groups * tokens tokens with K choices each.
/// For expert choice K = E: choice j of every token is expert j, with a slot if that expert took the token.
template <std::floating_point Real, class Space>
struct decision {
  template <class T>
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;

  matrix<Real> logits;            // [T, E] soft-capped
  matrix<Real> probs;             // [T, E] softmax of the logits, padding included
  Kokkos::View<Real*, Space> lse; // [T] log sum exp of the logits
  matrix<std::int32_t> choice;    // [T, K] expert, -1 for padding; falling score
  matrix<std::int32_t> slot;      // [T, K] position in its expert and group, or slot_dropped, slot_none
  matrix<Real> gate;              // [T, K] what combine multiplies with; 0 without a slot
  matrix<std::int32_t> filled;    // [groups, E] slots in use, always the first ones

  decision() = default;
  /// Allocates.
  decision(const problem& p, int choices)
      : logits(make<Real>("logits", p.groups * p.tokens, p.experts)),
        probs(make<Real>("probs", p.groups * p.tokens, p.experts)),
        lse(Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::lse"),
            static_cast<std::size_t>(p.groups * p.tokens)),
        choice(make<std::int32_t>("choice", p.groups * p.tokens, choices)),
        slot(make<std::int32_t>("slot", p.groups * p.tokens, choices)),
        gate(make<Real>("gate", p.groups * p.tokens, choices)),
        filled(make<std::int32_t>("filled", p.groups, p.experts)) {}

 private:
  template <class T>
  static matrix<T> make(const char* what, std::int64_t rows, std::int64_t columns) {
    return matrix<T>(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string("switchyard::router::") + what),
                     static_cast<std::size_t>(rows), static_cast<std::size_t>(columns));
  }
};

/// mask(g, s) > 0: a real token. No mask: all are.
template <class Space>
struct padding {
  Kokkos::View<const float**, Kokkos::LayoutRight, Space> mask; // [groups, tokens] or empty
  KOKKOS_FUNCTION bool real(std::int64_t group, std::int64_t token) const {
    return mask.data() == nullptr || mask(group, token) > 0.0f;
  }
};

} // namespace switchyard::router

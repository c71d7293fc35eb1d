// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/detail/sort.hpp>

namespace switchyard::router::detail {

/// Tokens that one thread counts. Any number gives the same slots.
inline constexpr std::int64_t slot_block = 256;

/// One stage of the token-choice slots: choice j of every token that asks for a slot.
template <class Real, class Space>
struct stage {
  problem size;
  settings set;
  int j;
  std::int64_t blocks;
  Kokkos::View<const std::int32_t*, Space> order; // [groups * tokens] or empty
  decision<Real, Space> d;
  Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Space> histogram; // [groups * blocks, E]

  /// Calls f(token, its expert) for the tokens of a block that take part, in order.
  template <class F>
  KOKKOS_FUNCTION void for_each(std::int64_t task, const F& f) const {
    const std::int64_t group = task / blocks;
    const std::int64_t begin = task % blocks * slot_block;
    const std::int64_t end = begin + slot_block < size.tokens ? begin + slot_block : size.tokens;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t token = group * size.tokens + (order.data() ? order(group * size.tokens + i) : i);
      if (takes_part(token)) f(token, d.choice(token, j));
    }
  }

  KOKKOS_FUNCTION bool takes_part(std::int64_t token) const {
    if (d.slot(token, j) == slot_none) return false;
    if (set.routing == routing_policy::no_token_left_behind)
      for (int i = 0; i < j; ++i)
        if (d.slot(token, i) >= 0) return false; // served by an earlier choice
    return true;
  }
};

template <class Real, class Space>
struct count_kernel {
  stage<Real, Space> s;
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    std::int32_t* count = &s.histogram(task, 0);
    for (std::int64_t e = 0; e < s.size.experts; ++e) count[e] = 0;
    s.for_each(task, [&](std::int64_t, std::int32_t expert) { ++count[expert]; });
  }
};

/// Counts -> first position of each block in each expert, after the slots that earlier stages filled.
template <class Real, class Space>
struct scan_kernel {
  stage<Real, Space> s;
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t group = task / s.size.experts, expert = task % s.size.experts;
    std::int64_t position = s.d.filled(group, expert);
    for (std::int64_t b = 0; b < s.blocks; ++b) {
      std::int32_t& bin = s.histogram(group * s.blocks + b, expert);
      const std::int32_t count = bin;
      bin = static_cast<std::int32_t>(position);
      position += count;
    }
    const std::int64_t filled = position < s.set.capacity ? position : s.set.capacity;
    s.d.filled(group, expert) = static_cast<std::int32_t>(filled);
  }
};

template <class Real, class Space>
struct assign_kernel {
  stage<Real, Space> s;
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    std::int32_t* next = &s.histogram(task, 0);
    s.for_each(task, [&](std::int64_t token, std::int32_t expert) {
      const std::int32_t position = next[expert]++;
      if (position < s.set.capacity) s.d.slot(token, s.j) = position;
    });
    if (s.set.routing == routing_policy::no_token_left_behind) forget_untried(task);
  }

  /// Choices behind the one that got the slot were never tried.
  KOKKOS_FUNCTION void forget_untried(std::int64_t task) const {
    const std::int64_t group = task / s.blocks;
    const std::int64_t begin = task % s.blocks * slot_block;
    const std::int64_t end = begin + slot_block < s.size.tokens ? begin + slot_block : s.size.tokens;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t token = group * s.size.tokens + (s.order.data() ? s.order(group * s.size.tokens + i) : i);
      if (s.d.slot(token, s.j) >= 0)
        for (int later = s.j + 1; later < s.set.choices; ++later) s.d.slot(token, later) = slot_none;
    }
  }
};

/// Batch priority: the largest probability of each token.
template <class Real, class Space>
struct priority_key_kernel {
  problem size;
  padding<Space> pad;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> probs;
  Kokkos::View<typename sort_key<Real>::type*, Space> keys;
  Kokkos::View<std::int32_t*, Space> order;
  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    Real largest = probs(t, 0);
    for (std::int64_t e = 1; e < size.experts; ++e) largest = probs(t, e) > largest ? probs(t, e) : largest;
    keys(t) = pad.real(t / size.tokens, t % size.tokens) ? sort_key<Real>::of(largest) : sort_key<Real>::padding;
    order(t) = static_cast<std::int32_t>(t % size.tokens);
  }
};

/// Expert choice: the score of every token, segment (group, expert) by segment.
template <class Real, class Space>
struct expert_key_kernel {
  problem size;
  padding<Space> pad;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> probs;
  Kokkos::View<typename sort_key<Real>::type*, Space> keys;
  Kokkos::View<std::int32_t*, Space> order;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t token = i % size.tokens, expert = i / size.tokens % size.experts;
    const std::int64_t group = i / size.tokens / size.experts;
    keys(i) = pad.real(group, token) ? sort_key<Real>::of(probs(group * size.tokens + token, expert))
                                     : sort_key<Real>::padding;
    order(i) = static_cast<std::int32_t>(token);
  }
};

/// The first C real tokens of each expert's sorted list get its slots.
template <class Real, class Space>
struct take_tokens_kernel {
  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;
  Kokkos::View<const std::int32_t*, Space> order;
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t group = task / size.experts, expert = task % size.experts;
    std::int32_t taken = 0;
    for (std::int64_t i = 0; i < size.tokens; ++i) {
      const std::int64_t token = order(task * size.tokens + i);
      const bool takes = i < set.capacity && pad.real(group, token);
      d.choice(group * size.tokens + token, expert) = static_cast<std::int32_t>(expert);
      d.slot(group * size.tokens + token, expert) = takes ? static_cast<std::int32_t>(i) : slot_none;
      taken += takes;
    }
    d.filled(group, expert) = taken;
  }
};

} // namespace switchyard::router::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/decision.hpp>

namespace switchyard::dispatch::detail {

/// Exclusive prefix sum of filled in the order (expert, group). Integers: any order of summation gives the same.
template <class Space>
struct offset_kernel {
  using value_type = std::int64_t;
  router::problem size;
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> filled; // [groups, E]
  Kokkos::View<std::int64_t*, Space> group_offset, expert_offset;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& sum, bool final) const {
    const std::int64_t expert = i / size.groups, group = i % size.groups;
    sum += filled(group, expert);
    if (!final) return;
    group_offset(i + 1) = sum; // entry 0 is zero from the start
    if (group + 1 == size.groups) expert_offset(expert + 1) = sum;
  }
};

template <class Real, class Space>
struct row_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  Kokkos::View<const std::int64_t*, Space> group_offset;
  Kokkos::View<std::int64_t*, Space> row_token, row_choice, row_slot;

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const std::int64_t group = t / size.tokens;
    for (int j = 0; j < set.choices; ++j) {
      const std::int32_t c = d.slot(t, j);
      if (c < 0) continue;
      const std::int64_t expert = d.choice(t, j);
      const std::int64_t row = group_offset(expert * size.groups + group) + c;
      row_token(row) = t;
      row_choice(row) = t * set.choices + j;
      row_slot(row) = (expert * size.groups_total + size.group_begin + group) * set.capacity + c;
    }
  }
};

} // namespace switchyard::dispatch::detail

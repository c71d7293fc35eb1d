// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <switchyard/dispatch/assignment.hpp>
#include <switchyard/mesh/mesh.hpp>

namespace switchyard::dispatch::detail {

/// filled [groups, E] -> [E, groups], the order in which blocks travel.
template <class Space>
struct transpose_kernel {
  std::int64_t groups;
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> filled;
  Kokkos::View<std::int32_t*, Space> out;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const { out(i) = filled(i % groups, i / groups); }
};

/// Prefix sum of the arrived counts in the order (expert here, global group).
template <class Space>
struct arrived_offset_kernel {
  using value_type = std::int64_t;
  std::int64_t groups_total;
  Kokkos::View<const std::int32_t*, Space> filled;
  Kokkos::View<const std::int64_t*, Space> block, stride;
  Kokkos::View<std::int64_t*, Space> group_offset, expert_offset;

  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& sum, bool final) const {
    const std::int64_t expert = i / groups_total, group = i % groups_total;
    sum += filled(block(group) + expert * stride(group));
    if (!final) return;
    group_offset(i + 1) = sum;
    if (group + 1 == groups_total) expert_offset(expert + 1) = sum;
  }
};

/// Exclusive prefix sum of the arrived counts in the order of arrival: where each block's rows begin, if they arrive
/// without gaps.
template <class Space>
struct first_slot_kernel {
  using value_type = std::int64_t;
  Kokkos::View<const std::int32_t*, Space> filled;
  Kokkos::View<std::int64_t*, Space> first;
  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& sum, bool final) const {
    if (final) first(i) = sum;
    sum += filled(i);
  }
};

template <class Space>
struct arrived_row_kernel {
  part groups; // along the axis
  std::int64_t groups_total, expert_begin, capacity;
  Kokkos::View<const std::int32_t*, Space> filled;
  Kokkos::View<const std::int64_t*, Space> block, stride, first_slot, group_offset; // first_slot empty: padded blocks
  Kokkos::View<std::int64_t*, Space> place, slot;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t expert = i / groups.count, group = i % groups.count;
    const std::int64_t b = block(group) + expert * stride(group);
    const std::int64_t begin = first_slot.data() != nullptr ? first_slot(b) : b * capacity;
    const std::int64_t global = (expert_begin + expert) * groups_total + groups.begin + group;
    for (std::int64_t c = 0; c < filled(b); ++c) {
      place(group_offset(i) + c) = begin + c;
      slot(group_offset(i) + c) = global * capacity + c;
    }
  }
};

/// The row offsets of every chunk of the experts here, from its own first row on: [chunks, experts + 1]. Experts of
/// other chunks have no rows in it.
template <class Space>
struct chunk_offset_kernel {
  std::int64_t experts, chunks;
  Kokkos::View<const std::int64_t*, Space> offset;
  Kokkos::View<std::int64_t*, Space> out;

  KOKKOS_FUNCTION std::int64_t first_expert(std::int64_t chunk) const { // as part_of
    const std::int64_t each = experts / chunks, more = experts % chunks;
    return chunk * each + (chunk < more ? chunk : more);
  }
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t chunk = i / (experts + 1), e = i % (experts + 1);
    const std::int64_t first = first_expert(chunk), last = first_expert(chunk + 1);
    out(i) = offset(e < first ? first : e > last ? last : e) - offset(first);
  }
};

/// Compilers make vector code of a loop over numbers, not of one over 16-bit structs.
template <class T>
KOKKOS_INLINE_FUNCTION void copy_row(const T* from, T* to, std::size_t n) {
  KOKKOS_IF_ON_HOST((std::memcpy(to, from, n * sizeof(T));))
  KOKKOS_IF_ON_DEVICE((for (std::size_t i = 0; i < n; ++i) to[i] = from[i];))
}

template <class T, class Real, class Space>
struct fill_kernel {
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  slot_map<Space> map;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> x; // [T, M]
  Kokkos::View<T**, Kokkos::LayoutRight, Space> blocks;  // [slots, M here]
  std::int64_t first;                                    // column of x that is column 0 here

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) continue;
      copy_row(&x(t, first), &blocks(row, 0), blocks.extent(1));
    }
  }
};

} // namespace switchyard::dispatch::detail

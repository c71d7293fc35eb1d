// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/dispatch/detail/assignment_kernels.hpp>
#include <switchyard/gemm/rows.hpp>

/// \file
/// The assignment: token <-> slot, as index lists and never as a one-hot tensor.
///
/// The slots in use form one compact list of rows, ordered by (expert, group, position). Row lists of any raggedness -
/// capacity mode, dropless, expert choice - are the same thing to everything behind this room.

namespace switchyard::dispatch {

template <class Space>
struct assignment {
  template <class T>
  using list = Kokkos::View<T*, Space>;

  list<std::int64_t> group_offset;  // [E * groups + 1] first row of (expert, group)
  list<std::int64_t> expert_offset; // [E + 1] first row of each expert
  list<std::int64_t> row_token;     // [rows] token (local, of T) in each row
  list<std::int64_t> row_choice;    // [rows] t * K + j: which choice of which token
  list<std::int64_t> row_slot;      // [rows] global number of the slot, (e * G + g) * C + c: keys random draws
  std::int64_t max_rows = 0;        // T * K, or fewer where capacity says so

  assignment() = default;
  /// Allocates. max_rows: an upper bound of the slots in use.
  assignment(const router::problem& p, std::int64_t bound)
      : group_offset("switchyard::dispatch::group_offset", static_cast<std::size_t>(p.experts * p.groups + 1)),
        expert_offset("switchyard::dispatch::expert_offset", static_cast<std::size_t>(p.experts + 1)),
        row_token("switchyard::dispatch::row_token", static_cast<std::size_t>(bound)),
        row_choice("switchyard::dispatch::row_choice", static_cast<std::size_t>(bound)),
        row_slot("switchyard::dispatch::row_slot", static_cast<std::size_t>(bound)), max_rows(bound) {}

  gemm::row_groups<Space> groups() const { return {expert_offset, max_rows}; }
};

/// The router's slots -> row lists. Deterministic; does not communicate, allocate or fence.
template <class Exec, class Real, class Space>
void list_rows(const Exec& exec, const router::problem& size, const router::settings& set,
               const router::decision<Real, Space>& d, const assignment<Space>& a) {
  const detail::offset_kernel<Space> offset{size, d.filled, a.group_offset, a.expert_offset};
  if constexpr (gpu_space<Exec>) {
    using block = detail::offset_block<Space>;
    gpu::for_each_block<block::threads>("switchyard::dispatch::group_offset", exec, 1, block::bytes, block{offset});
  } else {
    Kokkos::parallel_scan("switchyard::dispatch::group_offset", indices(exec, size.experts * size.groups), offset);
  }
  for_each_index("switchyard::dispatch::list_rows", exec, size.groups * size.tokens,
                 detail::row_kernel<Real, Space>{size, set, d, a.group_offset, a.row_token, a.row_choice, a.row_slot});
}

/// Where the row of each choice lies in the buffers that dispatch fills and combine reads: the compact list on one
/// rank, padded blocks [E, groups, C] where slots travel.
template <class Space>
struct slot_map {
  Kokkos::View<const std::int64_t*, Space> group_offset; // compact: [E * groups + 1]
  std::int64_t groups = 0, capacity = 0;
  bool padded = false;

  /// Row of position c of an expert in a group; c < 0 has none and gives -1.
  KOKKOS_FUNCTION std::int64_t operator()(std::int64_t expert, std::int64_t group, std::int32_t c) const {
    if (c < 0) return -1;
    const std::int64_t block = expert * groups + group;
    return padded ? block * capacity + c : group_offset(block) + c;
  }
};

} // namespace switchyard::dispatch

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/model/types.hpp>

/// \file
/// Sums of rows over the ranks of one mesh axis. Where ranks share the inner dimension of a product (heads, d_ff, the
/// vocabulary), each has a part of every result:
///
///   y = sum over ranks r of T(x_r W_r)      parts travel in T, are added in float in the order of the ranks and
///   rounded
///                                           to T once: the same bytes on every rank
///
/// Sublayers take a `row_sum`, or `no_sum` where their weights are whole. dW_r = x_r^T dy and dx_r = dy W_r^T are whole
/// on the rank that has x_r; the product that made x_r, whose columns are split, has the sum of the backward.

namespace switchyard::model {

/// In the place of a row_sum where nothing is split.
struct no_sum {
  static constexpr bool splits = false;
};

/// What sums are made in, one after another.
template <class T, class Space>
struct row_sum_memory {
  staged<vector<T, Space>> values, scratch;

  row_sum_memory() = default;
  /// For up to `elements` on up to `ranks` ranks, over world or over what was split from it. Allocates.
  row_sum_memory(std::int64_t elements, std::int64_t ranks, const communicator& world)
      : values(vector<T, Space>("switchyard::model::row_sum", static_cast<std::size_t>(elements)), world),
        scratch(vector<T, Space>("switchyard::model::row_sum_scratch", static_cast<std::size_t>(elements + ranks)),
                world) {}
};

/// The sum over one axis of rows that each of its ranks has a part of.
template <class T, class Space>
class row_sum {
 public:
  static constexpr bool splits = true;

  /// world: all ranks of the mesh, for errors; phase: what they say.
  row_sum(const row_sum_memory<T, Space>& memory, const communicator& world, const communicator& along,
          const char* phase)
      : memory_(memory), world_(world), along_(along), phase_(phase) {}

  /// Is there anybody to add to?
  bool active() const { return along_.size() > 1; }

  /// [count, columns] of the memory: this rank's part goes there, and the sum comes there.
  matrix<T, Space> rows(std::int64_t count, std::int64_t columns) const {
    return matrix<T, Space>(memory_.values.view().data(), static_cast<std::size_t>(count),
                            static_cast<std::size_t>(columns));
  }

  /// x (=) its sum over the ranks: what rows() gave, or other rows by way of the memory. Collective over the axis: one
  /// all-reduce. Waits for exec; allocates no view; deterministic.
  template <class Exec>
  void run(const Exec& exec, const matrix<T, Space>& x) const {
    using flat = Kokkos::View<T*, Space, Kokkos::MemoryUnmanaged>;
    const auto values = memory_.values.part(0, static_cast<std::int64_t>(x.size()));
    const flat there(x.data(), x.size());
    const bool elsewhere = x.data() != values.view().data();
    if (elsewhere) Kokkos::deep_copy(exec, values.view(), there);
    run_phase(world_, phase_, [&] { all_reduce_sum(exec, along_, values, memory_.scratch); });
    if (elsewhere) Kokkos::deep_copy(exec, there, values.view());
  }

 private:
  row_sum_memory<T, Space> memory_;
  communicator world_, along_;
  const char* phase_;
};

/// Where a product whose rows are to be summed goes: the memory of the sum, or `own` where there is none.
template <class Sum, class Matrix>
Matrix place_of(const Sum& sum, const Matrix& own) {
  if constexpr (Sum::splits)
    if (sum.active()) return sum.rows(detail::extent(own, 0), detail::extent(own, 1));
  return own;
}

/// x (=) its sum over the ranks; nothing where there is none.
template <class Exec, class Sum, class Matrix>
void sum_over(const Exec& exec, const Sum& sum, const Matrix& x) {
  if constexpr (Sum::splits)
    if (sum.active()) sum.run(exec, x);
}

} // namespace switchyard::model

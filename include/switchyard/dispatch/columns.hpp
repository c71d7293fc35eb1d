// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/dispatch/detail/column_kernels.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/mesh.hpp>

/// \file
/// A matrix whose columns are cut over the ranks of an axis, and the two ways between the cut and the whole:
///
///   gather        S<d_model> -> R       all-gather; its transpose is
///   scatter_sum   P -> S<d_model>       reduce-scatter
///   take          R -> S<d_model>       a slice, nothing is sent

namespace switchyard::dispatch {

/// Buffers for up to `reserve`d rows. Along an axis of one rank nothing is cut: first() is 0, width() is d_model, and
/// there are no buffers.
template <class T, class Space>
class columns {
 public:
  using flat = Kokkos::View<T*, Space>;
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;

  columns() = default;
  columns(const communicator& along, std::int64_t d_model) : columns(along, d_model, along) {}
  /// mine() is exchanged over `other` too.
  columns(const communicator& along, std::int64_t d_model, const communicator& other)
      : along_(along), staged_for_(along.takes(staged<flat>::memory) ? other : along), width_(d_model / along.size()) {
    counts_.resize(static_cast<std::size_t>(along.size()));
    if (cut()) parts_ = scratch_ = staged<flat>(flat("switchyard::dispatch::columns", 0), staged_for_); // without rows
  }

  bool cut() const { return along_.size() > 1; }
  std::int64_t first() const { return along_.rank() * width_; } ///< column of the whole that is column 0 here
  std::int64_t width() const { return width_; }                 ///< columns here

  /// Room for `rows` rows. Allocates where there is less.
  void reserve(std::int64_t rows) {
    const auto elements = static_cast<std::size_t>(rows * width_ * along_.size());
    if (!cut() || elements <= parts_.view().extent(0)) return;
    parts_ = scratch_ = {};
    parts_ = staged<flat>(flat("switchyard::dispatch::columns", elements), staged_for_);
    scratch_ = staged<flat>(flat("switchyard::dispatch::columns_scratch", elements), staged_for_);
  }

  /// This rank's columns of a matrix of `rows` rows, [rows, width], where gather reads and scatter_sum writes them.
  staged<flat> mine(std::int64_t rows) const { return parts_.part(along_.rank() * rows * width_, rows * width_); }
  matrix mine_as_matrix(std::int64_t rows) const {
    return matrix(parts_.view().data() + along_.rank() * rows * width_, static_cast<std::size_t>(rows),
                  static_cast<std::size_t>(width_));
  }

  /// mine(rows) of every rank -> whole [rows, d_model]; where `place` is given, its rows [0, offset(last)) alone.
  /// Communicates: one all-gather. Allocates nothing.
  template <class Exec>
  void gather(const Exec& exec, std::int64_t rows, const matrix& whole, const gemm::index_view<Space>& offset = {},
              const gemm::index_view<Space>& place = {}) {
    counts_.assign(counts_.size(), rows * width_);
    all_gather(exec, along_, all(rows), counts_, 1);
    move<false>(exec, rows, whole, offset, place);
  }

  /// whole [rows, d_model], a partial sum on every rank -> mine(rows), this rank's columns of the sum: 16-bit values
  /// travel as such, are added in float in the order of the ranks and rounded once. Communicates: one reduce-scatter.
  template <class Exec>
  void scatter_sum(const Exec& exec, std::int64_t rows, const matrix& whole, const gemm::index_view<Space>& offset = {},
                   const gemm::index_view<Space>& place = {}) {
    counts_.assign(counts_.size(), rows * width_);
    move<true>(exec, rows, whole, offset, place);
    reduce_scatter_sum(exec, along_, all(rows), counts_, scratch_.part(0, rows * width_ * along_.size()),
                       mine(rows).view());
  }

  /// whole [rows, d_model], the same on every rank -> mine(rows). Local.
  template <class Exec>
  void take(const Exec& exec, std::int64_t rows, const matrix& whole, const gemm::index_view<Space>& offset = {},
            const gemm::index_view<Space>& place = {}) const {
    move<true>(exec, rows, whole, offset, place);
  }

 private:
  staged<flat> all(std::int64_t rows) const { return parts_.part(0, rows * width_ * along_.size()); }

  template <bool Cut, class Exec>
  void move(const Exec& exec, std::int64_t rows, const matrix& whole, const gemm::index_view<Space>& offset,
            const gemm::index_view<Space>& place) const {
    for_each_index(Cut ? "switchyard::dispatch::cut_columns" : "switchyard::dispatch::join_columns", exec, rows,
                   detail::column_kernel<T, Space, Cut>{whole, parts_.view(), rows, width_, offset, place});
  }

  communicator along_ = self(), staged_for_ = self();
  std::int64_t width_ = 0;
  staged<flat> parts_, scratch_; // [ranks][rows, width]
  std::vector<std::int64_t> counts_;
};

} // namespace switchyard::dispatch

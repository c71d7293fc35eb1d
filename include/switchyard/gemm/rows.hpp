// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <switchyard/core/error.hpp>

/// \file
/// The operands of a grouped product: a ragged list of rows, cut into groups, each row read through an index.
/// gemm knows rows, columns and groups; what a row means (a token, a slot) is the caller's business.

namespace switchyard::gemm {

template <class Space>
using index_view = Kokkos::View<const std::int64_t*, Space>;

/// Rows [offset(g), offset(g+1)) belong to group g. The offsets live where the kernels run, so no host ever waits for
/// them; max_rows bounds offset(groups) and is all that a launch needs.
template <class Space>
struct row_groups {
  index_view<Space> offset; // [groups + 1], offset(0) = 0
  std::int64_t max_rows = 0;
  std::int64_t each = 0; // rows of every group, where all have as many and the host knows it; 0: it does not

  KOKKOS_FUNCTION std::int64_t groups() const { return static_cast<std::int64_t>(offset.extent(0)) - 1; }
};

/// A matrix whose row r is row index(r) of `values`: gathering is part of the product. No index means row r itself.
template <class T, class Space>
struct rows {
  Kokkos::View<const T**, Kokkos::LayoutStride, Space> values; // [any, columns], unit stride within a row
  index_view<Space> index;                                     // [rows] or empty

  rows() = default;
  template <class View>
  rows(const View& matrix, const index_view<Space>& through = {}) : values(matrix), index(through) {
    switchyard::detail::require(matrix.extent(1) <= 1 || matrix.stride(1) == 1, "rows: stride(1) = ", matrix.stride(1),
                                ": the columns of a row must be contiguous; deep_copy into a LayoutRight view");
  }

  KOKKOS_FUNCTION std::int64_t columns() const { return static_cast<std::int64_t>(values.extent(1)); }
  KOKKOS_FUNCTION std::int64_t at(std::int64_t row) const { return index.data() ? index(row) : row; }
  KOKKOS_FUNCTION const T* operator()(std::int64_t row) const {
    return values.data() + at(row) * static_cast<std::int64_t>(values.stride(0));
  }
};

/// Which product the packed weights are for: a · W, or a · W^T.
enum class orientation : std::uint8_t { forward, transposed };

} // namespace switchyard::gemm

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/train/detail/optimizer_kernels.hpp>

// What a rank adds to the sums of a matrix that it has a part of, and what comes of the sums. Beside the kernels of
// optimizer_kernels.hpp.

namespace switchyard::train::detail {

/// Squares of the columns here of a row: one task per row.
template <class G, class S>
struct row_sums_kernel {
  adafactor_state<G, S> a;
  double* sums; // [count, rows]
  KOKKOS_FUNCTION void operator()(std::int64_t r) const {
    const std::int64_t n = a.shape.columns, begin = r * n;
    sums[r] = lane_sum<double>(n, [&](std::int64_t c) { return static_cast<double>(a.square(begin + c)); });
  }
};

/// Squares of the rows here of some columns: one task per block of columns of a matrix.
template <class G, class S>
struct column_sums_kernel {
  adafactor_state<G, S> a;
  std::int64_t blocks; // of columns
  double* sums;        // [count, columns]
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t e = task / blocks, begin = task % blocks * column_block, n = a.shape.columns;
    const std::int64_t here = n - begin < column_block ? n - begin : column_block;
    double sum[column_block] = {};
    for (std::int64_t r = 0; r < a.shape.rows; ++r)
      for (std::int64_t c = 0; c < here; ++c)
        sum[c] += static_cast<double>(a.square((e * a.shape.rows + r) * n + begin + c));
    for (std::int64_t c = 0; c < here; ++c) sums[e * n + begin + c] = sum[c];
  }
};

/// The factors of the rows here: one task per matrix.
template <class G, class S>
struct row_totals_kernel {
  adafactor_state<G, S> a;
  double* totals; // [count]
  KOKKOS_FUNCTION void operator()(std::int64_t e) const {
    const S* row = a.row + e * a.shape.rows;
    totals[e] = lane_sum<double>(a.shape.rows, [&](std::int64_t r) { return static_cast<double>(row[r]); });
  }
};

/// to <- keep to + (1 - keep) sum / things
template <class S>
struct mean_kernel {
  S* to;
  const double* sum;
  double things;
  S keep;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const S mean = static_cast<S>(sum[i] / things);
    to[i] = keep > S(0) ? keep * to[i] + (S(1) - keep) * mean : mean;
  }
};

/// 1 / sqrt(column)
template <class S>
struct inverse_root_kernel {
  const S* column;
  S* inverse;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const { inverse[i] = S(1) / Kokkos::sqrt(column[i]); }
};

/// Of a matrix the sums of its rows here, in order: one task per matrix.
struct matrix_sums_kernel {
  std::int64_t rows;
  const double* of_rows; // [count, rows, 2]
  double* sums;          // [count, 2]
  KOKKOS_FUNCTION void operator()(std::int64_t e) const {
    double updates = 0, weights = 0;
    for (std::int64_t r = e * rows; r < (e + 1) * rows; ++r) {
      updates += of_rows[2 * r];
      weights += of_rows[2 * r + 1];
    }
    sums[2 * e] = updates;
    sums[2 * e + 1] = weights;
  }
};

} // namespace switchyard::train::detail

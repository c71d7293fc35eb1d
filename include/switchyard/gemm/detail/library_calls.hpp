// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstdint>

/// \file
/// What to tell a BLAS, which thinks in columns: a row-major matrix [r, c] is its matrix [c, r]. Numbers only, so that
/// they are tested where there is no GPU.

namespace switchyard::gemm::detail {

/// One batch of products C(i) = op(L(i)) op(R(i)) + beta C(i), column-major: C(i) [m, n], summed over k. Pitches are
/// from one column to the next, strides from one matrix of the batch to the next, both in numbers.
struct batched_call {
  bool left_transposed = false, right_transposed = false;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t left_pitch = 1, left_stride = 0;
  std::int64_t right_pitch = 1, right_stride = 0;
  std::int64_t pitch = 1, stride = 0;
  std::int64_t count = 0;
};

/// sums [count, m, N] of rows [count, m, K] and columns [count, N, k_stride]: sums^T [N, m] = columns rows^T.
/// L: the columns, whose memory is [k_stride, N]; R: the rows, whose memory is [K, m].
inline batched_call product_call(std::int64_t count, std::int64_t m, std::int64_t n_count, std::int64_t k_count,
                                 std::int64_t k_stride, std::int64_t row_pitch, std::int64_t row_stride) {
  return {true,
          false,
          n_count,
          m,
          k_count,
          std::max<std::int64_t>(k_stride, 1),
          n_count * k_stride,
          std::max<std::int64_t>(row_pitch, 1),
          row_stride,
          n_count,
          m * n_count,
          count};
}

/// gradient [count, K, N] of a [count, m, K] and d [count, m, N]: gradient^T [N, K] = d^T a.
/// L: d, whose memory is [N, m]; R: a, whose memory is [K, m].
inline batched_call gradient_call(std::int64_t count, std::int64_t m, std::int64_t k_count, std::int64_t n_count,
                                  std::int64_t a_pitch, std::int64_t a_stride, std::int64_t d_pitch,
                                  std::int64_t d_stride) {
  return {false,
          true,
          n_count,
          k_count,
          m,
          std::max<std::int64_t>(d_pitch, 1),
          d_stride,
          std::max<std::int64_t>(a_pitch, 1),
          a_stride,
          n_count,
          k_count * n_count,
          count};
}

/// Equal groups cut so that what is kept of one piece fits into `room` numbers, `per_row` to a row: whole groups where
/// one fits, else rows of one group. For piece i: groups [group, group + groups), rows [row, row + rows) of each.
struct pieces_of_groups {
  std::int64_t groups, each; // what is cut
  std::int64_t groups_at_once, rows_at_once;

  pieces_of_groups(std::int64_t group_count, std::int64_t rows, std::int64_t room, std::int64_t per_row)
      : groups(group_count), each(rows) {
    const std::int64_t fit = std::max<std::int64_t>(room / std::max<std::int64_t>(per_row, 1), 1); // rows
    rows_at_once = std::min(each, fit);
    groups_at_once = each <= fit ? std::min(groups, fit / std::max<std::int64_t>(each, 1)) : 1;
  }

  struct piece {
    std::int64_t group, groups, row, rows;
  };
  template <class F>
  void for_each(const F& f) const {
    for (std::int64_t g = 0; g < groups; g += groups_at_once)
      for (std::int64_t r = 0; r < each; r += rows_at_once)
        f(piece{g, std::min(groups_at_once, groups - g), r, std::min(rows_at_once, each - r)});
  }
};

} // namespace switchyard::gemm::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/types.hpp>

namespace switchyard::model::detail {

/// sums(c) (=|+=) sum over r = 0, 1, ..., rows - 1 of from(r, c), in that order. One task per 16 columns.
template <class R, class G, class Space>
struct sum_rows_kernel {
  static constexpr int Width = 16;
  matrix<const R, Space> from; // [at least rows, columns]
  std::int64_t rows;
  vector<G, Space> sums; // [columns]
  bool accumulate;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const auto n = static_cast<std::int64_t>(sums.extent(0));
    const std::int64_t begin = task * Width, here = n - begin < Width ? n - begin : Width;
    R sum[Width] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      const R* row = from.data() + r * n + begin;
      for (std::int64_t i = 0; i < here; ++i) sum[i] += row[i];
    }
    for (std::int64_t i = 0; i < here; ++i)
      sums(begin + i) = static_cast<G>(accumulate ? static_cast<R>(sums(begin + i)) + sum[i] : sum[i]);
  }
};

template <class Exec, class From, class Sums>
void sum_rows(const Exec& exec, std::int64_t rows, const From& from, const Sums& sums, bool accumulate) {
  using kernel = sum_rows_kernel<typename From::non_const_value_type, typename Sums::non_const_value_type,
                                 typename Exec::memory_space>;
  for_each_index("switchyard::model::sum_rows", exec, (extent(sums, 0) + kernel::Width - 1) / kernel::Width,
                 kernel{from, rows, sums, accumulate});
}

} // namespace switchyard::model::detail

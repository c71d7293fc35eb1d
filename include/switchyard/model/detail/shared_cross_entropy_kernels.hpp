// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/detail/cross_entropy_kernels.hpp>

namespace switchyard::model::detail {

inline constexpr int row_parts = 3; // the largest logit here, the sum of exponentials, the logit of the target

/// One row of the logits here.
template <class Acc, class Space>
struct row_part_kernel {
  matrix<const Acc, Space> logits; // [block, V here]
  vector<const std::int32_t, Space> targets;
  std::int64_t begin; // row of the block's first
  std::int32_t ignore;
  std::int64_t first, vocabulary; // number of logit 0 here, logits of all ranks
  std::int64_t at;                // row of parts that row 0 has
  matrix<Acc, Space> parts;       // [ranks * rows, 3]

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    in_vector_code([&] { row(i); });
  }
  KOKKOS_FUNCTION void row(std::int64_t i) const {
    const auto n = static_cast<std::int64_t>(logits.extent(1));
    const std::int32_t target = targets(begin + i);
    Acc* KOKKOS_RESTRICT to = &parts(at + begin + i, 0);
    if (!counts(target, ignore, vocabulary)) {
      for (int j = 0; j < row_parts; ++j) to[j] = 0;
      return;
    }
    const Acc* KOKKOS_RESTRICT z = logits.data() + i * n;
    const Acc largest = lane_max<Acc>(n, z[0], [&](std::int64_t v) { return z[v]; });
    to[0] = largest;
    to[1] = lane_sum<Acc>(n, [&](std::int64_t v) { return fast_exp(z[v] - largest); });
    const std::int64_t own = target - first;
    to[2] = own >= 0 && own < n ? z[own] : Acc(0);
  }
};

/// One row of all logits.
template <class Acc, class Space>
struct row_join_kernel {
  matrix<const Acc, Space> parts; // [ranks * rows, 3]
  std::int64_t ranks;
  vector<const std::int32_t, Space> targets;
  std::int32_t ignore;
  std::int64_t vocabulary;
  vector<Acc, Space> lse;
  matrix<double, Space> sums; // [rows, 4]

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const auto rows = static_cast<std::int64_t>(lse.extent(0));
    if (!counts(targets(t), ignore, vocabulary)) {
      for (int term = 0; term < loss_terms; ++term) sums(t, term) = 0;
      lse(t) = 0;
      return;
    }
    Acc largest = parts(t, 0), wanted = 0, sum = 0;
    for (std::int64_t r = 1; r < ranks; ++r)
      if (parts(r * rows + t, 0) > largest) largest = parts(r * rows + t, 0);
    for (std::int64_t r = 0; r < ranks; ++r) {
      sum += parts(r * rows + t, 1) * fast_exp(parts(r * rows + t, 0) - largest);
      wanted += parts(r * rows + t, 2);
    }
    const Acc log_sum = largest + Kokkos::log(sum);
    lse(t) = log_sum;
    sums(t, 0) = static_cast<double>(log_sum - wanted);
    sums(t, 1) = static_cast<double>(log_sum) * static_cast<double>(log_sum);
    sums(t, 2) = 1;
    sums(t, 3) = wanted >= largest ? 1 : 0;
  }
};

} // namespace switchyard::model::detail

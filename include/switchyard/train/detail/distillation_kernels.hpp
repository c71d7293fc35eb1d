// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/elementary.hpp>
#include <switchyard/core/lanes.hpp>
#include <switchyard/model/types.hpp>

namespace switchyard::train::detail {

/// A block of rows of student and teacher.
template <class Acc, class Space>
struct two_logits {
  model::matrix<const Acc, Space> student, teacher; // [block, V] z, z'
  model::vector<const Acc, Space> lse, teacher_lse; // [rows]
  std::int64_t begin;                               // row of the block's first

  /// p'_v of row i of the block.
  KOKKOS_FUNCTION Acc wanted(std::int64_t i, std::int64_t v) const {
    return fast_exp(teacher.data()[i * static_cast<std::int64_t>(teacher.extent(1)) + v] - teacher_lse(begin + i));
  }
};

/// Cross-entropy of a row: (1 - soft) of that of its target, and soft (lse - sum_v p'_v z_v).
template <class Acc, class Space>
struct soft_loss_kernel {
  two_logits<Acc, Space> logits;
  double soft;
  model::matrix<double, Space> sums; // [rows, terms], the cross-entropy first, whether the row counts third

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto n = static_cast<std::int64_t>(logits.student.extent(1));
    const std::int64_t t = logits.begin + i;
    if (!(sums(t, 2) > 0)) return;
    const Acc* z = logits.student.data() + i * n;
    const Acc log_sum = logits.lse(t);
    const Acc loss = lane_sum<Acc>(n, [&](std::int64_t v) { return logits.wanted(i, v) * (log_sum - z[v]); });
    sums(t, 0) = (1 - soft) * sums(t, 0) + soft * static_cast<double>(loss);
  }
};

/// dz of a row: s w ((1 + 2 c_z lse) exp(z - lse) - (1 - soft) 1[v = y] - soft p'_v).
template <class T, class Space>
struct soft_gradient_kernel {
  using acc = accumulate_t<T>;
  two_logits<acc, Space> logits;
  double soft, z, share; // share: s w, or below 0: -s * scale, to be divided by the number of targets
  model::vector<const std::int32_t, Space> targets;
  model::matrix<const double, Space> row_sums; // [rows, terms]
  model::vector<const double, Space> sums;     // [terms]
  model::matrix<T, Space> d_logits;            // [block, V]

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto n = static_cast<std::int64_t>(logits.student.extent(1));
    const std::int64_t t = logits.begin + i;
    const acc* from = logits.student.data() + i * n;
    T* to = d_logits.data() + i * n;
    if (!(row_sums(t, 2) > 0)) {
      for (std::int64_t v = 0; v < n; ++v) to[v] = T(0.0f);
      return;
    }
    const double w = share < 0 ? -share / sums(2) : share;
    const acc log_sum = logits.lse(t), wanted = static_cast<acc>(w * soft), hard = static_cast<acc>(w * (1 - soft));
    const auto each = static_cast<acc>(w * (1 + 2 * z * static_cast<double>(log_sum)));
    const std::int32_t target = targets(t);
    for (std::int64_t v = 0; v < n; ++v) to[v] = T(each * fast_exp(from[v] - log_sum) - wanted * logits.wanted(i, v));
    to[target] = T(each * fast_exp(from[target] - log_sum) - wanted * logits.wanted(i, target) - hard);
  }
};

} // namespace switchyard::train::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/types.hpp>

namespace switchyard::train::detail {

/// Cross-entropy of each sequence: the sum over its rows, in order.
template <class Space>
struct sequence_loss_kernel {
  model::matrix<const double, Space> rows; // [sequences * length, terms], the first term is the cross-entropy
  std::int64_t length;
  model::vector<double, Space> loss; // [sequences]

  KOKKOS_FUNCTION void operator()(std::int64_t s) const {
    double sum = 0;
    for (std::int64_t t = s * length; t < (s + 1) * length; ++t) sum += rows(t, 0);
    loss(s) = sum;
  }
};

} // namespace switchyard::train::detail

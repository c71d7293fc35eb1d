// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/types.hpp>

namespace switchyard::model::detail {

template <class W, class R, class Space>
struct bias_kernel {
  matrix<const W, Space> table;             // [buckets, heads]
  vector<const std::int32_t, Space> bucket; // [distances]
  matrix<R, Space> bias;                    // [heads, distances]

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto distances = static_cast<std::int64_t>(bias.extent(1));
    const std::int64_t head = i / distances, distance = i % distances;
    bias(head, distance) = static_cast<R>(table(bucket(distance), head));
  }
};

template <class R, class G, class Space>
struct bias_gradient_kernel {
  stack<const R, Space> sums; // [batch, heads, buckets]
  matrix<G, Space> gradient;  // [buckets, heads]
  bool accumulate;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const auto heads = static_cast<std::int64_t>(gradient.extent(1));
    const std::int64_t bucket = i / heads, head = i % heads;
    R sum = 0;
    for (std::int64_t b = 0; b < static_cast<std::int64_t>(sums.extent(0)); ++b) sum += sums(b, head, bucket);
    gradient(bucket, head) = static_cast<G>(accumulate ? static_cast<R>(gradient(bucket, head)) + sum : sum);
  }
};

} // namespace switchyard::model::detail

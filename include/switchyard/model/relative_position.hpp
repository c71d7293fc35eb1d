// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cmath>
#include <switchyard/core/error.hpp>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/detail/relative_position_kernels.hpp>

/// \file
/// Relative position bias (Raffel et al., JMLR 21, 2020, section 2.1): what a query adds to its score of a key depends
/// on the bucket of (key - query) alone, one number per bucket and head, shared by all layers of a stack.
///
///   forward    bias(h, key - query) = table[bucket(key - query)][h]
///   backward   dtable[b][h] (=|+=) sum over layers, sequences and (query, key) in bucket b of dscore
///
/// Bidirectional: half of the buckets for keys behind the query (key > query), half for the others; causal: all for
/// keys up to the query, keys behind share bucket 0. Of the n buckets of one side the first n/2 are exact, the others
/// grow by logarithm up to max_distance, and the last one takes all beyond.

namespace switchyard::model {

struct relative_position {
  int buckets = 32;
  std::int64_t max_distance = 128;
  bool bidirectional = true;

  /// The bucket of a key at distance = key - query.
  int bucket(std::int64_t distance) const {
    const int side = bidirectional ? buckets / 2 : buckets, exact = side / 2;
    const int first = !bidirectional || distance <= 0 ? 0 : side;
    if (!bidirectional && distance > 0) return 0;
    const std::int64_t size = distance < 0 ? -distance : distance;
    if (size < exact) return first + static_cast<int>(size);
    const double share =
        std::log(static_cast<double>(size) / exact) / std::log(static_cast<double>(max_distance) / exact);
    const double beyond = share * (side - exact) + 1e-9; // a distance on a boundary counts as beyond it
    return first + (beyond >= side - exact ? side - 1 : exact + static_cast<int>(beyond));
  }
};

/// Throws invalid_argument, naming the field, its value and what is allowed.
inline void validate(const relative_position& p) {
  const int least = p.bidirectional ? 4 : 2;
  switchyard::detail::require(p.buckets >= least && p.buckets % least == 0, "relative_buckets = ", p.buckets,
                              ": must be a positive multiple of ", least);
  const int exact = p.buckets / least;
  switchyard::detail::require(p.max_distance > exact, "relative_max_distance = ", p.max_distance, ": must be above ",
                              exact, ", the distances that have buckets of their own");
}

/// The bucket of every distance from -(queries - 1) to keys - 1, query 0 being at position `first_query` of the keys:
/// element i is that of distance i - (queries - 1) - first_query. Allocates; waits for its own copy.
template <class Space>
vector<std::int32_t, Space> make_buckets(const relative_position& p, std::int64_t queries, std::int64_t keys,
                                         std::int64_t first_query = 0) {
  const std::int64_t count = queries + keys > 0 ? queries + keys - 1 : 0;
  vector<std::int32_t, Space> buckets("switchyard::model::buckets", static_cast<std::size_t>(count));
  const auto host = Kokkos::create_mirror_view(buckets);
  for (std::int64_t i = 0; i < count; ++i) host(i) = p.bucket(i - (queries - 1) - first_query);
  Kokkos::deep_copy(buckets, host);
  return buckets;
}

/// table [buckets, heads], bucket [distances] -> bias [heads, distances].
template <class Exec, class Table, class Buckets, class Bias>
void relative_bias(const Exec& exec, const Table& table, const Buckets& bucket, const Bias& bias) {
  using kernel =
      detail::bias_kernel<typename Table::non_const_value_type, typename Bias::value_type, typename Exec::memory_space>;
  for_each_index("switchyard::model::relative_bias", exec, static_cast<std::int64_t>(bias.size()),
                 kernel{table, bucket, bias});
}

/// bucket_sums [batch, heads, buckets] of one layer's attention_backward -> gradient [buckets, heads], written or
/// (accumulate) added to; sequences in order.
template <class Exec, class Sums, class Gradient>
void relative_bias_backward(const Exec& exec, const Sums& bucket_sums, const Gradient& gradient, bool accumulate) {
  using kernel = detail::bias_gradient_kernel<typename Sums::non_const_value_type, typename Gradient::value_type,
                                              typename Exec::memory_space>;
  for_each_index("switchyard::model::relative_bias_backward", exec, static_cast<std::int64_t>(gradient.size()),
                 kernel{bucket_sums, gradient, accumulate});
}

} // namespace switchyard::model

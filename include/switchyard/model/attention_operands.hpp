// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/dropout.hpp>
#include <type_traits>

/// \file
/// The operands of attention (attention.hpp).

namespace switchyard::model {

/// What attends to what.
struct attention_shape {
  std::int64_t batch = 0, queries = 0, keys = 0;
  std::int64_t heads = 0, d_kv = 0;
  bool causal = false;          ///< query i sees keys up to position first_query + i
  std::int64_t first_query = 0; ///< position of query 0 among the keys (a cache of earlier keys)
  std::int64_t first_head = 0;  ///< number of head 0 where several ranks share the heads: keys the draws of dropout
  std::int64_t all_heads = 0;   ///< of all ranks; 0: those here are all
};

/// Rows [batch, length, heads * d_kv] that lie in memory with any stride but for the last: columns of a projection, or
/// a cache.
template <class T, class Space>
struct head_rows {
  T* values = nullptr;
  std::int64_t batch_stride = 0, row_stride = 0;

  head_rows() = default;
  head_rows(T* at, std::int64_t per_sequence, std::int64_t per_row)
      : values(at), batch_stride(per_sequence), row_stride(per_row) {}
  /// A matrix [batch * length, heads * d_kv], or columns of one.
  template <class View>
  head_rows(const View& v, std::int64_t length)
      : values(v.data()), batch_stride(length * static_cast<std::int64_t>(v.stride(0))),
        row_stride(static_cast<std::int64_t>(v.stride(0))) {}
  template <class U>
  requires std::is_same_v<const U, T> head_rows(const head_rows<U, Space>& other)
      : values(other.values), batch_stride(other.batch_stride), row_stride(other.row_stride) {}
};

/// The operands beside q, k and v, each of which may be absent.
template <class Real, class Space>
struct attention_options {
  matrix<const float, Space> mask{};          ///< [batch, keys], a key is real iff > 0; empty: all are
  matrix<const Real, Space> bias{};           ///< [heads, queries + keys - 1], of relative_bias; empty: none
  vector<const std::int32_t, Space> bucket{}; ///< [queries + keys - 1], of make_buckets, for the gradient of bias
  dropout<Real> drop{};                       ///< of p; element ((b H + h) queries + i) keys + j, h of all H
};

} // namespace switchyard::model

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/error.hpp>
#include <switchyard/model/detail/attention_gradient.hpp>
#include <switchyard/model/detail/attention_kernels.hpp>

/// \file
/// Multi-head attention by T5's conventions: no division by sqrt(d_kv), a bias by relative position, no biases on the
/// projections. Per sequence and head, query i and key j:
///
///   forward    s_ij = q_i k_j + bias(j - i),   -inf where key j is padding or (causal) behind query i
///              p_ij = exp(s_ij - lse_i),       lse_i = log sum_j exp(s_ij)
///              o_i  = T(sum_j D_ij p_ij v_j)
///   backward   dp_ij = D_ij do_i v_j,          delta_i = do_i o_i
///              ds_ij = p_ij (dp_ij - delta_i)
///              dv_j = T(sum_i D_ij p_ij do_i), dk_j = T(sum_i ds_ij q_i), dq_i = T(sum_j ds_ij k_j), dbias = ds
///
/// Scores exist one tile of 64 queries times 64 keys at a time (Rabe and Staats, 2021; Dao et al., 2022): the forward
/// keeps the largest score and the sum of exponentials so far and rescales; it leaves lse [batch, heads, queries], from
/// which the backward makes p again. Scores, probabilities and sums are in the accumulate type and never rounded to T.
/// A query without any key to look at gives zeros.
///
/// One task of the forward is a tile of queries of a head; of the backward it is a head of a sequence, which owns its
/// dq, dk, dv and sums of dbias: no two tasks add to the same number, and all orders are fixed.

namespace switchyard::model {

/// Have exec keep the memory that tasks of this shape work in: forward and backward then allocate nothing.
/// Throws invalid_argument for a shape whose tasks are too many or need too much of it.
template <class T, class Exec>
void reserve_attention(const Exec& exec, const attention_shape& shape) {
  using acc = accumulate_t<T>;
  const detail::attention_layout<acc> layout(shape);
  const std::size_t bytes = layout.backward_bytes();
  switchyard::detail::require(shape.batch * shape.heads * layout.query_tiles() < (std::int64_t{1} << 31),
                              "batch = ", shape.batch, ", heads = ", shape.heads, ", queries = ", shape.queries,
                              ": tiles of queries are counted in 31 bits; use smaller batches");
  switchyard::detail::require(bytes <= detail::task_memory_limit, "queries = ", shape.queries, ", keys = ", shape.keys,
                              ", d_kv = ", shape.d_kv, ": a head's gradient of the queries and its distances take ",
                              bytes, " bytes, ", detail::task_memory_limit, " are possible; use shorter sequences");
  detail::reserve_task_memory(exec, bytes);
}

/// q [batch, queries, heads * d_kv], k, v [batch, keys, ...] -> out as q, lse [batch, heads, queries].
template <class T, class Exec, class Lse, class Space = typename Exec::memory_space, class Real = accumulate_t<T>>
void attention(const Exec& exec, const attention_shape& shape, std::type_identity_t<head_rows<const T, Space>> q,
               std::type_identity_t<head_rows<const T, Space>> k, std::type_identity_t<head_rows<const T, Space>> v,
               const std::type_identity_t<attention_options<Real, Space>>& options,
               std::type_identity_t<head_rows<T, Space>> out, const Lse& lse) {
  using kernel = detail::attention_kernel<T, Exec>;
  const detail::attention_layout<Real> layout(shape);
  Kokkos::parallel_for(
      "switchyard::model::attention",
      detail::task_policy(exec, shape.batch * shape.heads * layout.query_tiles(), layout.forward_bytes()),
      kernel{shape, layout, q, k, v, options, out, lse});
}

/// d_out (as out) -> dq, dk, dv (as q, k, v), and bucket_sums [batch, heads, buckets] of dbias where there is a bias
/// (else a view of nothing). out and lse are those of the forward, options the same.
template <class T, class Exec, class Lse, class Sums, class Space = typename Exec::memory_space,
          class Real = accumulate_t<T>>
void attention_backward(const Exec& exec, const attention_shape& shape,
                        std::type_identity_t<head_rows<const T, Space>> q,
                        std::type_identity_t<head_rows<const T, Space>> k,
                        std::type_identity_t<head_rows<const T, Space>> v,
                        const std::type_identity_t<attention_options<Real, Space>>& options,
                        std::type_identity_t<head_rows<const T, Space>> out, const Lse& lse,
                        std::type_identity_t<head_rows<const T, Space>> d_out,
                        std::type_identity_t<head_rows<T, Space>> dq, std::type_identity_t<head_rows<T, Space>> dk,
                        std::type_identity_t<head_rows<T, Space>> dv, const Sums& bucket_sums) {
  using kernel = detail::attention_gradient_kernel<T, Exec>;
  const detail::attention_layout<Real> layout(shape);
  Kokkos::parallel_for("switchyard::model::attention_backward",
                       detail::task_policy(exec, shape.batch * shape.heads, layout.backward_bytes()),
                       kernel{shape, layout, q, k, v, options, out, lse, d_out, dq, dk, dv, bucket_sums});
}

} // namespace switchyard::model

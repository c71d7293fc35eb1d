// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/detail/attention_kernels.hpp>

namespace switchyard::model::detail {

/// One head of one sequence: for each tile of keys all tiles of queries, whose gradients are summed up on the side.
template <class T, class Exec>
struct attention_gradient_kernel {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<T>;
  static constexpr std::int64_t Tile = attention_tile;

  attention_shape shape;
  attention_layout<acc> layout;
  head_rows<const T, space> q, k, v;
  attention_options<acc, space> options;
  head_rows<const T, space> out;
  stack<const acc, space> lse; // [batch, heads, queries]
  head_rows<const T, space> d_out;
  head_rows<T, space> dq, dk, dv;
  stack<acc, space> bucket_sums; // [batch, heads, buckets] or empty

  struct buffers {
    acc *q, *d_out;                       // [Tile, width]
    acc *k, *k_transposed, *v_transposed; // [Tile, width], [d_kv, Tile], [d_kv, Tile]
    acc *p, *dp;                          // [Tile, Tile]
    acc *dk, *dv;                         // [Tile, width]
    acc* excluded;                        // [Tile]
    acc *dq, *delta;                      // [queries, width], [queries]
    acc* by_distance;                     // [distances]
  };

  using member_type = typename task_policy_type<Exec>::member_type;
  KOKKOS_FUNCTION void operator()(const member_type& member) const {
    in_vector_code([&] { run(member); });
  }

  KOKKOS_FUNCTION void run(const member_type& member) const {
    const std::int64_t head = member.league_rank() % shape.heads, batch = member.league_rank() / shape.heads;
    const std::int64_t width = layout.width, d_kv = shape.d_kv;
    task_memory<acc> memory(member, layout.backward_bytes());
    const buffers b{memory.take(Tile * width),
                    memory.take(Tile * width),
                    memory.take(Tile * width),
                    memory.take(d_kv * Tile),
                    memory.take(d_kv * Tile),
                    memory.take(Tile * Tile),
                    memory.take(Tile * Tile),
                    memory.take(Tile * width),
                    memory.take(Tile * width),
                    memory.take(Tile),
                    memory.take(padded(shape.queries, Tile) * width),
                    memory.take(padded(shape.queries, Tile)),
                    memory.take(layout.distances())};
    const score_rule<acc, space> rule{shape, options, batch, head};
    const bool biased = bucket_sums.data() != nullptr;

    find_delta(batch, head, b.delta);
    for (std::int64_t i = 0; i < shape.queries * width; ++i) b.dq[i] = 0;
    for (std::int64_t i = 0; biased && i < layout.distances(); ++i) b.by_distance[i] = 0;
    for (std::int64_t key = 0; key < shape.keys; key += Tile) {
      const std::int64_t here = least(Tile, shape.keys - key);
      const T* k_rows = head_of(k, batch, head, d_kv) + key * k.row_stride;
      load_rows(k_rows, k.row_stride, here, d_kv, b.k, width);
      load_transposed(k_rows, k.row_stride, here, d_kv, b.k_transposed, Tile);
      load_transposed(head_of(v, batch, head, d_kv) + key * v.row_stride, v.row_stride, here, d_kv, b.v_transposed,
                      Tile);
      for (std::int64_t i = 0; i < here * width; ++i) b.dk[i] = b.dv[i] = 0;
      rule.exclude(key, here, b.excluded);

      // A causal query before the first key of the tile sees none of it.
      const std::int64_t unseen = shape.causal && key > shape.first_query ? key - shape.first_query : 0;
      for (std::int64_t query = unseen / Tile * Tile; query < shape.queries; query += Tile)
        add_tile(rule, query, key, here, b, biased);

      store_rows(b.dk, width, here, d_kv, head_of(dk, batch, head, d_kv) + key * dk.row_stride, dk.row_stride);
      store_rows(b.dv, width, here, d_kv, head_of(dv, batch, head, d_kv) + key * dv.row_stride, dv.row_stride);
    }
    store_rows(b.dq, width, shape.queries, d_kv, head_of(dq, batch, head, d_kv), dq.row_stride);
    if (biased) sum_buckets(batch, head, b.by_distance);
  }

  /// delta_i = do_i o_i
  KOKKOS_FUNCTION void find_delta(std::int64_t batch, std::int64_t head, acc* KOKKOS_RESTRICT delta) const {
    for (std::int64_t i = 0; i < shape.queries; ++i) {
      const T* KOKKOS_RESTRICT o = head_of(out, batch, head, shape.d_kv) + i * out.row_stride;
      const T* KOKKOS_RESTRICT d = head_of(d_out, batch, head, shape.d_kv) + i * d_out.row_stride;
      delta[i] =
          lane_sum<acc>(shape.d_kv, [&](std::int64_t j) { return static_cast<acc>(o[j]) * static_cast<acc>(d[j]); });
    }
  }

  /// A tile of queries against a tile of keys.
  KOKKOS_FUNCTION void add_tile(const score_rule<acc, space>& rule, std::int64_t query, std::int64_t key,
                                std::int64_t here, const buffers& b, bool biased) const {
    const std::int64_t rows = least(Tile, shape.queries - query), width = layout.width, d_kv = shape.d_kv, one = 1;
    load_rows(head_of(q, rule.batch, rule.head, d_kv) + query * q.row_stride, q.row_stride, rows, d_kv, b.q, width);
    load_rows(head_of(d_out, rule.batch, rule.head, d_kv) + query * d_out.row_stride, d_out.row_stride, rows, d_kv,
              b.d_out, width);
    for (std::int64_t i = 0; i < rows * Tile; ++i) b.p[i] = b.dp[i] = 0;
    multiply_add(rows, Tile, d_kv, b.q, width, one, b.k_transposed, Tile, b.p, Tile);
    multiply_add(rows, Tile, d_kv, b.d_out, width, one, b.v_transposed, Tile, b.dp, Tile);
    for (std::int64_t i = 0; i < rows; ++i) {
      acc* KOKKOS_RESTRICT p = b.p + i * Tile;
      acc* KOKKOS_RESTRICT dp = b.dp + i * Tile;
      rule.finish(query + i, key, rule.visible(query + i, key, here), b.excluded, p);
      const acc sum = lse(rule.batch, rule.head, query + i), delta = b.delta[query + i];
      if (sum == -Kokkos::Experimental::infinity_v<acc>) // no key at all
        for (std::int64_t j = 0; j < Tile; ++j) p[j] = 0;
      else
        for (std::int64_t j = 0; j < Tile; ++j) p[j] = fast_exp(p[j] - sum);
      if (options.drop.rate > 0) {
        for (std::int64_t j = 0; j < here; ++j) {
          const acc factor = options.drop.factor(rule.element(query + i, key + j));
          dp[j] = p[j] * (dp[j] * factor - delta);
          p[j] *= factor;
        }
      } else {
        for (std::int64_t j = 0; j < Tile; ++j) dp[j] = p[j] * (dp[j] - delta);
      }
      if (biased) {
        acc* KOKKOS_RESTRICT sums = b.by_distance + (key - query - i + shape.queries - 1);
        for (std::int64_t j = 0; j < here; ++j) sums[j] += dp[j];
      }
    }
    multiply_add(here, width, rows, b.p, one, Tile, b.d_out, width, b.dv, width);
    multiply_add(here, width, rows, b.dp, one, Tile, b.q, width, b.dk, width);
    multiply_add(rows, width, here, b.dp, Tile, one, b.k, width, b.dq + query * width, width);
  }

  KOKKOS_FUNCTION void sum_buckets(std::int64_t batch, std::int64_t head, const acc* by_distance) const {
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(bucket_sums.extent(2)); ++i) bucket_sums(batch, head, i) = 0;
    for (std::int64_t i = 0; i < layout.distances(); ++i) bucket_sums(batch, head, options.bucket(i)) += by_distance[i];
  }
};

} // namespace switchyard::model::detail

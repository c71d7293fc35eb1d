// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/elementary.hpp>
#include <switchyard/core/lanes.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/model/attention_operands.hpp>
#include <switchyard/model/detail/task_memory.hpp>
#include <switchyard/model/detail/tile_product.hpp>

namespace switchyard::model::detail {

inline constexpr std::int64_t attention_tile = 64; // queries, and keys, whose scores exist at a time

KOKKOS_INLINE_FUNCTION std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

/// Sizes of what a task works on. Rows of heads are padded to whole cache lines.
template <class R>
struct attention_layout {
  static constexpr std::int64_t Tile = attention_tile;
  std::int64_t queries, keys, d_kv, width;

  explicit attention_layout(const attention_shape& s)
      : queries(s.queries), keys(s.keys), d_kv(s.d_kv), width(padded(s.d_kv, line<R>)) {}

  KOKKOS_FUNCTION std::int64_t query_tiles() const { return (queries + Tile - 1) / Tile; }
  KOKKOS_FUNCTION std::int64_t distances() const { return queries + keys > 0 ? queries + keys - 1 : 0; }
  KOKKOS_FUNCTION std::size_t forward_bytes() const {
    return bytes(3 * Tile * width + d_kv * Tile + Tile * Tile + 3 * Tile);
  }
  KOKKOS_FUNCTION std::size_t backward_bytes() const {
    const std::size_t own = bytes(5 * Tile * width + 2 * d_kv * Tile + 2 * Tile * Tile + Tile +
                                  padded(queries, Tile) * (width + 1) + distances());
    return own > forward_bytes() ? own : forward_bytes();
  }

 private:
  KOKKOS_FUNCTION static std::size_t bytes(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(R); }
};

/// Where head `head` of sequence `batch` begins.
template <class T, class Space>
KOKKOS_INLINE_FUNCTION T* head_of(const head_rows<T, Space>& rows, std::int64_t batch, std::int64_t head,
                                  std::int64_t d_kv) {
  return rows.values + batch * rows.batch_stride + head * d_kv;
}

/// What the scores of a tile need beside the products of its rows. One task's view of the operands.
template <class R, class Space>
struct score_rule {
  const attention_shape& shape;
  const attention_options<R, Space>& options;
  std::int64_t batch, head;

  /// excluded [Tile]: 0 for real keys of the tile that begins at `key`, -inf for padding and beyond the last key.
  KOKKOS_FUNCTION void exclude(std::int64_t key, std::int64_t keys_here, R* excluded) const {
    for (std::int64_t j = 0; j < attention_tile; ++j) {
      const bool real = j < keys_here && (options.mask.data() == nullptr || options.mask(batch, key + j) > 0);
      excluded[j] = real ? R(0) : -Kokkos::Experimental::infinity_v<R>;
    }
  }
  /// Keys of that tile that a query sees: the first so many.
  KOKKOS_FUNCTION std::int64_t visible(std::int64_t query, std::int64_t key, std::int64_t keys_here) const {
    if (!shape.causal) return keys_here;
    const std::int64_t last = shape.first_query + query + 1 - key;
    return last < 0 ? 0 : least(last, keys_here);
  }
  /// score[j] += bias + excluded; -inf from `seen` on.
  KOKKOS_FUNCTION void finish(std::int64_t query, std::int64_t key, std::int64_t seen,
                              const R* KOKKOS_RESTRICT excluded, R* KOKKOS_RESTRICT score) const {
    if (options.bias.data() != nullptr) {
      const R* KOKKOS_RESTRICT bias = &options.bias(head, key - query + shape.queries - 1);
      for (std::int64_t j = 0; j < seen; ++j) score[j] += bias[j];
    }
    for (std::int64_t j = 0; j < attention_tile; ++j) score[j] += excluded[j];
    for (std::int64_t j = seen; j < attention_tile; ++j) score[j] = -Kokkos::Experimental::infinity_v<R>;
  }
  /// Global number of the probability of (query, key).
  KOKKOS_FUNCTION std::int64_t element(std::int64_t query, std::int64_t key) const {
    const std::int64_t heads = shape.all_heads > 0 ? shape.all_heads : shape.heads;
    return ((batch * heads + shape.first_head + head) * shape.queries + query) * shape.keys + key;
  }
};

/// A tile of queries of one head.
template <class T, class Exec>
struct attention_kernel {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<T>;
  static constexpr std::int64_t Tile = attention_tile;

  attention_shape shape;
  attention_layout<acc> layout;
  head_rows<const T, space> q, k, v;
  attention_options<acc, space> options;
  head_rows<T, space> out;
  stack<acc, space> lse; // [batch, heads, queries]

  using member_type = typename task_policy_type<Exec>::member_type;
  KOKKOS_FUNCTION void operator()(const member_type& member) const {
    in_vector_code([&] { run(member); });
  }

  KOKKOS_FUNCTION void run(const member_type& member) const {
    const std::int64_t task = member.league_rank(), tiles = layout.query_tiles();
    const std::int64_t query = task % tiles * Tile, head = task / tiles % shape.heads,
                       batch = task / tiles / shape.heads;
    const std::int64_t rows = least(Tile, shape.queries - query), width = layout.width, d_kv = shape.d_kv;
    task_memory<acc> memory(member, layout.forward_bytes());
    acc *queries = memory.take(Tile * width), *sum = memory.take(Tile * width), *values = memory.take(Tile * width);
    acc *keys = memory.take(d_kv * Tile), *score = memory.take(Tile * Tile);
    acc *largest = memory.take(Tile), *total = memory.take(Tile), *excluded = memory.take(Tile);
    const score_rule<acc, space> rule{shape, options, batch, head};

    load_rows(head_of(q, batch, head, d_kv) + query * q.row_stride, q.row_stride, rows, d_kv, queries, width);
    for (std::int64_t i = 0; i < rows * width; ++i) sum[i] = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
      largest[i] = -Kokkos::Experimental::infinity_v<acc>;
      total[i] = 0;
    }
    const std::int64_t end = shape.causal ? least(shape.keys, shape.first_query + query + rows) : shape.keys;
    for (std::int64_t key = 0; key < end; key += Tile) {
      const std::int64_t here = least(Tile, shape.keys - key);
      load_transposed(head_of(k, batch, head, d_kv) + key * k.row_stride, k.row_stride, here, d_kv, keys, Tile);
      load_rows(head_of(v, batch, head, d_kv) + key * v.row_stride, v.row_stride, here, d_kv, values, width);
      for (std::int64_t i = 0; i < rows * Tile; ++i) score[i] = 0;
      multiply_add(rows, Tile, d_kv, queries, width, std::int64_t{1}, keys, Tile, score, Tile);
      rule.exclude(key, here, excluded);
      for (std::int64_t i = 0; i < rows; ++i) {
        rule.finish(query + i, key, rule.visible(query + i, key, here), excluded, score + i * Tile);
        add_exponentials(score + i * Tile, largest[i], total[i], sum + i * width);
        if (options.drop.rate > 0)
          for (std::int64_t j = 0; j < here; ++j)
            score[i * Tile + j] *= options.drop.factor(rule.element(query + i, key + j));
      }
      multiply_add(rows, width, here, score, Tile, std::int64_t{1}, values, width, sum, width);
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      const acc scale = total[i] > 0 ? acc(1) / total[i] : total[i]; // no key: 0; NaN stays NaN
      for (std::int64_t j = 0; j < d_kv; ++j) sum[i * width + j] *= scale;
      lse(batch, head, query + i) = largest[i] + Kokkos::log(total[i]); // -inf without any key
    }
    store_rows(sum, width, rows, d_kv, head_of(out, batch, head, d_kv) + query * out.row_stride, out.row_stride);
  }

  /// Scores of one query to exponentials, relative to the largest score so far; what is summed already is rescaled.
  KOKKOS_FUNCTION void add_exponentials(acc* KOKKOS_RESTRICT score, acc& largest, acc& total,
                                        acc* KOKKOS_RESTRICT sum) const {
    const acc before = largest;
    const acc now = lane_max<acc>(Tile, before, [&](std::int64_t j) { return score[j]; });
    if (now == -Kokkos::Experimental::infinity_v<acc>) { // nothing seen yet; -inf - -inf would be NaN. NaN scores go on
      bool number = true;
      for (std::int64_t j = 0; j < Tile; ++j) number = number && score[j] == now;
      if (number) {
        for (std::int64_t j = 0; j < Tile; ++j) score[j] = 0;
        return;
      }
    }
    for (std::int64_t j = 0; j < Tile; ++j) score[j] = fast_exp(score[j] - now);
    const acc here = lane_sum<acc>(Tile, [&](std::int64_t j) { return score[j]; });
    largest = now;
    if (now == before) {
      total += here;
      return;
    }
    const acc factor = fast_exp(before - now);
    total = total * factor + here;
    for (std::int64_t j = 0; j < layout.width; ++j) sum[j] *= factor;
  }
};

} // namespace switchyard::model::detail

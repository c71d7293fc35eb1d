// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/elementary.hpp>
#include <switchyard/core/lanes.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/gemm/grouped_product.hpp>
#include <switchyard/model/detail/sum_rows.hpp>

namespace switchyard::model::detail {

inline constexpr int loss_terms = 4; // as in loss_sums

template <class View>
auto rows_of(const View& from, std::int64_t begin, std::int64_t count) {
  return Kokkos::subview(
      from,
      Kokkos::pair<std::size_t, std::size_t>(static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + count)),
      Kokkos::ALL);
}

/// logits = scale * sum
template <class Acc, class Space>
struct logits_epilogue {
  static constexpr bool paired = false;
  Acc scale;
  matrix<Acc, Space> logits;

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  const Acc* KOKKOS_RESTRICT sum) const {
    Acc* KOKKOS_RESTRICT to = logits.data() + row * static_cast<std::int64_t>(logits.extent(1)) + column;
    for (int j = 0; j < n; ++j) to[j] = scale * sum[j];
  }
};

template <class Engine, class T, class Exec, class Group, class X, class Head, class Logits>
void logits_of(const Exec& exec, double scale, const Group& all, const X& x, const Head& head, const Logits& logits) {
  using acc = accumulate_t<T>;
  using space = typename Exec::memory_space;
  gemm::grouped_product<Engine>(exec, all.groups(), gemm::rows<T, space>(x), head.forward[0],
                                logits_epilogue<acc, space>{static_cast<acc>(scale), logits});
}

/// Is the target of a row a token that counts?
KOKKOS_INLINE_FUNCTION bool counts(std::int32_t target, std::int32_t ignore, std::int64_t vocabulary) {
  return target != ignore && target >= 0 && target < vocabulary;
}

/// One row of logits.
template <class Acc, class Space>
struct row_loss_kernel {
  matrix<const Acc, Space> logits; // [block, V]
  vector<const std::int32_t, Space> targets;
  std::int64_t begin; // row of the block's first
  std::int32_t ignore;
  vector<Acc, Space> lse;
  matrix<double, Space> sums; // [rows, 4]

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    in_vector_code([&] { row(i); });
  }
  KOKKOS_FUNCTION void row(std::int64_t i) const {
    const auto n = static_cast<std::int64_t>(logits.extent(1));
    const std::int64_t t = begin + i;
    const Acc* KOKKOS_RESTRICT z = logits.data() + i * n;
    const std::int32_t target = targets(t);
    const bool real = counts(target, ignore, n);
    if (!real) {
      for (int term = 0; term < loss_terms; ++term) sums(t, term) = 0;
      lse(t) = 0;
      return;
    }
    const Acc largest = lane_max<Acc>(n, z[0], [&](std::int64_t v) { return z[v]; });
    const Acc sum = lane_sum<Acc>(n, [&](std::int64_t v) { return fast_exp(z[v] - largest); });
    const Acc log_sum = largest + Kokkos::log(sum);
    lse(t) = log_sum;
    sums(t, 0) = static_cast<double>(log_sum - z[target]);
    sums(t, 1) = static_cast<double>(log_sum) * static_cast<double>(log_sum);
    sums(t, 2) = 1;
    sums(t, 3) = z[target] >= largest ? 1 : 0;
  }
};

/// Sums of the rows of one block, in order.
template <class Space>
struct loss_sums_kernel {
  matrix<const double, Space> row_sums; // [rows, 4]
  std::int64_t each, first;             // rows of a block; number of block 0 here
  matrix<double, Space> block_sums;     // [blocks of all ranks, 4]

  KOKKOS_FUNCTION void operator()(std::int64_t block) const {
    const auto rows = static_cast<std::int64_t>(row_sums.extent(0));
    const std::int64_t end = (block + 1) * each < rows ? (block + 1) * each : rows;
    for (int term = 0; term < loss_terms; ++term) {
      double sum = 0;
      for (std::int64_t t = block * each; t < end; ++t) sum += row_sums(t, term);
      block_sums(first + block, term) = sum;
    }
  }
};

/// dz of one row.
template <class T, class Space>
struct logit_gradient_kernel {
  using acc = accumulate_t<T>;
  matrix<const acc, Space> logits; // [block, V]
  vector<const std::int32_t, Space> targets;
  std::int64_t begin;
  std::int32_t ignore;
  double z, logit_scale, scale, normalizer;
  vector<const acc, Space> lse;
  vector<const double, Space> sums; // [4]
  matrix<T, Space> d_logits;        // [block, V]
  std::int64_t first, vocabulary;   // number of logit 0 here, logits of all ranks

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    in_vector_code([&] { row(i); });
  }
  KOKKOS_FUNCTION void row(std::int64_t i) const {
    const auto n = static_cast<std::int64_t>(logits.extent(1));
    const acc* KOKKOS_RESTRICT from = logits.data() + i * n;
    T* KOKKOS_RESTRICT to = d_logits.data() + i * n;
    const std::int32_t target = targets(begin + i);
    if (!counts(target, ignore, vocabulary)) {
      for (std::int64_t v = 0; v < n; ++v) to[v] = T(0.0f);
      return;
    }
    const double share = logit_scale * scale / (normalizer > 0 ? normalizer : sums(2)); // sums(2) >= 1: this row counts
    const acc log_sum = lse(begin + i), weight = static_cast<acc>(share);
    const auto each = static_cast<acc>(share * (1 + 2 * z * static_cast<double>(log_sum)));
    for (std::int64_t v = 0; v < n; ++v) to[v] = T(each * fast_exp(from[v] - log_sum));
    const std::int64_t own = target - first;
    if (own >= 0 && own < n) to[own] = T(each * fast_exp(from[own] - log_sum) - weight);
  }
};

} // namespace switchyard::model::detail

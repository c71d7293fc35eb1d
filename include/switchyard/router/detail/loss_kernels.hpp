// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/selection.hpp>

namespace switchyard::router::detail {

/// Tokens summed by one thread; part of the definition of the result, not a tuning knob.
inline constexpr std::int64_t loss_block = 64;

/// Columns of a row of sums, after the 3E (blocks) or 4E (groups) of the experts.
namespace column {
inline constexpr int tokens = 0, z = 1, entropy = 2, confidence = 3, wanted = 4, kept = 5, nonfinite = 6, count = 7;
}

/// The K-th largest logit of a token: V-MoE's threshold tau, and its expert.
template <class Real>
KOKKOS_INLINE_FUNCTION std::int32_t kth_largest(const Real* h, std::int64_t experts, int k) {
  std::int32_t best[max_choices] = {};
  for (int j = 0; j < k; ++j) best[j] = next_best(experts, h, best, j);
  return best[k - 1];
}

template <class Real>
KOKKOS_INLINE_FUNCTION Real normal_cdf(Real z) {
  return Real(0.5) * Kokkos::erfc(-z * Real(0.70710678118654752440));
}
template <class Real>
KOKKOS_INLINE_FUNCTION Real normal_pdf(Real z) {
  return Real(0.39894228040143267794) * Kokkos::exp(Real(-0.5) * z * z);
}

/// A block of a group's tokens.
struct token_block {
  std::int64_t group, begin, end; // [begin, end) within the group

  KOKKOS_FUNCTION token_block(std::int64_t task, std::int64_t blocks, const problem& size)
      : group(task / blocks), begin(task % blocks * loss_block),
        end(begin + loss_block < size.tokens ? begin + loss_block : size.tokens) {}
};

/// One pass over the logits of a block: probabilities, choices, and the block's sums of both. A row of [T, E] is in the
/// nearest cache all the while.
template <class Real, class Storage, class Space>
struct decide_kernel {
  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> partial; // [groups * blocks, 3E + count]
  std::int64_t blocks;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const softmax<Real, Storage, Space> probabilities{d};
    const selection<Real, Space> choices{size, set, pad, d};
    Real* f = &partial(task, 0);
    for (std::int64_t i = 0; i < 3 * size.experts + column::count; ++i) f[i] = 0;

    const token_block block(task, blocks, size);
    for (std::int64_t i = block.begin; i < block.end; ++i) {
      const std::int64_t t = block.group * size.tokens + i;
      const Real largest = probabilities(t);
      if (set.routing != routing_policy::expert_choice) choices(t, largest);
      if (pad.real(block.group, i)) add_token(t, largest, f);
    }
  }

  KOKKOS_FUNCTION void add_token(std::int64_t t, Real largest, Real* f) const {
    const std::int64_t experts = size.experts;
    Real* KOKKOS_RESTRICT p = f + experts;
    Real* load = p + experts;
    Real* scalar = load + experts;
    const Real* q = &d.probs(t, 0);
    const Real* h = &d.logits(t, 0);
    const Real lse = d.lse(t);
    for (std::int64_t e = 0; e < experts; ++e) p[e] += q[e];
    // -sum q log q, with log q = h - lse
    const Real entropy =
        lane_sum<Real>(experts, [&](std::int64_t e) { return q[e] > 0 ? q[e] * (lse - h[e]) : Real(0); });
    scalar[column::tokens] += 1;
    scalar[column::z] += lse * lse;
    scalar[column::entropy] += entropy;
    scalar[column::confidence] += largest > 0 ? largest : Real(0); // not NaN
    scalar[column::nonfinite] += Kokkos::isfinite(lse) ? Real(0) : Real(1);

    if (set.routing == routing_policy::expert_choice) return; // its balance loss is 0, its load is not defined
    const int counted = set.form == balance_form::any_of_k ? set.choices : 1;
    for (int j = 0; j < counted; ++j) f[d.choice(t, j)] += 1;
    if (set.load > 0) {
      const Real tau = h[kth_largest(h, experts, set.choices)];
      for (std::int64_t e = 0; e < experts; ++e)
        load[e] += normal_cdf((h[e] - tau) * static_cast<Real>(experts)); // 1 - Phi((tau - h) / sigma)
    }
  }
};

/// The slots that a block's tokens asked for and got.
template <class Real, class Space>
struct count_slots_kernel {
  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> partial; // [groups * blocks, 3E + count]
  std::int64_t blocks;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const bool choosing = set.routing == routing_policy::top_1 || set.routing == routing_policy::top_k;
    Real* scalar = &partial(task, 3 * size.experts);
    const token_block block(task, blocks, size);
    for (std::int64_t i = block.begin; i < block.end; ++i) {
      if (!pad.real(block.group, i)) continue;
      const std::int32_t* slot = &d.slot(block.group * size.tokens + i, 0);
      int wanted = 0, kept = 0;
      for (int j = 0; j < set.choices; ++j) {
        wanted += slot[j] != slot_none;
        kept += slot[j] >= 0;
      }
      scalar[column::wanted] += choosing ? Real(wanted) : Real(1);
      scalar[column::kept] += choosing ? Real(kept) : Real(kept > 0);
    }
  }
};

/// Block sums -> the group's row, blocks in order; the filled slots of each expert go beside them.
template <class Real, class Space>
struct sum_group_kernel {
  problem size;
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> filled;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> partial;
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> sums;
  std::int64_t blocks, columns;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t group = task / columns, c = task % columns;
    Real& out = sums(size.group_begin + group, c);
    if (c >= 3 * size.experts && c < 4 * size.experts) {
      out = static_cast<Real>(filled(group, c - 3 * size.experts));
      return;
    }
    const std::int64_t from = c < 3 * size.experts ? c : c - size.experts;
    Real total = 0;
    for (std::int64_t b = 0; b < blocks; ++b) total += partial(group * blocks + b, from);
    out = total;
  }
};

/// sums [G, .] -> importance, load, filled, choices [4E] over all groups in order.
template <class Real, class Space>
struct sum_expert_kernel {
  problem size;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> sums;
  Kokkos::View<Real*, Space> out;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    Real total = 0;
    for (std::int64_t g = 0; g < size.groups_total; ++g) total += sums(g, (size.experts + i) % (4 * size.experts));
    out(i) = total;
  }
};

/// E sum_e f_ge P_ge of every group; an empty group counts as 0.
template <class Real, class Space>
struct balance_kernel {
  problem size;
  settings set;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> sums;
  Kokkos::View<Real*, Space> out;
  KOKKOS_FUNCTION void operator()(std::int64_t g) const {
    const Real n = sums(g, 4 * size.experts + column::tokens);
    Real total = 0;
    for (std::int64_t e = 0; e < size.experts; ++e) total += sums(g, e) * sums(g, size.experts + e);
    out(g) = n > 0 ? static_cast<Real>(size.experts) * (total / (n * n)) : Real(0);
  }
};

/// Mean and population variance of n numbers.
template <class Real>
struct moments {
  double mean = 0, variance = 0;
  KOKKOS_FUNCTION moments(const Real* values, std::int64_t n, double scale) {
    for (std::int64_t i = 0; i < n; ++i) mean += values[i] * scale;
    mean /= static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) variance += (values[i] * scale - mean) * (values[i] * scale - mean);
    variance /= static_cast<double>(n);
  }
  /// Squared coefficient of variation; 0 where the mean is 0.
  KOKKOS_FUNCTION double cv2() const { return mean > 0 ? variance / (mean * mean) : 0.0; }
};

/// The last O(E + G) additions, by one thread.
template <class Real, class Space>
struct summary_kernel {
  problem size;
  settings set;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> sums;
  Kokkos::View<const Real*, Space> balance, expert_sums;
  Kokkos::View<Real*, Space> dm;
  Kokkos::View<double*, Space> result;

  KOKKOS_FUNCTION void operator()(std::int64_t) const {
    double total[column::count] = {};
    double balanced = 0;
    for (std::int64_t g = 0; g < size.groups_total; ++g) {
      for (int c = 0; c < column::count; ++c) total[c] += static_cast<double>(sums(g, 4 * size.experts + c));
      balanced += static_cast<double>(balance(g));
    }
    const double n = total[column::tokens];
    const double per_token = n > 0 ? 1 / n : 0.0;
    const moments<Real> importance(expert_sums.data(), size.experts, 1.0);
    const moments<Real> load(expert_sums.data() + size.experts, size.experts, per_token);
    result(0) = size.groups_total > 0 ? balanced / static_cast<double>(size.groups_total) : 0.0;
    if (set.scope == balance_scope::batch) {
      double sum = 0;
      for (std::int64_t e = 0; e < size.experts; ++e)
        sum += static_cast<double>(expert_sums(3 * size.experts + e)) * static_cast<double>(expert_sums(e));
      result(0) = static_cast<double>(size.experts) * sum * per_token * per_token;
    }
    result(1) = total[column::z] * per_token;
    result(2) = importance.cv2();
    result(3) = load.cv2();
    result(4) = n;
    result(5) = total[column::wanted] > 0 ? 1 - total[column::kept] / total[column::wanted] : 0.0;
    result(6) = total[column::entropy] * per_token;
    result(7) = total[column::confidence] * per_token;
    result(8) = total[column::nonfinite];
    result(9) = per_token;
    result(10) = importance.mean;

    // d CV^2 / d m_e, with m_e a mean over tokens; zero where the mean is.
    const double experts = static_cast<double>(size.experts), mu = load.mean;
    for (std::int64_t e = 0; e < size.experts; ++e) {
      const double m = static_cast<double>(expert_sums(size.experts + e)) * per_token;
      const double slope =
          mu > 0 ? 2 * (m - mu) / (experts * mu * mu) - 2 * load.variance / (experts * mu * mu * mu) : 0.0;
      dm(e) = static_cast<Real>(set.load * slope * per_token);
    }
  }
};

/// d (balance + importance) / d p of every token of a group.
template <class Real, class Space>
struct loss_gradient_kernel {
  problem size;
  settings set;
  Kokkos::View<const Real**, Kokkos::LayoutRight, Space> sums;
  Kokkos::View<const Real*, Space> expert_sums;
  Kokkos::View<const double*, Space> result; // (9): 1 / real tokens, (10): mean importance
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> dp;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t group = task / size.experts, e = task % size.experts;
    const double experts = static_cast<double>(size.experts);
    const double n = static_cast<double>(sums(size.group_begin + group, 4 * size.experts + column::tokens));
    double slope = 0;
    if (set.scope == balance_scope::batch)
      slope +=
          set.load_balance * experts * result(9) * result(9) * static_cast<double>(expert_sums(3 * size.experts + e));
    else if (n > 0)
      slope += set.load_balance * experts / (static_cast<double>(size.groups_total) * n * n) *
               static_cast<double>(sums(size.group_begin + group, e));
    if (set.importance > 0) {
      const double mean = result(10);
      // The term with d mean is the same for all experts, and the softmax Jacobian sends constants to zero.
      if (mean > 0)
        slope += set.importance * 2 * (static_cast<double>(expert_sums(e)) - mean) / (experts * mean * mean);
    }
    dp(group, e) = static_cast<Real>(slope);
  }
};

} // namespace switchyard::router::detail

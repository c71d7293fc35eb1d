// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/elementary.hpp>
#include <switchyard/core/lanes.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/router/decision.hpp>

/// \file
/// Softmax and selection:   p = softmax(h),   choices = the K experts of largest score, ties to the lowest index.
/// The score is p, or h / temperature + Gumbel noise where experts are sampled; gates always come from p.

namespace switchyard::router {

namespace detail {

/// Order of scores with NaN below everything, so that no NaN ever decides and an index is always an expert.
template <class Real>
KOKKOS_INLINE_FUNCTION bool better(Real score, Real than) {
  return score > than || (Kokkos::isnan(than) && !Kokkos::isnan(score));
}

/// Index of the best of n scores, skipping the first `taken` of `chosen`.
template <class Real, class Score>
KOKKOS_INLINE_FUNCTION std::int32_t best_of(std::int64_t n, const Score& score, const std::int32_t* chosen, int taken) {
  std::int32_t best = -1;
  Real best_score = 0;
  for (std::int32_t e = 0; e < n; ++e) {
    const Real s = score(e);
    if (best >= 0 && !better(s, best_score)) continue;
    bool free = true;
    for (int j = 0; j < taken; ++j) free = free && chosen[j] != e;
    if (!free) continue;
    best = e;
    best_score = s;
  }
  return best;
}

/// The best of an array of scores, the largest of which is known: at full speed as long as it is a number.
template <class Real>
KOKKOS_INLINE_FUNCTION std::int32_t first_best(std::int64_t n, const Real* score, Real largest) {
  const std::int64_t e = lane_find(n, [&](std::int64_t i) { return score[i] == largest; });
  if (e < n) return static_cast<std::int32_t>(e);
  return best_of<Real>(
      n, [&](std::int32_t i) { return score[i]; }, nullptr, 0);
}

/// The next one after the first `taken` choices, which these are: the best of those that come after the last choice in
/// the order of the scores.
template <class Real>
KOKKOS_INLINE_FUNCTION std::int32_t next_best(std::int64_t n, const Real* score, const std::int32_t* chosen,
                                              int taken) {
  const Real least = -Kokkos::Experimental::infinity_v<Real>;
  if (taken == 0) return first_best(n, score, lane_max<Real>(n, least, [&](std::int64_t i) { return score[i]; }));
  const std::int64_t last = chosen[taken - 1];
  const Real bound = score[last];
  const auto after = [&](std::int64_t i) { return score[i] < bound || (score[i] == bound && i > last); };
  const Real best = lane_max<Real>(n, least, [&](std::int64_t i) { return after(i) ? score[i] : least; });
  const std::int64_t e = lane_find(n, [&](std::int64_t i) { return score[i] == best && after(i); });
  if (best > least && e < n) return static_cast<std::int32_t>(e);
  return best_of<Real>(
      n, [&](std::int32_t i) { return score[i]; }, chosen, taken);
}

/// logits [t, E] -> probs [t, E], lse [t], and returns the largest of these probabilities. The largest logit is
/// subtracted, so that its exponential is 1; probabilities are rounded to Storage. A logit that is NaN or +infinity
/// makes its token's probabilities NaN and nothing else.
template <class Real, class Storage, class Space>
struct softmax {
  decision<Real, Space> d;

  KOKKOS_FUNCTION Real operator()(std::int64_t t) const {
    const std::int64_t experts = static_cast<std::int64_t>(d.logits.extent(1));
    const Real* KOKKOS_RESTRICT h = &d.logits(t, 0);
    Real* KOKKOS_RESTRICT p = &d.probs(t, 0);
    const Real largest = lane_max<Real>(experts, h[0], [&](std::int64_t e) { return h[e]; });
    for (std::int64_t e = 0; e < experts; ++e) p[e] = fast_exp(h[e] - largest);
    const Real sum = lane_sum<Real>(experts, [&](std::int64_t e) { return p[e]; });
    const Real share = Real(1) / sum;
    for (std::int64_t e = 0; e < experts; ++e) p[e] = rounded<Storage>(p[e] * share);
    d.lse(t) = largest + Kokkos::log(sum);
    return rounded<Storage>(share);
  }
};

/// probs and the largest of them -> choice [t, K], and slot = slot_dropped where a choice asks for a slot, slot_none
/// where not.
template <class Real, class Space>
struct selection {
  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;

  KOKKOS_FUNCTION void operator()(std::int64_t t, Real largest) const {
    std::int32_t* choice = &d.choice(t, 0);
    std::int32_t* slot = &d.slot(t, 0);
    for (int j = 0; j < set.choices; ++j) {
      choice[j] = -1;
      slot[j] = slot_none;
    }
    if (!pad.real(t / size.tokens, t % size.tokens)) return;
    const std::uint64_t global = static_cast<std::uint64_t>(size.group_begin * size.tokens + t);

    const Real* p = &d.probs(t, 0);
    const Real* h = &d.logits(t, 0);
    for (int j = 0; j < set.choices; ++j) {
      if (set.sample_temperature > 0) {
        const auto noisy = [&](std::int32_t e) {
          const Real u = set.gumbel.template uniform<Real>(global * static_cast<std::uint64_t>(size.experts) +
                                                           static_cast<std::uint64_t>(e));
          return h[e] / static_cast<Real>(set.sample_temperature) - Kokkos::log(-Kokkos::log(u));
        };
        choice[j] = best_of<Real>(size.experts, noisy, choice, j);
      } else {
        choice[j] = j == 0 ? first_best(size.experts, p, largest) : next_best(size.experts, p, choice, j);
      }
      slot[j] = slot_dropped; // wants one
    }
    if (set.routing == routing_policy::top_k) second_experts(global, p, choice, slot);
  }

  /// Mesh TensorFlow's policies, for every choice after the first.
  KOKKOS_FUNCTION void second_experts(std::uint64_t token, const Real* p, const std::int32_t* choice,
                                      std::int32_t* slot) const {
    Real sum = 0;
    for (int j = 0; j < set.choices; ++j) sum += p[choice[j]];
    const Real threshold = static_cast<Real>(set.threshold);
    for (int j = 1; j < set.choices; ++j) {
      const Real share = p[choice[j]] / (sum + Real(1e-9));
      bool keep = true;
      if (set.second_expert == second_expert_policy::none) keep = false;
      if (set.second_expert == second_expert_policy::threshold) keep = share > threshold;
      if (set.second_expert == second_expert_policy::random) {
        const Real u = set.second.template uniform<Real>(token * max_choices + static_cast<std::uint64_t>(j));
        keep = u < share / (threshold > Real(1e-9) ? threshold : Real(1e-9));
      }
      if (!keep) slot[j] = slot_none;
    }
  }
};

} // namespace detail

} // namespace switchyard::router

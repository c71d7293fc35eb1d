// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/gpu.hpp>
#include <switchyard/router/detail/router_kernels.hpp>

/// \file
/// Softmax, selection, statistics and their gradient by a warp per token: a lane holds every 32nd number of a row. Sums
/// over a row are those of core/lanes.hpp, sums over a block's tokens run in the order of the tokens: the numbers are
/// those of the kernels for one thread.

namespace switchyard::router::detail {

/// Numbers of a row that a lane holds in registers, and experts that this is enough for; beyond, a thread takes a
/// token.
using few_values = std::integral_constant<int, 4>;
using more_values = std::integral_constant<int, 16>;
inline constexpr std::int64_t few_experts = 4 * gpu::warp_size, more_experts = 16 * gpu::warp_size;

/// A lane's part of a row [E]: experts lane, lane + 32, ...
template <class Real, int Values>
struct lane_row {
  Real of[Values];
};

/// f(v, e) for a lane's values.
template <int Values, class F>
KOKKOS_INLINE_FUNCTION void for_values(int lane, std::int64_t experts, const F& f) {
  gpu::unroll<Values>([&](auto v) {
    if (const int e = lane + v * gpu::warp_size; e < experts) f(int{v}, e);
  });
}

/// A row's number e, for all lanes.
template <class Real, int Values, class Warp>
KOKKOS_INLINE_FUNCTION Real number_at(const Warp& warp,
                                      const typename Warp::template values<lane_row<Real, Values>>& row, int e) {
  const auto mine = warp.template make<Real>([&](int, int i) {
    Real found = 0;
    gpu::unroll<Values>([&](auto v) { found = v == e / gpu::warp_size ? row[i].of[v] : found; });
    return found;
  });
  return warp.get(mine, e % gpu::warp_size);
}

/// sum_e f(v, e, i), as lane_sum adds it.
template <class Real, int Values, class Warp, class F>
KOKKOS_INLINE_FUNCTION Real sum_row(const Warp& warp, std::int64_t experts, const F& f) {
  const auto mine = warp.template make<Real>([&](int lane, int i) {
    Real sum = 0;
    for_values<Values>(lane, experts, [&](int v, int e) { sum = sum + f(v, e, i); });
    return sum;
  });
  return warp.reduce(mine, switchyard::detail::plus<Real>());
}

/// A score and its expert; -1: none.
template <class Real>
struct ranked {
  Real first;
  std::int32_t second;
};

/// The strict order of all scores: `better` first, then the lower expert.
template <class Real>
KOKKOS_INLINE_FUNCTION bool before(const ranked<Real>& a, const ranked<Real>& b) {
  if (a.second < 0 || b.second < 0) return a.second >= 0;
  return better(a.first, b.first) || (!better(b.first, a.first) && a.second < b.second);
}

/// The one that comes right after `last` in that order; after none, the best.
template <class Real, int Values, class Warp>
KOKKOS_INLINE_FUNCTION ranked<Real> next_ranked(const Warp& warp, std::int64_t experts,
                                                const typename Warp::template values<lane_row<Real, Values>>& score,
                                                const ranked<Real>& last) {
  const auto mine = warp.template make<ranked<Real>>([&](int lane, int i) {
    ranked<Real> best{0, -1};
    for_values<Values>(lane, experts, [&](int v, int e) {
      const ranked<Real> here{score[i].of[v], e};
      if ((last.second < 0 || before(last, here)) && before(here, best)) best = here;
    });
    return best;
  });
  return warp.reduce(mine, [](const ranked<Real>& a, const ranked<Real>& b) { return before(b, a) ? b : a; });
}

/// kth_largest by a warp.
template <class Real, int Values, class Warp>
KOKKOS_INLINE_FUNCTION ranked<Real> kth_ranked(const Warp& warp, std::int64_t experts,
                                               const typename Warp::template values<lane_row<Real, Values>>& score,
                                               int k) {
  ranked<Real> last{0, -1};
  for (int j = 0; j < k; ++j) last = next_ranked<Real, Values>(warp, experts, score, last);
  return last;
}

/// decide_kernel by a block of 4 warps.
template <class Real, class Storage, class Space, int Values>
struct decide_block {
  static constexpr int threads = 128;
  using row = lane_row<Real, Values>;

  problem size;
  settings set;
  padding<Space> pad;
  decision<Real, Space> d;
  Kokkos::View<Real**, Kokkos::LayoutRight, Space> partial; // [groups * blocks, 3E + count]
  std::int64_t blocks;

  /// What a token adds to the block's sums.
  struct token_scalars {
    bool real;
    Real lse, entropy, largest, tau;
  };
  static constexpr int bytes = static_cast<int>(loss_block * sizeof(token_scalars));

  template <class Block>
  KOKKOS_FUNCTION void operator()(const Block& block, std::int64_t task, std::byte* shared) const {
    auto* const scalars = reinterpret_cast<token_scalars*>(shared);
    const token_block tokens(task, blocks, size);
    block.each_warp([&](const auto& warp, int w, int) {
      for (std::int64_t i = tokens.begin + w; i < tokens.end; i += Block::warps)
        one_token(warp, tokens.group, i, scalars[i - tokens.begin]);
    });
    block.sync();
    block.each([&](int thread) {
      for (std::int64_t e = thread; e < size.experts; e += threads) sum_expert(tokens, scalars, e, &partial(task, 0));
      if (thread < column::count) sum_scalar(tokens, scalars, thread, &partial(task, 3 * size.experts));
    });
  }

  template <class Warp>
  KOKKOS_FUNCTION void one_token(const Warp& warp, std::int64_t group, std::int64_t i, token_scalars& out) const {
    const std::int64_t t = group * size.tokens + i, experts = size.experts;
    const Real* from = &d.logits(t, 0);
    Real* to = &d.probs(t, 0);
    const auto h = warp.template make<row>([&](int lane, int) {
      row r{};
      for_values<Values>(lane, experts, [&](int v, int e) { r.of[v] = from[e]; });
      return r;
    });
    const Real first = from[0];
    const auto mine = warp.template make<Real>([&](int lane, int l) {
      Real most = first;
      for_values<Values>(lane, experts,
                         [&](int v, int) { most = switchyard::detail::larger<Real>()(most, h[l].of[v]); });
      return most;
    });
    const Real largest = warp.reduce(mine, switchyard::detail::larger<Real>());
    auto p = warp.template make<row>([&](int lane, int l) {
      row r{};
      for_values<Values>(lane, experts, [&](int v, int) { r.of[v] = fast_exp(h[l].of[v] - largest); });
      return r;
    });
    const Real sum = sum_row<Real, Values>(warp, experts, [&](int v, int, int l) { return p[l].of[v]; });
    const Real share = Real(1) / sum, lse = largest + Kokkos::log(sum);
    warp.each([&](int lane, int l) {
      for_values<Values>(lane, experts, [&](int v, int e) {
        p[l].of[v] = rounded<Storage>(p[l].of[v] * share);
        to[e] = p[l].of[v];
      });
      if (lane == 0) d.lse(t) = lse;
    });

    const bool real = pad.real(group, i);
    const bool choosing = set.routing != routing_policy::expert_choice;
    if (choosing) select(warp, t, real, h, p);
    const Real entropy = sum_row<Real, Values>(
        warp, experts, [&](int v, int, int l) { return p[l].of[v] > 0 ? p[l].of[v] * (lse - h[l].of[v]) : Real(0); });
    Real tau = 0;
    if (choosing && real && set.load > 0) tau = kth_ranked<Real, Values>(warp, experts, h, set.choices).first;
    warp.each([&](int lane, int) {
      if (lane == 0) out = {real, lse, entropy, rounded<Storage>(share), tau};
    });
  }

  /// selection by a warp.
  template <class Warp>
  KOKKOS_FUNCTION void select(const Warp& warp, std::int64_t t, bool real, const typename Warp::template values<row>& h,
                              const typename Warp::template values<row>& p) const {
    struct chosen { // a lane's choices: number `lane` and number lane + 32
      std::int32_t expert[2];
      Real p[2];
    };
    static_assert(max_choices <= 2 * gpu::warp_size);
    auto mine = warp.template make<chosen>([](int, int) { return chosen{{-1, -1}, {0, 0}}; });
    const auto global = static_cast<std::uint64_t>(size.group_begin * size.tokens + t);
    Real sum = 0;
    if (real) {
      auto score = p;
      if (set.sample_temperature > 0)
        warp.each([&](int lane, int l) {
          for_values<Values>(lane, size.experts, [&](int v, int e) {
            const Real u = set.gumbel.template uniform<Real>(global * static_cast<std::uint64_t>(size.experts) +
                                                             static_cast<std::uint64_t>(e));
            score[l].of[v] = h[l].of[v] / static_cast<Real>(set.sample_temperature) - Kokkos::log(-Kokkos::log(u));
          });
        });
      ranked<Real> last{0, -1};
      for (int j = 0; j < set.choices; ++j) {
        last = next_ranked<Real, Values>(warp, size.experts, score, last);
        const Real probability =
            set.sample_temperature > 0 ? number_at<Real, Values>(warp, p, last.second) : last.first;
        sum += probability;
        warp.each([&](int lane, int l) {
          for (int half = 0; half < 2; ++half)
            if (j == lane + half * gpu::warp_size) {
              mine[l].expert[half] = last.second;
              mine[l].p[half] = probability;
            }
        });
      }
    }
    warp.each([&](int lane, int l) {
      for (int half = 0; half < 2; ++half) {
        const int j = lane + half * gpu::warp_size;
        if (j >= set.choices) continue;
        d.choice(t, j) = mine[l].expert[half];
        const bool asks =
            real && (j == 0 || set.routing != routing_policy::top_k || keeps(global, j, mine[l].p[half], sum));
        d.slot(t, j) = asks ? slot_dropped : slot_none;
      }
    });
  }

  /// Mesh TensorFlow's policies, for a choice after the first, as selection::second_experts.
  KOKKOS_FUNCTION bool keeps(std::uint64_t token, int j, Real p, Real sum) const {
    const Real threshold = static_cast<Real>(set.threshold), share = p / (sum + Real(1e-9));
    if (set.second_expert == second_expert_policy::none) return false;
    if (set.second_expert == second_expert_policy::threshold) return share > threshold;
    if (set.second_expert == second_expert_policy::random) {
      const Real u = set.second.template uniform<Real>(token * max_choices + static_cast<std::uint64_t>(j));
      return u < share / (threshold > Real(1e-9) ? threshold : Real(1e-9));
    }
    return true;
  }

  /// f, p and load of one expert over the block's tokens, which all lie in the nearest caches.
  KOKKOS_FUNCTION void sum_expert(const token_block& tokens, const token_scalars* scalars, std::int64_t e,
                                  Real* to) const {
    const bool choosing = set.routing != routing_policy::expert_choice;
    const int counted = !choosing ? 0 : set.form == balance_form::any_of_k ? set.choices : 1;
    Real f = 0, p = 0, load = 0;
    for (std::int64_t i = tokens.begin; i < tokens.end; ++i) {
      const std::int64_t t = tokens.group * size.tokens + i;
      const token_scalars& s = scalars[i - tokens.begin];
      if (!s.real) continue;
      p += d.probs(t, e);
      for (int j = 0; j < counted; ++j) f += d.choice(t, j) == e ? Real(1) : Real(0);
      if (choosing && set.load > 0) load += normal_cdf((d.logits(t, e) - s.tau) * static_cast<Real>(size.experts));
    }
    to[e] = f;
    to[size.experts + e] = p;
    to[2 * size.experts + e] = load;
  }

  KOKKOS_FUNCTION void sum_scalar(const token_block& tokens, const token_scalars* scalars, int c, Real* to) const {
    Real sum = 0;
    for (std::int64_t i = 0; i < tokens.end - tokens.begin; ++i) {
      const token_scalars& s = scalars[i];
      if (!s.real) continue;
      if (c == column::tokens) sum += 1;
      if (c == column::z) sum += s.lse * s.lse;
      if (c == column::entropy) sum += s.entropy;
      if (c == column::confidence) sum += s.largest > 0 ? s.largest : Real(0);
      if (c == column::nonfinite) sum += Kokkos::isfinite(s.lse) ? Real(0) : Real(1);
    }
    to[c] = sum; // wanted and kept follow with the slots
  }
};

/// backward_kernel by a warp.
template <class Real, class Space, int Values>
struct backward_rows {
  using row = lane_row<Real, Values>;
  backward_kernel<Real, Space> of;

  template <class Warp>
  KOKKOS_FUNCTION void operator()(const Warp& warp, std::int64_t t) const {
    const std::int64_t experts = of.size.experts, group = t / of.size.tokens;
    const auto& set = of.set;
    Real* const to = &of.dh(t, 0);
    if (!of.pad.real(group, t % of.size.tokens)) {
      warp.each([&](int lane, int) { for_values<Values>(lane, experts, [&](int, int e) { to[e] = 0; }); });
      return;
    }
    const auto read = [&](const Real* from, Real factor) {
      return warp.template make<row>([&](int lane, int) {
        row r{};
        for_values<Values>(lane, experts, [&](int v, int e) { r.of[v] = factor * from[e]; });
        return r;
      });
    };
    const auto p = read(&of.d.probs(t, 0), Real(1));
    auto g = read(&of.dp_losses(group, 0), of.loss_scale);
    gates_backward(set, of.d, t, &of.dq(t, 0), [&](std::int32_t expert, Real dr) {
      warp.each([&](int lane, int i) {
        for_values<Values>(lane, experts, [&](int v, int e) { g[i].of[v] += e == expert ? dr : Real(0); });
      });
    });
    const ranked<Real> most = next_ranked<Real, Values>(warp, experts, p, ranked<Real>{0, -1});
    const Real origin = number_at<Real, Values>(warp, g, most.second);
    warp.each([&](int lane, int i) { for_values<Values>(lane, experts, [&](int v, int) { g[i].of[v] -= origin; }); });
    const Real mean = sum_row<Real, Values>(warp, experts, [&](int v, int, int i) { return p[i].of[v] * g[i].of[v]; });
    const Real z = of.loss_scale * static_cast<Real>(set.router_z * 2 * of.result(9)) * of.d.lse(t);
    warp.each([&](int lane, int i) {
      for_values<Values>(lane, experts, [&](int v, int) { g[i].of[v] = p[i].of[v] * (g[i].of[v] - mean + z); });
    });
    if (set.load > 0 || set.logit_softcap > 0) {
      const auto h = read(&of.d.logits(t, 0), Real(1));
      if (set.load > 0) add_load(warp, h, g);
      if (set.logit_softcap > 0) {
        const Real cap = static_cast<Real>(set.logit_softcap);
        warp.each([&](int lane, int i) {
          for_values<Values>(lane, experts,
                             [&](int v, int) { g[i].of[v] *= Real(1) - h[i].of[v] / cap * (h[i].of[v] / cap); });
        });
      }
    }
    warp.each([&](int lane, int i) { for_values<Values>(lane, experts, [&](int v, int e) { to[e] = g[i].of[v]; }); });
  }

  template <class Warp>
  KOKKOS_FUNCTION void add_load(const Warp& warp, const typename Warp::template values<row>& h,
                                typename Warp::template values<row>& g) const {
    const std::int64_t experts = of.size.experts;
    const Real inverse_sigma = static_cast<Real>(experts);
    const ranked<Real> kth = kth_ranked<Real, Values>(warp, experts, h, of.set.choices);
    const auto u = warp.template make<row>([&](int lane, int i) {
      row r{};
      for_values<Values>(lane, experts, [&](int v, int e) {
        r.of[v] = of.loss_scale * normal_pdf((kth.first - h[i].of[v]) * inverse_sigma) * of.dm(e) * inverse_sigma;
      });
      return r;
    });
    const Real sum = sum_row<Real, Values>(warp, experts, [&](int v, int, int i) { return u[i].of[v]; });
    warp.each([&](int lane, int i) {
      for_values<Values>(lane, experts, [&](int v, int e) {
        g[i].of[v] += u[i].of[v];
        if (e == kth.second) g[i].of[v] -= sum;
      });
    });
  }
};

} // namespace switchyard::router::detail

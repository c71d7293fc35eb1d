// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <switchyard/core/error.hpp>
#include <switchyard/layer/config.hpp>
#include <vector>

/// \file
/// The router of the reference layer: probabilities, choices, capacity, slots and gates, as plain loops in double. It
/// is written from the equations alone and shares no computation with the layer it judges.
///
/// Notation of the paper: G groups of S tokens, width M, E experts of hidden width F, K choices per token, C slots per
/// expert and group. t = g S + s counts the tokens of all groups.

namespace switchyard {

/// Weights in double and, with the same shapes, their gradients. What the configuration does not use is empty.
struct reference_weights {
  std::vector<double> router = {};                    ///< [M,E]
  std::vector<double> wi = {}, wi_gate = {}, wo = {}; ///< [E,M,F], [E,M,F], [E,F,M]
  std::vector<double> bi = {}, bi_gate = {}, bo = {}; ///< [E,F], [E,F], [E,M]
};

/// Tokens, and everything random that the layer would draw: an empty vector stands for "nothing drawn".
struct reference_input {
  std::int64_t groups = 0, tokens = 0;     ///< G, S
  std::vector<double> x = {};              ///< [G,S,M]
  std::vector<double> mask = {};           ///< [G,S], a token is real iff its mask > 0; empty: all are
  bool training = false;                   ///< selects the capacity factor only
  std::vector<double> input_scale = {};    ///< [G,S,M], jitter and dropout: factors of the router's input
  std::vector<double> gumbel = {};         ///< [G,S,E], experts are chosen by falling h / temperature + gumbel
  std::vector<double> second_uniform = {}; ///< [G,S,K], u in [0,1) of the second-expert policy random
  std::vector<double> hidden_scale = {};   ///< [E,G,C,F], expert dropout: factors of the hidden layer

  bool real(std::size_t t) const { return mask.empty() || mask[t] > 0; }
};

/// Slot c of expert e in the group of token t; its gate is gate[at].
struct reference_assignment {
  std::size_t t, e, c, at;
};

struct reference_output {
  std::vector<double> y;                        ///< [G,S,M]
  std::vector<double> logits, probs;            ///< [G,S,E], after the softcap; padding included
  std::vector<std::int64_t> expert_index, slot; ///< [G,S,K], -1 where none
  std::vector<std::int64_t> kept;               ///< [G,S,K], 0 or 1
  std::vector<std::int64_t> token_index;        ///< [G,E,C], expert choice only: s, by falling score
  std::vector<double> gate;                     ///< [G,S,K] or, expert choice, [G,E,C]: what combine multiplies
  double load_balance_loss = 0, router_z_loss = 0, importance_loss = 0, load_loss = 0; ///< without coefficients

  double dropped_fraction = 0;    ///< 1 - kept choices / wanted choices; tokens where those are not the unit
  double router_entropy = 0;      ///< mean of -sum_e p ln p
  double router_confidence = 0;   ///< mean of max_e p
  std::vector<std::int64_t> load; ///< [E], tokens kept by each expert

  std::int64_t capacity = 0;                     ///< C
  std::vector<std::size_t> chosen;               ///< [G,S,K], the choices before mask, policy and capacity
  std::vector<double> fraction;                  ///< [G,E], f of the load-balancing loss
  std::vector<reference_assignment> assignments; ///< every filled slot
};

/// C = max(min(round(S CF / E), S), minimum), in double; dropless: S. Expert choice: never above S.
inline std::int64_t reference_capacity(const switch_config& config, std::int64_t tokens, bool training) {
  if (config.dropless) return tokens;
  const bool evaluate = !training && config.eval_capacity_factor > 0;
  const double factor = evaluate ? config.eval_capacity_factor : config.capacity_factor;
  const double S = static_cast<double>(tokens);
  const double exact = S * factor / static_cast<double>(config.experts);
  double C = std::floor(exact); // truncate
  const double rest = exact - C;
  switch (config.capacity_rounding) {
  case capacity_policy::truncate:
    break;
  case capacity_policy::half_even:
    if (rest > 0.5 || (rest == 0.5 && std::fmod(C, 2.0) == 1.0)) C += 1;
    break;
  case capacity_policy::ceil:
    if (rest > 0) C += 1;
    break;
  case capacity_policy::multiple_of_4:
    while (std::fmod(C, 4.0) != 0 && C < S) C += 1;
    break;
  }
  const std::int64_t slots = std::max(static_cast<std::int64_t>(std::min(C, S)), config.min_capacity);
  return config.routing == routing_policy::expert_choice ? std::min(slots, tokens) : slots;
}

namespace detail {

struct reference_shape {
  std::size_t G, S, M, F, E, K, C;
};

/// The sizes of the problem, once every vector has been checked against them.
inline reference_shape shape_of(const switch_config& c, const reference_weights& w, const reference_input& in) {
  validate(c);
  require(in.groups >= 0 && in.tokens >= 0, "groups, tokens = ", in.groups, ", ", in.tokens, ": must not be negative");
  const auto size = [](std::int64_t value) { return static_cast<std::size_t>(value); };
  const std::int64_t C = reference_capacity(c, in.tokens, in.training);
  const reference_shape n{size(in.groups), size(in.tokens),   size(c.d_model), size(c.d_ff),
                          size(c.experts), size(c.choices()), size(C)};
  const auto sized = [](const char* name, const std::vector<double>& v, std::size_t elements) {
    require(v.size() == elements, name, " = ", v.size(), " elements: must be ", elements);
  };
  const auto optional = [&](const char* name, const std::vector<double>& v, std::size_t elements) {
    if (!v.empty()) sized(name, v, elements);
  };
  sized("x", in.x, n.G * n.S * n.M);
  sized("router", w.router, n.M * n.E);
  sized("wi", w.wi, n.E * n.M * n.F);
  sized("wi_gate", w.wi_gate, c.gated ? n.E * n.M * n.F : 0);
  sized("wo", w.wo, n.E * n.F * n.M);
  sized("bi", w.bi, c.bias ? n.E * n.F : 0);
  sized("bi_gate", w.bi_gate, c.bias && c.gated ? n.E * n.F : 0);
  sized("bo", w.bo, c.bias ? n.E * n.M : 0);
  optional("mask", in.mask, n.G * n.S);
  optional("input_scale", in.input_scale, n.G * n.S * n.M);
  optional("gumbel", in.gumbel, n.G * n.S * n.E);
  optional("hidden_scale", in.hidden_scale, n.E * n.G * n.C * n.F);
  require(in.gumbel.empty() || c.sample_temperature > 0, "sample_temperature = ", c.sample_temperature,
          ": must be above 0 where gumbel noise is given");
  if (c.routing == routing_policy::top_k && c.second_expert == second_expert_policy::random)
    sized("second_uniform", in.second_uniform, n.G * n.S * n.K);
  return n;
}

/// The positions of the `count` largest scores, falling; equal scores by rising position.
inline std::vector<std::size_t> largest(const std::vector<double>& score, std::size_t count) {
  std::vector<std::size_t> result;
  std::vector<char> taken(score.size(), 0);
  while (result.size() < count) {
    std::size_t best = 0;
    while (taken[best]) ++best;
    for (std::size_t i = best + 1; i < score.size(); ++i)
      if (!taken[i] && score[i] > score[best]) best = i;
    taken[best] = 1;
    result.push_back(best);
  }
  return result;
}

/// v[row,:] of v [.,width]
inline std::vector<double> row_of(const std::vector<double>& v, std::size_t row, std::size_t width) {
  return {v.data() + row * width, v.data() + (row + 1) * width};
}

/// x~ = x J, what the router sees of token t
inline double router_input(const reference_input& in, std::size_t tm) {
  return in.input_scale.empty() ? in.x[tm] : in.x[tm] * in.input_scale[tm];
}

/// log sum_e exp(h_e)
inline double log_sum_exp(const std::vector<double>& h) {
  const double top = *std::max_element(h.begin(), h.end());
  double sum = 0;
  for (double v : h) sum += std::exp(v - top);
  return top + std::log(sum);
}

inline double count_real(const reference_input& in, std::size_t begin, std::size_t end) {
  double count = 0;
  for (std::size_t t = begin; t < end; ++t) count += in.real(t) ? 1 : 0;
  return count;
}

/// h = x~ W_r, softcapped; p = softmax(h)
inline void probabilities(const switch_config& c, const reference_shape& n, const reference_weights& w,
                          const reference_input& in, reference_output& out) {
  out.logits.assign(n.G * n.S * n.E, 0.0);
  out.probs.assign(n.G * n.S * n.E, 0.0);
  for (std::size_t t = 0; t < n.G * n.S; ++t) {
    for (std::size_t e = 0; e < n.E; ++e) {
      double& h = out.logits[t * n.E + e];
      for (std::size_t m = 0; m < n.M; ++m) h += router_input(in, t * n.M + m) * w.router[m * n.E + e];
      if (c.logit_softcap > 0) h = c.logit_softcap * std::tanh(h / c.logit_softcap);
    }
    const double lse = log_sum_exp(row_of(out.logits, t, n.E));
    for (std::size_t e = 0; e < n.E; ++e) out.probs[t * n.E + e] = std::exp(out.logits[t * n.E + e] - lse);
  }
}

/// The divisor of the gates of token t: q_j = r_j / d with r_j = p of choice j. It is 1 but for top_k:
/// before_drop d = sum_j r_j + 1e-9, after_drop d = sum of the kept r_j (1 where that is 0).
inline double gate_divisor(const switch_config& c, const reference_shape& n, const reference_output& out,
                           std::size_t t) {
  if (c.routing != routing_policy::top_k || c.renormalize == renormalize_policy::none) return 1;
  const bool before = c.renormalize == renormalize_policy::before_drop;
  double sum = before ? 1e-9 : 0;
  for (std::size_t j = t * n.K; j < (t + 1) * n.K; ++j)
    if (before || out.kept[j]) sum += out.probs[t * n.E + out.chosen[j]];
  return sum > 0 ? sum : 1;
}

/// Whether the second-expert policy keeps choice j of token t: it compares r_j / (sum of all K r + 1e-9), which is the
/// gate of before_drop whatever `renormalize` says.
inline bool second_expert_stays(const switch_config& c, const reference_shape& n, const reference_input& in,
                                const reference_output& out, std::size_t t, std::size_t j) {
  if (c.routing != routing_policy::top_k || j == 0) return true;
  double sum = 1e-9;
  for (std::size_t i = t * n.K; i < (t + 1) * n.K; ++i) sum += out.probs[t * n.E + out.chosen[i]];
  const double share = out.probs[t * n.E + out.chosen[t * n.K + j]] / sum;
  switch (c.second_expert) {
  case second_expert_policy::none:
    return false;
  case second_expert_policy::threshold:
    return share > c.threshold;
  case second_expert_policy::random:
    return in.second_uniform[t * n.K + j] < share / std::max(c.threshold, 1e-9);
  default:
    return true;
  }
}

/// Tokens choose experts: top_1, top_k, no_token_left_behind. All first choices take their slots before any second one.
/// pos_te = tokens of e in this round before t + tokens that e kept in earlier rounds; keep iff pos < C.
inline void tokens_choose(const switch_config& c, const reference_shape& n, const reference_input& in,
                          reference_output& out) {
  const bool persistent = c.routing == routing_policy::no_token_left_behind;
  for (auto* v : {&out.expert_index, &out.slot}) v->assign(n.G * n.S * n.K, -1);
  out.kept.assign(n.G * n.S * n.K, 0);
  out.gate.assign(n.G * n.S * n.K, 0.0);
  double wanted = 0, kept = 0;
  for (std::size_t g = 0; g < n.G; ++g) {
    std::vector<double> priority;
    for (std::size_t t = g * n.S; t < (g + 1) * n.S; ++t) {
      const std::vector<double> p = row_of(out.probs, t, n.E);
      std::vector<double> score = p;
      for (std::size_t e = 0; !in.gumbel.empty() && e < n.E; ++e)
        score[e] = out.logits[t * n.E + e] / c.sample_temperature + in.gumbel[t * n.E + e];
      const std::vector<std::size_t> choice = largest(score, n.K);
      out.chosen.insert(out.chosen.end(), choice.begin(), choice.end());
      const bool by_probability = c.order == slot_order::batch_prioritized;
      priority.push_back(by_probability ? *std::max_element(p.begin(), p.end()) : 0);
    }
    std::vector<std::size_t> count(n.E, 0); // tokens kept by each expert
    std::vector<char> placed(n.S, 0);       // no_token_left_behind: the token has its expert
    const std::vector<std::size_t> order = largest(priority, n.S);
    for (std::size_t j = 0; j < n.K; ++j)
      for (std::size_t s : order) {
        const std::size_t t = g * n.S + s, at = t * n.K + j;
        if (!in.real(t) || !second_expert_stays(c, n, in, out, t, j) || (persistent && placed[s])) continue;
        const std::size_t e = out.chosen[at];
        const bool keep = count[e] < n.C;
        wanted += persistent && j > 0 ? 0 : 1;
        if (keep || !persistent) out.expert_index[at] = static_cast<std::int64_t>(e);
        if (!keep) continue;
        kept += 1;
        placed[s] = 1;
        out.kept[at] = 1;
        out.slot[at] = static_cast<std::int64_t>(count[e]);
        out.assignments.push_back({t, e, count[e]++, at});
      }
  }
  for (const auto& a : out.assignments) out.gate[a.at] = out.probs[a.t * n.E + a.e] / gate_divisor(c, n, out, a.t);
  if (wanted > 0) out.dropped_fraction = 1 - kept / wanted;
}

/// Expert choice (Zhou 2022): every expert takes the C tokens of the group with the largest p_te; padding comes last.
inline void experts_choose(const reference_shape& n, const reference_input& in, reference_output& out) {
  out.token_index.assign(n.G * n.E * n.C, -1);
  out.gate.assign(n.G * n.E * n.C, 0.0);
  std::vector<char> taken(n.G * n.S, 0);
  for (std::size_t g = 0; g < n.G; ++g)
    for (std::size_t e = 0; e < n.E; ++e) {
      std::vector<double> score;
      for (std::size_t t = g * n.S; t < (g + 1) * n.S; ++t) score.push_back(in.real(t) ? out.probs[t * n.E + e] : -1);
      const std::vector<std::size_t> order = largest(score, n.C);
      for (std::size_t c = 0; c < n.C; ++c) {
        const std::size_t t = g * n.S + order[c], at = (g * n.E + e) * n.C + c;
        out.token_index[at] = static_cast<std::int64_t>(order[c]);
        if (!in.real(t)) continue;
        taken[t] = 1;
        out.gate[at] = out.probs[t * n.E + e];
        out.assignments.push_back({t, e, c, at});
      }
    }
  const double real = count_real(in, 0, n.G * n.S);
  if (real > 0) out.dropped_fraction = 1 - static_cast<double>(std::count(taken.begin(), taken.end(), 1)) / real;
}

} // namespace detail
} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <switchyard/core/error.hpp>
#include <switchyard/layer/config.hpp>
#include <switchyard/layer/reference_router.hpp>
#include <vector>

/// \file
/// The whole layer, forward and backward, as plain loops in double: the oracle of the tests, to be read beside the
/// paper. Probabilities, choices, slots and gates are in reference_router.hpp; losses, experts, combine and the whole
/// backward are here.

namespace switchyard {

/// Gradients of <y,dy> + load_balance L_balance + router_z L_z + importance L_importance + load L_load.
struct reference_gradient {
  std::vector<double> dx; ///< [G,S,M]
  reference_weights weights;
};

namespace detail {

// ---- losses and metrics, and the way back through the router

/// CV^2 = var / mu^2 of m_1..m_E (population variance), and d CV^2 / d m_e; both 0 where mu is.
struct squared_variation {
  double value = 0;
  std::vector<double> derivative;

  explicit squared_variation(const std::vector<double>& m) : derivative(m.size(), 0.0) {
    const double E = static_cast<double>(m.size());
    double mu = 0, var = 0;
    for (double v : m) mu += v / E;
    for (double v : m) var += (v - mu) * (v - mu) / E;
    if (mu == 0) return;
    value = var / (mu * mu);
    for (std::size_t e = 0; e < m.size(); ++e)
      derivative[e] = 2 * (m[e] - mu) / (E * mu * mu) - 2 * var / (E * mu * mu * mu);
  }
};

/// importance_e = sum over real tokens of p_te
inline std::vector<double> importance_of(const reference_shape& n, const reference_input& in,
                                         const std::vector<double>& probs) {
  std::vector<double> sum(n.E, 0.0);
  for (std::size_t t = 0; t < n.G * n.S; ++t)
    for (std::size_t e = 0; in.real(t) && e < n.E; ++e) sum[e] += probs[t * n.E + e];
  return sum;
}

/// z_te = (tau_t - h_te) / sigma of the load loss: tau_t the K-th largest logit of t, sigma = 1 / E.
struct load_threshold {
  std::size_t kth;       ///< the expert whose logit is tau_t
  std::vector<double> z; ///< [E]

  load_threshold(const reference_shape& n, const std::vector<double>& h) : kth(largest(h, n.K).back()) {
    for (double v : h) z.push_back((h[kth] - v) * static_cast<double>(n.E));
  }
};

/// load_e = mean over real tokens of 1 - Phi(z_te)
inline std::vector<double> load_of(const reference_shape& n, const reference_input& in,
                                   const std::vector<double>& logits) {
  std::vector<double> mean(n.E, 0.0);
  const double T = count_real(in, 0, n.G * n.S);
  for (std::size_t t = 0; t < n.G * n.S; ++t) {
    if (!in.real(t)) continue;
    const load_threshold threshold(n, row_of(logits, t, n.E));
    for (std::size_t e = 0; e < n.E; ++e) mean[e] += 0.5 * std::erfc(threshold.z[e] / std::sqrt(2.0)) / T;
  }
  return mean;
}

/// E sum_i f_i P_i (paper, equation 4), f and P over the real tokens of one group
inline double load_balance_of(const std::vector<double>& f, const std::vector<double>& P) {
  double sum = 0;
  for (std::size_t i = 0; i < f.size(); ++i) sum += f[i] * P[i];
  return static_cast<double>(f.size()) * sum;
}

/// f over the real tokens of all groups
inline std::vector<double> batch_fraction(const reference_shape& n, const reference_input& in,
                                          const reference_output& out) {
  const double tokens = std::max(count_real(in, 0, n.G * n.S), 1.0);
  std::vector<double> f(n.E, 0.0);
  for (std::size_t g = 0; g < n.G; ++g)
    for (std::size_t e = 0; e < n.E; ++e)
      f[e] += out.fraction[g * n.E + e] * count_real(in, g * n.S, (g + 1) * n.S) / tokens;
  return f;
}

/// The four losses, the metrics, and f.
inline void losses(const switch_config& c, const reference_shape& n, const reference_input& in, reference_output& out) {
  const bool balanced = c.routing != routing_policy::expert_choice;
  out.fraction.assign(n.G * n.E, 0.0);
  for (std::size_t g = 0; g < n.G && balanced; ++g) {
    const double tokens = count_real(in, g * n.S, (g + 1) * n.S);
    std::vector<double> P(n.E, 0.0);
    for (std::size_t t = g * n.S; t < (g + 1) * n.S; ++t) {
      if (!in.real(t)) continue;
      for (std::size_t e = 0; e < n.E; ++e) P[e] += out.probs[t * n.E + e] / tokens;
      const std::size_t counted = c.load_balance_form == balance_form::first_choice ? 1 : n.K;
      for (std::size_t j = 0; j < counted; ++j) out.fraction[g * n.E + out.chosen[t * n.K + j]] += 1 / tokens;
    }
    out.load_balance_loss += load_balance_of(row_of(out.fraction, g, n.E), P) / static_cast<double>(n.G);
  }
  if (balanced && c.load_balance_scope == balance_scope::batch) {
    const double tokens = std::max(count_real(in, 0, n.G * n.S), 1.0);
    std::vector<double> P = importance_of(n, in, out.probs);
    for (double& v : P) v /= tokens;
    out.load_balance_loss = load_balance_of(batch_fraction(n, in, out), P);
  }
  const double T = count_real(in, 0, n.G * n.S);
  for (std::size_t t = 0; t < n.G * n.S; ++t) {
    if (!in.real(t)) continue;
    const std::vector<double> p = row_of(out.probs, t, n.E);
    out.router_z_loss += std::pow(log_sum_exp(row_of(out.logits, t, n.E)), 2) / T;
    out.router_confidence += *std::max_element(p.begin(), p.end()) / T;
    for (double v : p) out.router_entropy -= v > 0 ? v * std::log(v) / T : 0;
  }
  out.importance_loss = squared_variation(importance_of(n, in, out.probs)).value;
  if (balanced) out.load_loss = squared_variation(load_of(n, in, out.logits)).value;
  out.load.assign(n.E, 0);
  for (const auto& a : out.assignments) out.load[a.e] += 1;
}

/// From dq = d loss / d gate to the router's weights and its share of dx:
///   gates         dr_j  = (dq_j - sum_i dq_i q_i) / d over the choices in the divisor d, dr_j = dq_j where d is 1
///   load balance  dp_te = coefficient E / (G n_g) f_ge, n_g the real tokens of the group; f is a constant. Over the
///                 batch:  coefficient E / T f_e
///   importance    dp_te = coefficient d CV^2 / d importance_e
///   softmax       dh_te = p_te (dp_te - sum_i p_ti dp_ti)
///   router z      dh_te = coefficient 2 / T lse_t p_te
///   load          u_te  = coefficient phi(z_te) d CV^2 / d load_e / (T sigma);  dh_te = u_te, dh_t,kth -= sum_e u_te
///   softcap       dh   *= 1 - (h / cap)^2
///   product       dW_r += x~^T dh,  dx += J (W_r dh)
inline void router_backward(const switch_config& c, const reference_shape& n, const reference_weights& w,
                            const reference_input& in, const reference_output& out, const std::vector<double>& dq,
                            std::vector<double>& dx, std::vector<double>& drouter) {
  const bool by_experts = c.routing == routing_policy::expert_choice;
  const bool renormalized = c.routing == routing_policy::top_k && c.renormalize != renormalize_policy::none;
  const bool late = c.renormalize == renormalize_policy::after_drop;
  const double E = static_cast<double>(n.E), G = static_cast<double>(n.G);
  const double T = count_real(in, 0, n.G * n.S);
  const std::vector<double> dimportance = squared_variation(importance_of(n, in, out.probs)).derivative;
  const std::vector<double> dload = squared_variation(load_of(n, in, out.logits)).derivative;

  const bool over_batch = c.load_balance_scope == balance_scope::batch;
  const std::vector<double> whole = batch_fraction(n, in, out);

  std::vector<double> dp(n.G * n.S * n.E, 0.0);
  if (!renormalized)
    for (const auto& a : out.assignments) dp[a.t * n.E + a.e] += dq[a.at];

  for (std::size_t g = 0; g < n.G; ++g) {
    const double tokens = count_real(in, g * n.S, (g + 1) * n.S);
    for (std::size_t t = g * n.S; t < (g + 1) * n.S; ++t) {
      if (!in.real(t)) continue;
      const std::vector<double> h = row_of(out.logits, t, n.E), p = row_of(out.probs, t, n.E);
      double* const dp_t = dp.data() + t * n.E;
      if (renormalized) {
        const double d = gate_divisor(c, n, out, t);
        double inner = 0; // sum_i dq_i q_i
        for (std::size_t j = t * n.K; j < (t + 1) * n.K; ++j) inner += dq[j] * out.gate[j];
        for (std::size_t j = t * n.K; j < (t + 1) * n.K; ++j)
          if (!late || out.kept[j]) dp_t[out.chosen[j]] += (dq[j] - inner) / d;
      }
      for (std::size_t e = 0; e < n.E; ++e)
        dp_t[e] += c.load_balance * (over_batch ? E / T * whole[e] : E / (G * tokens) * out.fraction[g * n.E + e]) +
                   c.importance * dimportance[e];

      double mean = 0; // sum_i p_i dp_i
      for (std::size_t e = 0; e < n.E; ++e) mean += p[e] * dp_t[e];
      const double lse = log_sum_exp(h);
      std::vector<double> dh(n.E);
      for (std::size_t e = 0; e < n.E; ++e) dh[e] = p[e] * (dp_t[e] - mean) + c.router_z * 2 / T * lse * p[e];
      if (!by_experts) {
        const load_threshold threshold(n, h);
        for (std::size_t e = 0; e < n.E; ++e) {
          const double phi = std::exp(-0.5 * threshold.z[e] * threshold.z[e]) / std::sqrt(2 * std::acos(-1.0));
          const double u = c.load * phi * dload[e] / T * E;
          dh[e] += u;
          dh[threshold.kth] -= u;
        }
      }
      for (std::size_t e = 0; e < n.E; ++e) {
        if (c.logit_softcap > 0) dh[e] *= 1 - std::pow(h[e] / c.logit_softcap, 2);
        for (std::size_t m = 0; m < n.M; ++m) {
          const double J = in.input_scale.empty() ? 1 : in.input_scale[t * n.M + m];
          drouter[m * n.E + e] += router_input(in, t * n.M + m) * dh[e];
          dx[t * n.M + m] += J * w.router[m * n.E + e] * dh[e];
        }
      }
    }
  }
}

// ---- experts

/// Phi(a), the normal distribution function
inline double normal_cdf(double a) {
  return 0.5 * std::erfc(-a / std::sqrt(2.0));
}

/// act(a)
inline double reference_activation(activation_kind kind, double a) {
  const double pi = std::acos(-1.0);
  switch (kind) {
  case activation_kind::relu:
    return a <= 0 ? 0 : a; // NaN stays NaN
  case activation_kind::gelu:
    return a * normal_cdf(a);
  case activation_kind::gelu_tanh:
    return a / 2 * (1 + std::tanh(std::sqrt(2 / pi) * (a + 0.044715 * std::pow(a, 3))));
  default: // silu
    return a / (1 + std::exp(-a));
  }
}

/// act'(a)
inline double reference_activation_derivative(activation_kind kind, double a) {
  const double pi = std::acos(-1.0);
  switch (kind) {
  case activation_kind::relu:
    return a > 0 ? 1 : 0;
  case activation_kind::gelu:
    return normal_cdf(a) + a * std::exp(-a * a / 2) / std::sqrt(2 * pi);
  case activation_kind::gelu_tanh: {
    const double u = std::sqrt(2 / pi) * (a + 0.044715 * std::pow(a, 3));
    const double du = std::sqrt(2 / pi) * (1 + 3 * 0.044715 * a * a);
    return (1 + std::tanh(u)) / 2 + a / 2 * du / std::pow(std::cosh(u), 2);
  }
  default: { // silu
    const double s = 1 / (1 + std::exp(-a));
    return s + a * s * (1 - s);
  }
  }
}

/// One token in its slot:  a = x wi + bi,  b = x wi_gate + bi_gate,
/// hidden = act(a) D, gated: act(b) a D (D the factors of expert dropout),  o = hidden wo + bo.
struct expert_row {
  std::vector<double> a, b, scale, hidden, o;

  expert_row(const switch_config& c, const reference_shape& n, const reference_weights& w, const reference_input& in,
             const reference_assignment& slot)
      : a(n.F, 0.0), b(n.F, 0.0), scale(n.F, 1.0), hidden(n.F, 0.0), o(n.M, 0.0) {
    const std::size_t e = slot.e, g = slot.t / n.S;
    for (std::size_t f = 0; f < n.F; ++f) {
      if (c.bias) a[f] = w.bi[e * n.F + f];
      if (c.bias && c.gated) b[f] = w.bi_gate[e * n.F + f];
      for (std::size_t m = 0; m < n.M; ++m) {
        a[f] += in.x[slot.t * n.M + m] * w.wi[(e * n.M + m) * n.F + f];
        if (c.gated) b[f] += in.x[slot.t * n.M + m] * w.wi_gate[(e * n.M + m) * n.F + f];
      }
      if (!in.hidden_scale.empty()) scale[f] = in.hidden_scale[((e * n.G + g) * n.C + slot.c) * n.F + f];
      hidden[f] =
          (c.gated ? reference_activation(c.activation, b[f]) * a[f] : reference_activation(c.activation, a[f])) *
          scale[f];
    }
    for (std::size_t m = 0; m < n.M; ++m) {
      if (c.bias) o[m] = w.bo[e * n.M + m];
      for (std::size_t f = 0; f < n.F; ++f) o[m] += hidden[f] * w.wo[(e * n.F + f) * n.M + m];
    }
  }
};

} // namespace detail

/// y_t = sum over the slots that hold t of gate * o; exactly 0 for a token without a slot.
inline reference_output reference_forward(const switch_config& config, const reference_weights& weights,
                                          const reference_input& input) {
  const detail::reference_shape n = detail::shape_of(config, weights, input);
  reference_output out;
  out.capacity = static_cast<std::int64_t>(n.C);
  detail::probabilities(config, n, weights, input, out);
  if (config.routing == routing_policy::expert_choice)
    detail::experts_choose(n, input, out);
  else
    detail::tokens_choose(config, n, input, out);
  detail::losses(config, n, input, out);

  out.y.assign(n.G * n.S * n.M, 0.0);
  for (const auto& slot : out.assignments) {
    const detail::expert_row row(config, n, weights, input, slot);
    for (std::size_t m = 0; m < n.M; ++m) out.y[slot.t * n.M + m] += out.gate[slot.at] * row.o[m];
  }
  return out;
}

/// Backward of <y,dy> + sum of coefficient * loss. Choices, order, drops and f are constants to it. For every filled
/// slot, with gate q:
///   dO = q dy,  dq = <dy,O>,  dwo += hidden^T dO,  dbo += dO,  dhidden = (dO wo^T) D
///   plain: da = dhidden act'(a)          gated: da = dhidden act(b),  db = dhidden a act'(b)
///   dwi += x^T da,  dbi += da,  dx += da wi^T, and the same with db and wi_gate
inline reference_gradient reference_backward(const switch_config& config, const reference_weights& weights,
                                             const reference_input& input, const reference_output& output,
                                             const std::vector<double>& dy) {
  const detail::reference_shape n = detail::shape_of(config, weights, input);
  detail::require(dy.size() == input.x.size(), "dy = ", dy.size(), " elements: must be ", input.x.size());
  const auto zeros_like = [](const std::vector<double>& v) { return std::vector<double>(v.size(), 0.0); };
  reference_gradient d;
  d.dx = zeros_like(input.x);
  d.weights = {zeros_like(weights.router), zeros_like(weights.wi), zeros_like(weights.wi_gate),
               zeros_like(weights.wo),     zeros_like(weights.bi), zeros_like(weights.bi_gate),
               zeros_like(weights.bo)};
  std::vector<double> dq = zeros_like(output.gate);

  for (const auto& slot : output.assignments) {
    const std::size_t e = slot.e;
    const detail::expert_row row(config, n, weights, input, slot);
    std::vector<double> dhidden(n.F, 0.0);
    for (std::size_t m = 0; m < n.M; ++m) {
      const double dy_m = dy[slot.t * n.M + m], dO = output.gate[slot.at] * dy_m;
      dq[slot.at] += dy_m * row.o[m];
      if (config.bias) d.weights.bo[e * n.M + m] += dO;
      for (std::size_t f = 0; f < n.F; ++f) {
        d.weights.wo[(e * n.F + f) * n.M + m] += row.hidden[f] * dO;
        dhidden[f] += dO * weights.wo[(e * n.F + f) * n.M + m] * row.scale[f];
      }
    }
    for (std::size_t f = 0; f < n.F; ++f) {
      const double slope =
          detail::reference_activation_derivative(config.activation, config.gated ? row.b[f] : row.a[f]);
      const double da = dhidden[f] * (config.gated ? detail::reference_activation(config.activation, row.b[f]) : slope);
      const double db = config.gated ? dhidden[f] * row.a[f] * slope : 0;
      if (config.bias) d.weights.bi[e * n.F + f] += da;
      if (config.bias && config.gated) d.weights.bi_gate[e * n.F + f] += db;
      for (std::size_t m = 0; m < n.M; ++m) {
        const std::size_t tm = slot.t * n.M + m, emf = (e * n.M + m) * n.F + f;
        d.weights.wi[emf] += input.x[tm] * da;
        d.dx[tm] += weights.wi[emf] * da;
        if (!config.gated) continue;
        d.weights.wi_gate[emf] += input.x[tm] * db;
        d.dx[tm] += weights.wi_gate[emf] * db;
      }
    }
  }
  detail::router_backward(config, n, weights, input, output, dq, d.dx, d.weights.router);
  return d;
}

} // namespace switchyard

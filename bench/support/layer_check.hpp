// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/closeness.hpp"
#include "support/layer_problem.hpp"
#include <algorithm>
#include <string>

/// \file
/// Is the layer right? Some tokens and some elements of the gradients, in double, by loops that share nothing with the
/// layer but the numbers it was given: W rounded to T, as pack rounds them. Routing is known beforehand.

namespace bench {

template <class T>
struct layer_check {
  layer_problem<T>& p;
  std::int64_t M = p.entry.shape.d_model, F = p.entry.shape.d_ff, E = p.entry.shape.experts, S = p.entry.shape.tokens;
  int K = p.entry.choices;
  std::vector<double> fraction = std::vector<double>(size(E)); // first choices, of all tokens

  explicit layer_check(layer_problem<T>& problem) : p(problem) {
    for (std::int64_t t = 0; t < S; ++t) fraction[size(p.expert[size(t * K)])] += 1 / static_cast<double>(S);
  }

  static double number(T v) { return number_of_value(v); }
  double x(std::int64_t t, std::int64_t m) const { return number(p.x(0, t, m)); }
  double dy(std::int64_t t, std::int64_t m) const { return number(p.dy(0, t, m)); }
  double wi(std::int64_t e, std::int64_t m, std::int64_t f) const { return number(T(p.weights.wi(e, m, f))); }
  double wo(std::int64_t e, std::int64_t f, std::int64_t m) const { return number(T(p.weights.wo(e, f, m))); }

  std::vector<double> probabilities(std::int64_t t) const {
    std::vector<double> h(size(E));
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t e = 0; e < E; ++e) h[size(e)] += x(t, m) * static_cast<double>(p.weights.router(m, e));
    const double largest = *std::max_element(h.begin(), h.end());
    double sum = 0;
    for (auto& v : h) sum += v = std::exp(v - largest);
    for (auto& v : h) v /= sum;
    return h;
  }
  bool kept(std::int64_t t, int j) const { return p.slot[size(t * K + j)] >= 0; }
  std::int64_t expert(std::int64_t t, int j) const { return p.expert[size(t * K + j)]; }

  /// a = x W1 and o = relu(a) W2 of choice j.
  struct expert_row {
    std::vector<double> a, o;
  };
  expert_row through(std::int64_t t, int j) const {
    const std::int64_t e = expert(t, j);
    expert_row r{std::vector<double>(size(F)), std::vector<double>(size(M))};
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t f = 0; f < F; ++f) r.a[size(f)] += x(t, m) * wi(e, m, f);
    for (std::int64_t f = 0; f < F; ++f)
      for (std::int64_t m = 0; m < M && r.a[size(f)] > 0; ++m) r.o[size(m)] += r.a[size(f)] * wo(e, f, m);
    return r;
  }

  /// Tokens all over the batch.
  std::vector<std::int64_t> sample(std::int64_t n) const {
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < std::min(n, S); ++i) all.push_back(i * S / std::min(n, S));
    return all;
  }

  std::string forward() const {
    closeness y;
    for (const auto t : sample(6)) {
      const auto prob = probabilities(t);
      std::vector<double> sum(size(M));
      for (int j = 0; j < K; ++j) {
        if (!kept(t, j)) continue;
        const auto r = through(t, j);
        for (std::int64_t m = 0; m < M; ++m) sum[size(m)] += prob[size(expert(t, j))] * r.o[size(m)];
      }
      for (std::int64_t m = 0; m < M; ++m) y.add(number(p.y(0, t, m)), sum[size(m)]);
    }
    for (std::int64_t t = 0; t < S; ++t) { // exactly the tokens without a slot are zero
      bool any = false, nonzero = false;
      for (int j = 0; j < K; ++j) any = any || kept(t, j);
      for (std::int64_t m = 0; m < M; ++m) nonzero = nonzero || number(p.y(0, t, m)) != 0;
      if (any != nonzero) return "token " + std::to_string(t) + (any ? " was dropped" : " was not dropped");
    }
    return y.verdict("y", allowed_error<T>);
  }

  /// d loss / d logits of one token, given its dq.
  std::vector<double> d_logits(std::int64_t t, const std::vector<double>& prob, const std::vector<double>& dq) const {
    const double coefficient = p.layer.config().load_balance * static_cast<double>(E);
    std::vector<double> dp(size(E));
    for (std::int64_t e = 0; e < E; ++e) dp[size(e)] = coefficient * fraction[size(e)] / static_cast<double>(S);
    for (int j = 0; j < K; ++j) dp[size(expert(t, j))] += dq[size(j)];
    double mean = 0;
    for (std::int64_t e = 0; e < E; ++e) mean += prob[size(e)] * dp[size(e)];
    for (std::int64_t e = 0; e < E; ++e) dp[size(e)] = prob[size(e)] * (dp[size(e)] - mean);
    return dp;
  }

  std::string dx() const {
    closeness all;
    for (const auto t : sample(4)) {
      const auto prob = probabilities(t);
      std::vector<double> sum(size(M)), dq(size(K));
      for (int j = 0; j < K; ++j) {
        if (!kept(t, j)) continue;
        const std::int64_t e = expert(t, j);
        const auto r = through(t, j);
        for (std::int64_t m = 0; m < M; ++m) dq[size(j)] += dy(t, m) * r.o[size(m)];
        for (std::int64_t f = 0; f < F; ++f) {
          if (!(r.a[size(f)] > 0)) continue;
          double dh = 0;
          for (std::int64_t m = 0; m < M; ++m) dh += prob[size(e)] * dy(t, m) * wo(e, f, m);
          for (std::int64_t m = 0; m < M; ++m) sum[size(m)] += dh * wi(e, m, f);
        }
      }
      const auto dh = d_logits(t, prob, dq);
      for (std::int64_t m = 0; m < M; ++m) {
        for (std::int64_t e = 0; e < E; ++e) sum[size(m)] += dh[size(e)] * static_cast<double>(p.weights.router(m, e));
        all.add(number(p.dx(0, t, m)), sum[size(m)]);
      }
    }
    return all.verdict("dx", allowed_error<T>);
  }

  /// Some elements of dW1 and dW2 of some experts, with all their rows; an expert without rows has zeros.
  std::string weight_gradients() const {
    closeness d_wi, d_wo;
    const std::int64_t experts = std::min<std::int64_t>(E, 3);
    for (std::int64_t i = 0; i < experts; ++i) {
      const std::int64_t e = p.entry.routing == routing::one ? (p.expert[0] + i) % E : i * E / experts;
      const auto from_wi = Kokkos::subview(p.gradients->wi, e, Kokkos::ALL, Kokkos::ALL);
      const auto from_wo = Kokkos::subview(p.gradients->wo, e, Kokkos::ALL, Kokkos::ALL);
      for (std::int64_t n = 0; n < 8; ++n) {
        const std::int64_t f = n < 4 ? n : n * F / 8, m = n * M / 8;
        double sum_wi = 0, sum_wo = 0;
        for (std::int64_t t = 0; t < S; ++t)
          for (int j = 0; j < K; ++j) {
            if (expert(t, j) != e || !kept(t, j)) continue;
            double a = 0, dh = 0;
            const double q = gate(t, j);
            for (std::int64_t k = 0; k < M; ++k) a += x(t, k) * wi(e, k, f);
            for (std::int64_t k = 0; k < M; ++k) dh += q * dy(t, k) * wo(e, f, k);
            if (!(a > 0)) continue;
            sum_wi += x(t, m) * dh;
            sum_wo += a * q * dy(t, m);
          }
        d_wi.add(static_cast<double>(from_wi(m, f)), sum_wi);
        d_wo.add(static_cast<double>(from_wo(f, m)), sum_wo);
      }
    }
    const auto why = d_wi.verdict("dW1", 2 * allowed_error<T>);
    return why.empty() ? d_wo.verdict("dW2", 2 * allowed_error<T>) : why;
  }

  /// Columns of dW_r, from all tokens: T E M operations, so for sizes where that is no time at all.
  std::string router_gradient() const {
    if (!checks_router()) return {};
    closeness all;
    const std::int64_t columns = std::min<std::int64_t>(E, 3);
    std::vector<double> want(size(columns * M));
    for (std::int64_t t = 0; t < S; ++t) {
      const auto prob = probabilities(t);
      std::vector<double> dq(1);
      // y was checked: o = y / q
      for (std::int64_t m = 0; m < M && kept(t, 0); ++m)
        dq[0] += dy(t, m) * number(p.y(0, t, m)) / prob[size(expert(t, 0))];
      const auto dh = d_logits(t, prob, dq);
      for (std::int64_t c = 0; c < columns; ++c)
        for (std::int64_t m = 0; m < M; ++m) want[size(c * M + m)] += x(t, m) * dh[size(c * E / columns)];
    }
    for (std::int64_t c = 0; c < columns; ++c)
      for (std::int64_t m = 0; m < M; ++m)
        all.add(static_cast<double>(p.gradients->router(m, c * E / columns)), want[size(c * M + m)]);
    return all.verdict("dW_r", 10 * allowed_error<T>); // p (dp - mean): a difference of what is nearly equal
  }

  /// Runs the pass, and says what is wrong with it, or nothing.
  std::string run(pass q) const {
    p.turn = 0;
    p.forward();
    std::string why = forward();
    if (q == pass::forward || !why.empty()) return why;
    p.need_gradients();
    p.backward();
    why = dx();
    if (why.empty()) why = weight_gradients();
    if (why.empty()) why = router_gradient();
    return why;
  }

  /// As run, but the backward went back from another dy than the checks believe: what all of them say, or nothing if
  /// one of them is content.
  std::string run_spoiled() const {
    std::string all = run(pass::backward);
    if (!all.empty()) return {}; // wrong before it was spoiled: the control proves nothing
    fill_random(p.dy, 6, 1);
    for (const auto& why : {dx(), weight_gradients(), checks_router() ? router_gradient() : "not checked"}) {
      if (why.empty()) return {};
      all += why + "; ";
    }
    return all;
  }

 private:
  bool checks_router() const { return K == 1 && S * E * M <= 500'000'000; }
  /// The layer's own gate, for sums over many rows; y has been checked with one of our own.
  double gate(std::int64_t t, int j) const { return static_cast<double>(p.tape.decision.gate(t, j)); }
};

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>
#include <set>
#include <switchyard/core/bfloat16.hpp>

// Where bfloat16 layers round is part of what they are: the weights, h, o before the gate, y; dO, the pre-activations
// that the backward reads, dA, dX before the router's part is added. Here the layer is plain loops with these roundings
// and no others, on integers so small that no sum rounds, whatever its order: the results are equal or wrong.
// The control: without any one of the roundings the loops give something else.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

enum class point { none, weights, hidden, output, y, d_output, pre, d_pre, d_input };

double to_bfloat16(double v) {
  return static_cast<float>(sy::bfloat16(static_cast<float>(v)));
}

struct results {
  std::vector<double> y, dx, wi, wi_gate, wo;
  bool operator==(const results&) const = default;
};

/// How the outputs of a token's experts are added: so that nothing rounds, or product and sum round each or once.
enum class adding { exact, apart, fused };

/// ReLU experts, plain or gated, at the layer's own choices and gates. `missing` is the rounding that is left out.
/// The router's part of dx: a problem of one token whose router reads column 0 only, and of it one expert.
struct loops {
  const job& j;
  const outcome& o;
  point missing = point::none;
  adding outputs = adding::exact;
  std::size_t M = static_cast<std::size_t>(j.config.d_model), F = static_cast<std::size_t>(j.config.d_ff);
  std::size_t E = static_cast<std::size_t>(j.config.experts), K = static_cast<std::size_t>(j.config.choices());

  double rounded(point at, double v) const { return at == missing ? static_cast<float>(v) : to_bfloat16(v); }
  double weight(double v) const { return rounded(point::weights, v); }
  /// A sum, in double. In float it must be the same: then no order of additions rounds.
  double exact(double sum) const {
    if (missing == point::none) REQUIRE(static_cast<float>(sum) == sum);
    return static_cast<float>(sum);
  }
  static double float_product(double a, double b) { return static_cast<float>(a) * static_cast<float>(b); }

  results run() const {
    results r;
    r.y.assign(o.x.size(), 0);
    r.dx.assign(o.x.size(), 0);
    r.wi.assign(j.weights.wi.size(), 0);
    r.wi_gate.assign(j.weights.wi_gate.size(), 0);
    r.wo.assign(j.weights.wo.size(), 0);
    const std::size_t tokens = o.x.size() / M;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t k = 0; k < K; ++k)
        if (o.slot[t * K + k] >= 0) one_row(t, static_cast<std::size_t>(o.choice[t * K + k]), o.gate[t * K + k], r);
      for (std::size_t m = 0; m < M; ++m) {
        double& dx = r.dx[t * M + m];
        for (std::size_t e = 0; e < E; ++e)
          if (const double w = j.weights.router[m * E + e]; w != 0 && tokens == 1)
            dx = static_cast<float>(dx) + static_cast<float>(w * (o.gradient.router[m * E + e] / o.x[m]));
        dx = to_bfloat16(dx);
        r.y[t * M + m] = rounded(point::y, r.y[t * M + m]);
      }
    }
    return r;
  }

  void one_row(std::size_t t, std::size_t e, double gate, results& r) const {
    const double* const x = &o.x[t * M];
    const auto at = [&](const std::vector<double>& w, std::size_t m, std::size_t f) {
      return weight(w[(e * M + m) * F + f]);
    };
    const auto wo = [&](std::size_t f, std::size_t m) { return weight(j.weights.wo[(e * F + f) * M + m]); };
    std::vector<double> a(F), b(F), hidden(F), d_a(F), d_b(F), d_o(M);
    for (std::size_t f = 0; f < F; ++f) {
      for (std::size_t m = 0; m < M; ++m) {
        a[f] += x[m] * at(j.weights.wi, m, f);
        if (j.config.gated) b[f] += x[m] * at(j.weights.wi_gate, m, f);
      }
      a[f] = exact(a[f]);
      b[f] = exact(b[f]);
      hidden[f] = rounded(point::hidden, exact(j.config.gated ? std::max(b[f], 0.0) * a[f] : std::max(a[f], 0.0)));
    }
    for (std::size_t m = 0; m < M; ++m) {
      double out = 0;
      for (std::size_t f = 0; f < F; ++f) out += hidden[f] * wo(f, m);
      out = rounded(point::output, exact(out));
      double& y = r.y[t * M + m];
      if (outputs == adding::exact)
        y = K == 1 ? float_product(gate, out) : exact(y + float_product(gate, out));
      else if (outputs == adding::apart)
        y = static_cast<float>(y + float_product(gate, out));
      else
        y = std::fma(static_cast<float>(gate), static_cast<float>(out), static_cast<float>(y));
      d_o[m] = rounded(point::d_output, float_product(gate, o.dy[t * M + m]));
    }
    for (std::size_t f = 0; f < F; ++f) {
      double d_h = 0;
      for (std::size_t m = 0; m < M; ++m) {
        d_h += d_o[m] * wo(f, m);
        r.wo[(e * F + f) * M + m] += hidden[f] * d_o[m];
      }
      d_h = exact(d_h);
      const double kept_a = rounded(point::pre, a[f]), kept_b = rounded(point::pre, b[f]);
      d_a[f] = rounded(point::d_pre, j.config.gated ? exact(d_h * std::max(kept_b, 0.0)) : hidden[f] > 0 ? d_h : 0);
      if (j.config.gated) d_b[f] = rounded(point::d_pre, kept_b > 0 ? exact(d_h * kept_a) : 0);
    }
    for (std::size_t m = 0; m < M; ++m) {
      double d_x = 0;
      for (std::size_t f = 0; f < F; ++f) {
        d_x += d_a[f] * at(j.weights.wi, m, f);
        r.wi[(e * M + m) * F + f] += x[m] * d_a[f];
        if (!j.config.gated) continue;
        d_x += d_b[f] * at(j.weights.wi_gate, m, f);
        r.wi_gate[(e * M + m) * F + f] += x[m] * d_b[f];
      }
      r.dx[t * M + m] = exact(r.dx[t * M + m] + rounded(point::d_input, exact(d_x)));
    }
  }
};

/// Integers up to `most`, plus or minus; weights are off by what bfloat16 does not see.
std::vector<double> integers(std::mt19937_64& bits, std::size_t n, std::int64_t most, double off = 0) {
  std::vector<double> v(n);
  for (double& value : v)
    value = (1 + off) *
            static_cast<double>(static_cast<std::int64_t>(bits() % (2 * static_cast<std::uint64_t>(most) + 1)) - most);
  return v;
}

struct sizes {
  std::int64_t x, wi, wo, dy; // the largest integer in each
};

job integer_job(const sy::switch_config& c, std::int64_t tokens, const sizes& most, std::mt19937_64& bits) {
  job j = random_job(c, 1, tokens, 1);
  j.x = integers(bits, j.x.size(), most.x);
  j.dy = integers(bits, j.dy.size(), most.dy);
  j.weights.wi = integers(bits, j.weights.wi.size(), most.wi, 0x1p-10);
  j.weights.wi_gate = integers(bits, j.weights.wi_gate.size(), most.wi, 0x1p-10);
  j.weights.wo = integers(bits, j.weights.wo.size(), most.wo, 0x1p-10);
  j.weights.router.assign(j.weights.router.size(), 0);
  return j;
}

/// Checks one job, weights' gradients where they are products and no sums; `seen` gets the points whose rounding shows.
void check(const subject& s, const job& j, std::set<point>& seen) {
  const outcome o = s.run(j);
  const bool one = j.tokens == 1;
  results got{o.y, o.dx, o.gradient.wi, o.gradient.wi_gate, o.gradient.wo};
  const auto comparable = [&](results r) {
    if (one) return r;
    r.wi = r.wi_gate = r.wo = {};
    for (std::size_t t = 0; t < static_cast<std::size_t>(j.tokens); ++t) // here the router's part is a sum
      r.dx[t * static_cast<std::size_t>(j.config.d_model)] = 0;
    return r;
  };
  got = comparable(got);
  const results want = comparable(loops{j, o}.run());
  CHECK(got.y == want.y);
  CHECK(got.dx == want.dx);
  CHECK(got.wi == want.wi);
  CHECK(got.wi_gate == want.wi_gate);
  CHECK(got.wo == want.wo);
  for (const point p : {point::weights, point::hidden, point::output, point::y, point::d_output, point::pre,
                        point::d_pre, point::d_input})
    if (comparable(loops{j, o, p}.run()) != got) seen.insert(p);
}

std::vector<subject> of_bfloat16() {
  std::vector<subject> all;
  for (const subject& s : subjects())
    if (s.unit_roundoff == 0x1p-8) all.push_back(s);
  return all;
}

using points = std::set<point>;

} // namespace

TEST_CASE("rounding: one token, one expert, its gate and its router", "[rounding]") {
  if (of_bfloat16().empty()) SKIP("built without bfloat16");
  for (const subject& s : of_bfloat16()) {
    INFO(s.space << ", " << s.precision << ", " << s.engine);
    std::mt19937_64 bits(1);
    points seen;
    for (int i = 0; i < 200; ++i) {
      const sy::switch_config c{.d_model = 6, .d_ff = 6, .experts = 4};
      job j = integer_job(c, 1, {63, 7, 7, 15}, bits);
      j.x[0] = static_cast<double>(std::int64_t{1} << bits() % 3);
      j.weights.router[bits() % 4] = bits() % 2 ? 2 : -1;
      check(s, j, seen);
    }
    CHECK(seen == points{point::weights, point::hidden, point::output, point::y, point::d_output, point::d_pre,
                         point::d_input});
  }
}

TEST_CASE("rounding: two experts with gates of a half", "[rounding]") {
  if (of_bfloat16().empty()) SKIP("built without bfloat16");
  for (const subject& s : of_bfloat16()) {
    INFO(s.space << ", " << s.precision << ", " << s.engine);
    std::mt19937_64 bits(2);
    points seen;
    for (int i = 0; i < 40; ++i) {
      sy::switch_config c{.d_model = 6, .d_ff = 6, .experts = 4, .routing = sy::routing_policy::top_k, .k = 2};
      c.dropless = true;
      job j = integer_job(c, 5, {63, 7, 7, 15}, bits);
      for (std::size_t t = 0; t < 5; ++t) j.x[t * 6] = 2 * static_cast<double>(bits() % 2) - 1;
      for (std::size_t e = 0; e < 4; ++e) j.weights.router[e] = e < 2 ? 100 : -100; // probabilities 1/2, 1/2, 0, 0
      check(s, j, seen);
    }
    CHECK(seen == points{point::weights, point::hidden, point::output, point::y, point::d_pre, point::d_input});
  }
}

TEST_CASE("rounding: two experts with any gates: y is a sum of products in float, which rounds once", "[rounding]") {
  if (of_bfloat16().empty()) SKIP("built without bfloat16");
  for (const subject& s : of_bfloat16()) {
    INFO(s.space << ", " << s.precision << ", " << s.engine);
    std::mt19937_64 bits(4);
    for (int i = 0; i < 40; ++i) {
      sy::switch_config c{.d_model = 6, .d_ff = 6, .experts = 3, .routing = sy::routing_policy::top_k, .k = 2};
      c.dropless = true;
      job j = integer_job(c, 5, {63, 7, 7, 15}, bits);
      for (std::size_t t = 0; t < 5; ++t) j.x[t * 6] = static_cast<double>(bits() % 4);
      j.weights.router[0] = 0.25;
      j.weights.router[1] = -0.125;
      j.backward = false;
      const outcome o = s.run(j);
      const results apart = loops{j, o, point::none, adding::apart}.run();
      const results fused = loops{j, o, point::none, adding::fused}.run();
      for (std::size_t n = 0; n < o.y.size(); ++n) CHECK((o.y[n] == apart.y[n] || o.y[n] == fused.y[n]));
    }
  }
}

TEST_CASE("rounding: gated experts, whose backward reads rounded pre-activations", "[rounding]") {
  if (of_bfloat16().empty()) SKIP("built without bfloat16");
  for (const subject& s : of_bfloat16()) {
    INFO(s.space << ", " << s.precision << ", " << s.engine);
    std::mt19937_64 bits(3);
    points seen;
    for (int i = 0; i < 100; ++i) {
      sy::switch_config c{.d_model = 4, .d_ff = 1, .experts = 1};
      c.gated = true;
      check(s, integer_job(c, 1, {31, 5, 7, 63}, bits), seen);
    }
    // A gate of 1: nothing is between the roundings of o and y, or of dX and dx, so that either alone does both.
    CHECK(seen == points{point::weights, point::hidden, point::pre, point::d_pre});
  }
}

// d_model and d_ff of 1, x of 1, a gate of 1: the gradient of wi is the number that is rounded, T(dh act'(u)), with dh
// = dy wo exact in float. Rounded once it is off by half a unit in its last place; with dh rounded too, now and then by
// more.
TEST_CASE("rounding: smooth activations, whose backward rounds once", "[rounding]") {
  if (of_bfloat16().empty()) SKIP("built without bfloat16");
  const auto derivative = [](sy::activation_kind kind, double u) {
    constexpr double root = 0.7978845608028654; // sqrt(2 / pi)
    if (kind == sy::activation_kind::gelu)
      return 0.5 * std::erfc(-u / std::sqrt(2.0)) + u * root / 2 * std::exp(-u * u / 2);
    if (kind == sy::activation_kind::silu) {
      const double p = 1 / (1 + std::exp(-u));
      return p * (1 + u * (1 - p));
    }
    const double t = std::tanh(root * (u + 0.044715 * u * u * u));
    return 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * root * (1 + 3 * 0.044715 * u * u);
  };
  for (const subject& s : of_bfloat16())
    for (const auto kind : {sy::activation_kind::gelu, sy::activation_kind::gelu_tanh, sy::activation_kind::silu}) {
      INFO(s.space << ", " << s.precision << ", " << s.engine << ", activation " << static_cast<int>(kind));
      std::mt19937_64 bits(5);
      int twice_is_more = 0;
      for (int i = 0; i < 60; ++i) {
        const sy::switch_config c{.d_model = 1, .d_ff = 1, .experts = 1, .activation = kind};
        job j = integer_job(c, 1, {1, 31, 127, 127}, bits);
        j.x = {1};
        j.weights.wi = {to_bfloat16(j.weights.wi[0]) / 16};
        const outcome o = s.run(j);
        const double d_h = to_bfloat16(j.weights.wo[0]) * j.dy[0], slope = derivative(kind, j.weights.wi[0]);
        const auto is_half_a_unit = [&](double du) {
          const double want = d_h * slope, unit = std::exp2(std::floor(std::log2(std::abs(want) + 1e-30)) - 7);
          return std::abs(du - want) <= 0.5 * unit + 1e-5 * std::abs(d_h);
        };
        CHECK(is_half_a_unit(o.gradient.wi[0]));
        twice_is_more += !is_half_a_unit(to_bfloat16(to_bfloat16(d_h) * slope));
      }
      CHECK(twice_is_more > 3);
    }
}

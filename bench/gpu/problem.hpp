// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cmath>
#include <string>
#include <switchyard/switchyard.hpp>
#include <vector>

/// \file
/// The layers of bench_gpu_layer, and whether they are right: some tokens and some columns of one expert's gradients in
/// double, from the numbers that the layer was given. Which experts a token chose is checked against its logits.

namespace gpu {

namespace sy = switchyard;
using exec_space = Kokkos::DefaultExecutionSpace;
using space = exec_space::memory_space;
using value = sy::bfloat16;
using layer_type = sy::switch_layer<exec_space>;
using tokens_view = Kokkos::View<value***, Kokkos::LayoutRight, space>;

struct shape {
  std::string name;
  std::int64_t tokens, d_model, d_ff, experts;
  int choices;
  bool gated; ///< SwiGLU and dropless; else ReLU and capacity factor 1.25

  sy::switch_config config() const {
    sy::switch_config c{.d_model = d_model, .d_ff = d_ff, .experts = experts};
    c.load_balance = 0;
    if (choices > 1) {
      c.routing = sy::routing_policy::top_k;
      c.k = choices;
    }
    if (gated) {
      c.gated = true;
      c.activation = sy::activation_kind::silu;
      c.dropless = true;
    }
    return c;
  }
};

/// 64 random bits of a counter (splitmix64).
KOKKOS_INLINE_FUNCTION std::uint64_t mixed(std::uint64_t n) {
  n += 0x9e3779b97f4a7c15u;
  n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
  n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
  return n ^ (n >> 31);
}
/// Nearly normal numbers, deviation 1: data are never zeros or constants, which multiply faster.
template <class T>
struct fill {
  T* to;
  std::uint64_t seed;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::uint64_t bits = mixed(mixed(seed) + static_cast<std::uint64_t>(i));
    float sum = 0;
    for (int k = 0; k < 4; ++k) sum += static_cast<float>(bits >> (16 * k) & 0xffff) * 0x1p-16f - 0.5f;
    to[i] = T(sum * 1.7320508f);
  }
};
template <class View>
void fill_random(const View& view, std::uint64_t seed) {
  using T = typename View::non_const_value_type;
  Kokkos::parallel_for(
      "gpu::fill",
      Kokkos::RangePolicy<exec_space, Kokkos::IndexType<std::int64_t>>(0, static_cast<std::int64_t>(view.size())),
      fill<T>{view.data(), seed});
  Kokkos::fence("bench: the numbers are there");
}

template <class View>
auto host(const View& view) {
  return Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
}

struct problem {
  gpu::shape shape;
  exec_space exec;
  layer_type layer;
  layer_type::weights_type weights;
  layer_type::packed_type packed;
  layer_type::tape_type tape;
  layer_type::gradients_type gradients;
  tokens_view x, y, dy, dx;

  explicit problem(const gpu::shape& s)
      : shape(s), layer(s.config()), weights(layer.init(exec, sy::seed{1})), packed(layer.pack(exec, weights)),
        tape(layer.make_tape(exec, 1, s.tokens)), gradients(layer.zeros(exec)), x("x", 1, s.tokens, s.d_model),
        y("y", 1, s.tokens, s.d_model), dy("dy", 1, s.tokens, s.d_model), dx("dx", 1, s.tokens, s.d_model) {
    fill_random(x, 2);
    fill_random(dy, 3);
  }
  void forward() { layer.forward(exec, packed, x, y, tape); }
  void backward() { layer.backward(exec, packed, dy, dx, tape, gradients); }
};

/// |got - want| / |want| over many numbers.
struct distance {
  double error = 0, size = 0;
  void add(double got, double want) {
    error += (got - want) * (got - want);
    size += want * want;
  }
  double relative() const { return std::sqrt(error / (size > 0 ? size : 1)); }
};

/// The worst relative distance of y, dx, dW1, dWg and dW2 of a forward and a backward; NaN or above 0.02 is wrong.
class check {
 public:
  explicit check(const problem& p)
      : p_(p), x_(host(p.x)), y_(host(p.y)), dy_(host(p.dy)), dx_(host(p.dx)), router_(host(p.weights.router)),
        choice_(host(p.tape.decision.choice)), slot_(host(p.tape.decision.slot)), gate_(host(p.tape.decision.gate)) {}

  double worst(int tokens) {
    double all = 0;
    for (int i = 0; i < tokens; ++i)
      all = larger(all, token(static_cast<std::int64_t>(i) * (p_.shape.tokens - 1) / std::max(tokens - 1, 1)));
    return larger(all, gradients());
  }

 private:
  using matrix = Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace>;
  struct expert {
    matrix wi, gate, wo; // rounded as pack rounds them
  };
  static double larger(double a, double b) { return b <= a ? a : b; } // NaN wins
  static double number(value v) { return static_cast<double>(static_cast<float>(v)); }
  static double rounded(double v) { return number(value(v)); }

  expert expert_of(std::int64_t e) const {
    const auto slice = [e](const auto& stack) {
      const auto n = static_cast<std::size_t>(e);
      const Kokkos::View<const float**, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged> there(
          stack.data() + n * stack.extent(1) * stack.extent(2), stack.extent(1), stack.extent(2));
      matrix here(Kokkos::view_alloc(Kokkos::WithoutInitializing, "expert"), stack.extent(1), stack.extent(2));
      Kokkos::deep_copy(here, there);
      for (std::size_t i = 0; i < here.size(); ++i) here.data()[i] = static_cast<float>(value(here.data()[i]));
      return here;
    };
    return {slice(p_.weights.wi), p_.shape.gated ? slice(p_.weights.wi_gate) : matrix(), slice(p_.weights.wo)};
  }
  double hidden(double u, double v) const { return p_.shape.gated ? u / (1 + std::exp(-u)) * v : std::max(u, 0.0); }
  /// Derivatives of hidden by u and by v.
  std::pair<double, double> slopes(double u, double v) const {
    if (!p_.shape.gated) return {u > 0 ? 1 : 0, 0};
    const double s = 1 / (1 + std::exp(-u));
    return {v * s * (1 + u * (1 - s)), u * s};
  }

  /// y and dx of one token, all roundings in their places.
  double token(std::int64_t t) const {
    const auto M = p_.shape.d_model, F = p_.shape.d_ff, E = p_.shape.experts;
    const auto n = static_cast<std::size_t>(t);
    std::vector<double> probs(static_cast<std::size_t>(E)), want_y(static_cast<std::size_t>(M)), want_dx = want_y;
    double top = -1e300, sum = 0;
    for (std::int64_t e = 0; e < E; ++e) {
      double& logit = probs[static_cast<std::size_t>(e)];
      for (std::int64_t m = 0; m < M; ++m) logit += number(x_(0, n, m)) * static_cast<double>(router_(m, e));
      top = std::max(top, logit);
    }
    for (double& q : probs) sum += q = std::exp(q - top);
    for (double& q : probs) q /= sum;
    std::vector<bool> chosen(probs.size());
    double least = 1;
    for (int j = 0; j < p_.shape.choices; ++j) {
      const auto e = static_cast<std::size_t>(choice_(n, j));
      chosen[e] = true;
      least = std::min(least, probs[e]);
    }
    for (std::size_t e = 0; e < probs.size(); ++e)
      if (!chosen[e] && probs[e] > least * 1.001) return 1e300; // another expert should have been chosen

    for (int j = 0; j < p_.shape.choices; ++j) {
      if (slot_(n, j) < 0) continue;
      const auto chosen_expert = static_cast<std::size_t>(choice_(n, j));
      const double q = probs[chosen_expert];
      if (!(std::abs(static_cast<double>(gate_(n, j)) - q) <= 1e-4)) return 1e299;
      const expert w = expert_of(choice_(n, j));
      std::vector<double> u(static_cast<std::size_t>(F)), v = u, dh = u, o(want_y.size());
      for (std::int64_t m = 0; m < M; ++m)
        for (std::int64_t f = 0; f < F; ++f) {
          const double in = number(x_(0, n, m));
          (p_.shape.gated ? v : u)[static_cast<std::size_t>(f)] += in * static_cast<double>(w.wi(m, f));
          if (p_.shape.gated) u[static_cast<std::size_t>(f)] += in * static_cast<double>(w.gate(m, f));
        }
      double slope = 0;
      for (std::int64_t f = 0; f < F; ++f) {
        const auto i = static_cast<std::size_t>(f);
        const double h = rounded(hidden(u[i], v[i]));
        for (std::int64_t m = 0; m < M; ++m) {
          o[static_cast<std::size_t>(m)] += h * static_cast<double>(w.wo(f, m));
          dh[i] += rounded(q * number(dy_(0, n, m))) * static_cast<double>(w.wo(f, m));
        }
      }
      for (std::size_t m = 0; m < o.size(); ++m) {
        want_y[m] += q * rounded(o[m]);
        slope += number(dy_(0, n, m)) * rounded(o[m]);
      }
      for (std::size_t f = 0; f < u.size(); ++f) {
        const auto [by_u, by_v] = slopes(p_.shape.gated ? rounded(u[f]) : u[f], rounded(v[f]));
        u[f] = rounded(dh[f] * by_u); // du from here on
        v[f] = rounded(dh[f] * by_v);
      }
      const auto& of_u = p_.shape.gated ? w.gate : w.wi;
      for (std::size_t m = 0; m < o.size(); ++m)
        for (std::size_t f = 0; f < u.size(); ++f)
          want_dx[m] +=
              u[f] * static_cast<double>(of_u(m, f)) + (p_.shape.gated ? v[f] * static_cast<double>(w.wi(m, f)) : 0);
      for (std::int64_t m = 0; m < M; ++m) { // d q / d x
        double mean = 0;
        for (std::int64_t e = 0; e < E; ++e)
          mean += probs[static_cast<std::size_t>(e)] * static_cast<double>(router_(m, e));
        want_dx[static_cast<std::size_t>(m)] += slope * q * (static_cast<double>(router_(m, chosen_expert)) - mean);
      }
    }
    distance y, dx;
    for (std::int64_t m = 0; m < M; ++m) {
      y.add(number(y_(0, n, m)), want_y[static_cast<std::size_t>(m)]);
      dx.add(number(dx_(0, n, m)), want_dx[static_cast<std::size_t>(m)]);
    }
    return larger(y.relative(), dx.relative());
  }

  /// Two columns of dW1 and dWg, and those rows of dW2, of one expert, with all its tokens.
  double gradients() const {
    const auto M = p_.shape.d_model, F = p_.shape.d_ff;
    const std::int64_t e = p_.shape.experts / 2;
    const expert w = expert_of(e);
    const auto part = [&](const auto& stack, std::int64_t row, std::int64_t column) {
      const auto at =
          (static_cast<std::size_t>(e) * stack.extent(1) + static_cast<std::size_t>(row)) * stack.extent(2) +
          static_cast<std::size_t>(column);
      float one = 0;
      const Kokkos::View<const float, space, Kokkos::MemoryUnmanaged> there(stack.data() + at);
      Kokkos::deep_copy(Kokkos::View<float, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(&one), there);
      return static_cast<double>(one);
    };
    double all = 0;
    for (const std::int64_t f : {F / 3, F - 1}) {
      std::vector<double> d_wi(static_cast<std::size_t>(M)), d_gate = d_wi, d_wo = d_wi;
      for (std::int64_t t = 0; t < p_.shape.tokens; ++t)
        for (int j = 0; j < p_.shape.choices; ++j) {
          const auto n = static_cast<std::size_t>(t);
          if (choice_(n, j) != e || slot_(n, j) < 0) continue;
          double u = 0, v = 0, dh = 0;
          const double q = static_cast<double>(gate_(n, j));
          for (std::int64_t m = 0; m < M; ++m) {
            (p_.shape.gated ? v : u) += number(x_(0, n, m)) * static_cast<double>(w.wi(m, f));
            if (p_.shape.gated) u += number(x_(0, n, m)) * static_cast<double>(w.gate(m, f));
            dh += rounded(q * number(dy_(0, n, m))) * static_cast<double>(w.wo(f, m));
          }
          const double h = rounded(hidden(u, v));
          const auto [by_u, by_v] = slopes(p_.shape.gated ? rounded(u) : u, rounded(v));
          const double du = rounded(dh * by_u), dv = rounded(dh * by_v);
          for (std::int64_t m = 0; m < M; ++m) {
            const auto i = static_cast<std::size_t>(m);
            d_wi[i] += number(x_(0, n, m)) * (p_.shape.gated ? dv : du);
            d_gate[i] += number(x_(0, n, m)) * du;
            d_wo[i] += h * rounded(q * number(dy_(0, n, m)));
          }
        }
      distance wi, gate, wo;
      for (std::int64_t m = 0; m < M; m += 7) { // one number at a time over the bus: not all
        wi.add(part(p_.gradients.wi, m, f), d_wi[static_cast<std::size_t>(m)]);
        if (p_.shape.gated) gate.add(part(p_.gradients.wi_gate, m, f), d_gate[static_cast<std::size_t>(m)]);
        wo.add(part(p_.gradients.wo, f, m), d_wo[static_cast<std::size_t>(m)]);
      }
      all = larger(larger(all, wi.relative()), larger(gate.relative(), wo.relative()));
    }
    return all;
  }

  template <class T>
  using on_host = Kokkos::View<T**, Kokkos::LayoutRight, Kokkos::HostSpace>;
  const problem& p_;
  Kokkos::View<value***, Kokkos::LayoutRight, Kokkos::HostSpace> x_, y_, dy_, dx_;
  on_host<float> router_;
  on_host<std::int32_t> choice_, slot_;
  on_host<float> gate_;
};

} // namespace gpu

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/data.hpp"
#include "support/matmul_loop.hpp"
#include "support/roofline.hpp"
#include "support/routed.hpp"
#include <cmath>
#include <optional>
#include <switchyard/switchyard.hpp>

/// \file
/// A whole layer with tokens that the ordinary router sends where the entry wants them: the columns of W_r are random
/// vectors of one length, and a token is noise plus a large multiple of its expert's column. Then the router's work is
/// the usual one, and its answer is known beforehand.

namespace bench {

template <class T>
struct layer_problem {
  using layer_type = switchyard::switch_layer<exec_space, switchyard::selective<T>>;
  using tokens_view = Kokkos::View<T***, Kokkos::LayoutRight, space>; // [1, tokens, M]

  bench::entry entry;
  std::int64_t batches; ///< of tokens, used in turn: 1, but for decode, whose experts must not stay in a cache
  exec_space exec;
  layer_type layer;
  typename layer_type::weights_type weights;
  typename layer_type::packed_type packed;
  typename layer_type::tape_type tape;
  std::optional<typename layer_type::gradients_type> gradients;
  tokens_view x, y, dy, dx;               // x: all batches
  std::vector<std::int32_t> expert, slot; ///< [T, K] of batch 0: what the router must decide; slot -1: dropped
  std::vector<std::int64_t> offset;       ///< [E + 1] first row of each expert
  std::int64_t turn = 0;

  explicit layer_problem(const bench::entry& e, std::int64_t batch_count = 1, bool spoiled = false)
      : entry(e), batches(batch_count), layer(config_of(e)), weights(config_of(e), layer.experts_here()) {
    const auto& s = e.shape;
    const float up = 1 / std::sqrt(static_cast<float>(s.d_model)), down = 1 / std::sqrt(static_cast<float>(s.d_ff));
    fill_router(weights.router);
    fill_random(weights.wi, 2, up);
    fill_random(weights.wo, 3, down);
    const auto bump = [&](float by) {
      for (std::int64_t k = 0; k < s.experts; ++k)
        for (std::int64_t f = 0; f < 4; ++f) weights.wi(k, 0, f) += by;
    };
    if (spoiled) bump(8); // the layer gets other weights than the reference
    packed = layer.pack(exec, weights);
    if (spoiled) bump(-8);
    tape = layer.make_tape(exec, 1, s.tokens);

    const std::int64_t all = batches * s.tokens;
    x = allocate<tokens_view>("bench::x", 1, all, s.d_model);
    y = allocate<tokens_view>("bench::y", 1, s.tokens, s.d_model);
    dy = allocate<tokens_view>("bench::dy", 1, s.tokens, s.d_model);
    dx = allocate<tokens_view>("bench::dx", 1, s.tokens, s.d_model);
    fill_random(dy, 5, 1);
    const intention meant(e, all);
    fill_tokens(Kokkos::subview(x, 0, Kokkos::ALL, Kokkos::ALL), weights.router, meant);
    expert.assign(meant.expert.begin(), meant.expert.begin() + s.tokens * e.choices);
    slots_of(e, layer.config().capacity(s.tokens), expert, slot, offset);
  }

  std::int64_t rows() const { return offset.back(); }
  std::int64_t active() const {
    std::int64_t n = 0;
    for (std::size_t e = 0; e + 1 < offset.size(); ++e) n += offset[e + 1] > offset[e];
    return n;
  }
  workload work() const {
    return workload::of(entry.shape, entry.number, static_cast<double>(rows()), static_cast<double>(active()));
  }

  void need_gradients() {
    if (!gradients) gradients.emplace(layer.zeros(exec));
  }
  void forward() {
    const std::int64_t begin = turn++ % batches * entry.shape.tokens;
    const auto here = Kokkos::View<T***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>(
        &x(0, begin, 0), 1, size(entry.shape.tokens), x.extent(2));
    layer.forward(exec, packed, here, y, tape);
    exec.fence("bench: the forward is done");
  }
  void backward() {
    layer.backward(exec, packed, dy, dx, tape, *gradients);
    exec.fence("bench: the backward is done");
  }
  void run(pass p) {
    if (p != pass::backward) forward();
    if (p != pass::forward) backward();
  }
};

/// The layer behind its router as a loop of library calls, for one choice per token: gather, a matmul per expert and
/// product, gate and scatter. The router is left out, in favour of the loop.
template <class T>
struct layer_loop {
  const layer_problem<T>& p;
  std::vector<std::int64_t> token; ///< of each row
  std::vector<float> gate;         ///< of each row
  matrix<T> rows, hidden, o, d_o, d_pre, dx_rows, y, dx;
  std::optional<typename layer_problem<T>::layer_type::gradients_type> gradients;
  matmul_loop products;

  layer_loop(const layer_problem<T>& problem, bool backward)
      : p(problem), token(size(problem.rows())), gate(size(problem.rows())),
        products(problem.entry.number, problem.entry.shape.d_model, problem.entry.shape.d_ff, problem.offset,
                 problem.weights.wi.data(), problem.weights.wo.data(), backward) {
    const std::int64_t m = p.entry.shape.d_model, f = p.entry.shape.d_ff, n = p.rows(), tokens = p.entry.shape.tokens;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const auto at = size(t);
      if (p.slot[at] < 0) continue;
      const auto row = size(p.offset[size(p.expert[at])] + p.slot[at]);
      token[row] = t;
      gate[row] = p.tape.decision.gate(t, 0);
    }
    rows = random_matrix<T>("bench::rows", n, m, 31);
    hidden = random_matrix<T>("bench::hidden", n, f, 32);
    o = random_matrix<T>("bench::o", n, m, 33);
    y = random_matrix<T>("bench::y", tokens, m, 34);
    if (!backward) return;
    d_o = random_matrix<T>("bench::do", n, m, 35);
    d_pre = random_matrix<T>("bench::d_pre", n, f, 36);
    dx_rows = random_matrix<T>("bench::dx_rows", n, m, 37);
    dx = random_matrix<T>("bench::dx", tokens, m, 38);
    gradients.emplace(p.layer.zeros(p.exec));
  }

  template <class F>
  void each_row(std::int64_t columns, const F& f) const {
    Kokkos::parallel_for("bench::loop_rows", range(p.exec, 0, static_cast<std::int64_t>(token.size())),
                         [=](std::int64_t r) {
                           for (std::int64_t c = 0; c < columns; ++c) f(r, c);
                         });
  }
  void forward() const {
    const std::int64_t m = p.entry.shape.d_model;
    const auto* from = token.data();
    const auto* q = gate.data();
    each_row(m, [x = p.x, to = rows, from](std::int64_t r, std::int64_t c) { to(r, c) = x(0, from[r], c); });
    products.forward(rows.data(), hidden.data(), o.data());
    each_row(m, [o = o, y = y, from, q](std::int64_t r, std::int64_t c) {
      y(from[r], c) = T(q[r] * static_cast<float>(o(r, c)));
    });
  }
  void backward() const {
    const std::int64_t m = p.entry.shape.d_model;
    const auto* from = token.data();
    const auto* q = gate.data();
    each_row(m, [dy = p.dy, to = d_o, from, q](std::int64_t r, std::int64_t c) {
      to(r, c) = T(q[r] * static_cast<float>(dy(0, from[r], c)));
    });
    products.d_hidden(d_o.data(), d_pre.data());
    each_row(p.entry.shape.d_ff, [h = hidden, d = d_pre](std::int64_t r, std::int64_t c) {
      if (!(static_cast<float>(h(r, c)) > 0)) d(r, c) = T(0.0f);
    });
    products.backward(rows.data(), hidden.data(), d_o.data(), d_pre.data(), dx_rows.data(), gradients->wi.data(),
                      gradients->wo.data());
    each_row(m, [d = dx_rows, to = dx, from](std::int64_t r, std::int64_t c) { to(from[r], c) = d(r, c); });
  }
  void run(pass q) const {
    if (q != pass::backward) forward();
    if (q != pass::forward) backward();
  }
};

} // namespace bench

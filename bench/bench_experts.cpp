// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/decided.hpp"
#include "support/figures.hpp"
#include "support/matmul_loop.hpp"
#include <memory>
#include <switchyard/experts/ffn.hpp>

// The expert FFN behind a given routing. Checked on some rows and some elements of the weight gradients, in double.

namespace {

using namespace bench;
namespace experts = switchyard::experts;
namespace gemm = switchyard::gemm;

template <class T>
struct problem : decided {
  using engine = gemm::default_engine<exec_space, T>;
  std::int64_t M = entry.shape.d_model, F = entry.shape.d_ff, E = entry.shape.experts;
  std::int64_t n = std::max<std::int64_t>(rows(), 1);
  experts::ffn_settings ffn;
  experts::packed_ffn<engine, exec_space, T> packed;
  experts::ffn_tape<T, space> tape{n, F, ffn};
  stack<float> wi = random_stack<float>("bench::wi", E, M, F, 71, 1 / std::sqrt(static_cast<float>(M)));
  stack<float> wo = random_stack<float>("bench::wo", E, F, M, 72, 1 / std::sqrt(static_cast<float>(F)));
  matrix<T> x = random_matrix<T>("bench::x", entry.shape.tokens, M, 73);
  matrix<T> d_o = random_matrix<T>("bench::do", n, M, 74);
  matrix<T> o = random_matrix<T>("bench::o", n, M, 75), dx = random_matrix<T>("bench::dx", n, M, 76);
  experts::ffn_gradients<float, space> gradients;
  matrix<T> gathered, hidden, d_pre, loop_o, loop_dx; ///< of the loop
  experts::ffn_gradients<float, space> loop_gradients;
  std::unique_ptr<matmul_loop> loop;

  explicit problem(const bench::entry& e) : decided(e) {
    const auto pack = [&](auto& into, std::int64_t k, std::int64_t columns, const stack<float>& w,
                          gemm::orientation how) {
      into = engine::template allocate<exec_space, T>(exec, E, k, columns);
      engine::template pack<exec_space, T>(exec, into, w, how);
    };
    pack(packed.wi, M, F, wi, gemm::orientation::forward);
    pack(packed.wo, F, M, wo, gemm::orientation::forward);
    if (e.pass != pass::forward) {
      pack(packed.wi_transposed, F, M, wi, gemm::orientation::transposed);
      pack(packed.wo_transposed, M, F, wo, gemm::orientation::transposed);
      gradients.wi = stack<float>("bench::dwi", size(E), size(M), size(F));
      gradients.wo = stack<float>("bench::dwo", size(E), size(F), size(M));
    }
    exec.fence("bench: the weights are packed");
  }

  void run(pass p) const {
    const experts::ffn_rows<space> list{assignment.groups(), assignment.row_token, {}, assignment.row_slot};
    if (p != pass::backward) experts::forward<engine, exec_space, T, space>(exec, ffn, packed, list, x, tape, o);
    if (p != pass::forward)
      experts::backward<engine, exec_space, T, float, space>(exec, ffn, packed, list, x, tape, d_o, dx, gradients,
                                                             false);
    exec.fence("bench: the experts are done");
  }

  void make_loop(bool backward) {
    gathered = random_matrix<T>("bench::gathered", n, M, 77);
    hidden = random_matrix<T>("bench::hidden", n, F, 78);
    loop_o = random_matrix<T>("bench::loop_o", n, M, 79);
    if (backward) {
      d_pre = random_matrix<T>("bench::d_pre", n, F, 80);
      loop_dx = random_matrix<T>("bench::loop_dx", n, M, 81);
      loop_gradients.wi = stack<float>("bench::loop_dwi", size(E), size(M), size(F));
      loop_gradients.wo = stack<float>("bench::loop_dwo", size(E), size(F), size(M));
    }
    loop = std::make_unique<matmul_loop>(entry.number, M, F, offset, wi.data(), wo.data(), backward);
  }
  /// Gathers, as the room does.
  void run_loop(pass p) const {
    if (p != pass::backward) {
      Kokkos::parallel_for("bench::loop_gather", range(exec, 0, rows()),
                           [from = assignment.row_token, x = x, to = gathered](std::int64_t r) {
                             for (std::size_t c = 0; c < x.extent(1); ++c) to(r, c) = x(from(r), c);
                           });
      loop->forward(gathered.data(), hidden.data(), loop_o.data());
    }
    if (p == pass::forward) return;
    loop->d_hidden(d_o.data(), d_pre.data());
    Kokkos::parallel_for("bench::loop_derivative", range(exec, 0, rows()), [h = hidden, d = d_pre](std::int64_t r) {
      for (std::size_t f = 0; f < h.extent(1); ++f)
        if (!(static_cast<float>(h(r, f)) > 0)) d(r, f) = T(0.0f);
    });
    loop->backward(gathered.data(), hidden.data(), d_o.data(), d_pre.data(), loop_dx.data(), loop_gradients.wi.data(),
                   loop_gradients.wo.data());
  }

  double up(std::int64_t e, std::int64_t m, std::int64_t f) const { return number_of_value(T(wi(e, m, f))); }
  double down(std::int64_t e, std::int64_t f, std::int64_t m) const { return number_of_value(T(wo(e, f, m))); }
  std::int64_t expert_of(std::int64_t r) const {
    return std::upper_bound(offset.begin(), offset.end(), r) - offset.begin() - 1;
  }
  double token(std::int64_t r, std::int64_t m) const { return number_of_value(x(token_of[size(r)], m)); }
  std::vector<std::int64_t> token_of; ///< of each row

  std::string wrong(pass p) {
    token_of.assign(size(rows()), 0);
    for (std::int64_t t = 0; t < entry.shape.tokens; ++t)
      for (int j = 0; j < entry.choices; ++j)
        if (row(t, j) >= 0) token_of[size(row(t, j))] = t;
    closeness all_o, all_dx, d_wi, d_wo;
    const std::int64_t some = std::min<std::int64_t>(rows(), 5);
    for (std::int64_t i = 0; i < some; ++i) {
      const std::int64_t r = i * rows() / some, e = expert_of(r);
      std::vector<double> a(size(F)), sum(size(M)), back(size(M));
      for (std::int64_t m = 0; m < M; ++m)
        for (std::int64_t f = 0; f < F; ++f) a[size(f)] += token(r, m) * up(e, m, f);
      for (std::int64_t f = 0; f < F; ++f) {
        if (!(a[size(f)] > 0)) continue;
        double dh = 0;
        for (std::int64_t m = 0; m < M; ++m) {
          sum[size(m)] += a[size(f)] * down(e, f, m);
          dh += number_of_value(d_o(r, m)) * down(e, f, m);
        }
        for (std::int64_t m = 0; m < M && p != pass::forward; ++m) back[size(m)] += dh * up(e, m, f);
      }
      for (std::int64_t m = 0; m < M; ++m) {
        all_o.add(number_of_value(o(r, m)), sum[size(m)]);
        if (p != pass::forward) all_dx.add(number_of_value(dx(r, m)), back[size(m)]);
      }
    }
    auto why = all_o.verdict("o", allowed_error<T>);
    if (p == pass::forward || !why.empty()) return why;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(E, 3);
         ++i) { // elements of the gradients, all rows of an expert
      const std::int64_t e = entry.routing == routing::one ? (expert[0] + i) % E : i * E / std::min<std::int64_t>(E, 3);
      for (std::int64_t k = 0; k < 8; ++k) {
        const std::int64_t f = k * F / 8, m = (k * 7 + 1) * M / 64;
        double sum_wi = 0, sum_wo = 0;
        for (std::int64_t r = offset[size(e)]; r < offset[size(e + 1)]; ++r) {
          double a = 0, dh = 0;
          for (std::int64_t c = 0; c < M; ++c) a += token(r, c) * up(e, c, f);
          for (std::int64_t c = 0; c < M; ++c) dh += number_of_value(d_o(r, c)) * down(e, f, c);
          if (!(a > 0)) continue;
          sum_wi += token(r, m) * dh;
          sum_wo += a * number_of_value(d_o(r, m));
        }
        d_wi.add(static_cast<double>(gradients.wi(e, m, f)), sum_wi);
        d_wo.add(static_cast<double>(gradients.wo(e, f, m)), sum_wo);
      }
    }
    why = all_dx.verdict("dx", allowed_error<T>);
    if (why.empty()) why = d_wi.verdict("dW1", 2 * allowed_error<T>);
    if (why.empty()) why = d_wo.verdict("dW2", 2 * allowed_error<T>);
    return why;
  }
};

template <class T>
void ffn(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<problem<T>>(e);
  p->run(pass::forward);
  if (e.pass != pass::forward) p->run(pass::backward);
  if (chosen().control) { // the check believes another W1, or another do
    if (e.pass == pass::forward)
      fill_random(p->wi, 91, 0.05f);
    else
      fill_random(p->d_o, 92, 1);
  }
  const auto why = p->wrong(e.pass);
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");
  const workload w = p->work();
  subject s{.entry = e, .rows = w.R, .active = w.active, .useful = w.useful(e.pass)};
  if (e.pass != pass::backward) s.costs = experts_forward_cost(w);
  if (e.pass != pass::forward)
    for (const auto& c : experts_backward_cost(w)) s.costs.push_back(c);
  s.call = [p, e] { p->run(e.pass); };
  if (matmul_loop::available(e.number)) {
    p->make_loop(e.pass != pass::forward);
    p->run_loop(pass::forward);
    closeness same;
    for (std::int64_t r = 0; r < p->rows(); ++r)
      for (std::int64_t m = 0; m < p->M; ++m) same.add(number_of_value(p->loop_o(r, m)), number_of_value(p->o(r, m)));
    if (e.pass != pass::forward) {
      p->run_loop(pass::backward);
      for (std::size_t i = 0; i < p->gradients.wi.size(); i += 101) {
        same.add(number_of_value(p->loop_gradients.wi.data()[i]), number_of_value(p->gradients.wi.data()[i]));
        same.add(number_of_value(p->loop_gradients.wo.data()[i]), number_of_value(p->gradients.wo.data()[i]));
      }
    }
    const auto different = same.verdict("loop", std::max(2 * allowed_error<T>, 1e-3));
    if (!different.empty()) return fail(state, different);
    s.loop = [p, e] { p->run_loop(e.pass); };
  }
  measure(state, s);
}

void entries() {
  const bool quick = chosen().quick;
  const auto all = [](entry e, auto... passes) {
    for (const pass p : {passes...}) {
      e.pass = p;
      e.number = number::bf16;
      add("experts", e, ffn<switchyard::bfloat16>);
      e.number = number::fp32;
      add("experts", e, ffn<float>);
    }
  };
  using enum pass;
  if (chosen().control) all({.shape = small}, forward, forward_backward);
  if (quick) return all({.shape = switch_base_32}, forward, backward);
  all({.shape = switch_base_32}, forward, backward, forward_backward);
  all({.shape = switch_base_8}, forward, forward_backward);
  all({.shape = switch_base_128}, forward);
  all({.shape = switch_base_32, .routing = routing::zipf}, forward, forward_backward);
  all({.shape = switch_base_32, .routing = routing::one}, forward);
  for (const std::int64_t experts : {8, 128}) all({.shape = sweep(experts, 8192)}, forward);
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/decided.hpp"
#include "support/figures.hpp"
#include <memory>
#include <switchyard/combine/combine.hpp>

// Combine, forward (o -> y) and backward (dy, o -> do, dq). Checked on every token, in double.

namespace {

using namespace bench;
namespace combine = switchyard::combine;

template <class T>
struct problem : decided {
  std::int64_t m = entry.shape.d_model, tokens = entry.shape.tokens;
  matrix<T> o = random_matrix<T>("bench::o", std::max<std::int64_t>(rows(), 1), m, 61);
  matrix<T> dy = random_matrix<T>("bench::dy", tokens, m, 62), y = random_matrix<T>("bench::y", tokens, m, 63);
  matrix<T> d_o = random_matrix<T>("bench::do", std::max<std::int64_t>(rows(), 1), m, 64);
  matrix<float> dq = random_matrix<float>("bench::dq", tokens, entry.choices, 65);
  using decided::decided;

  void run(pass p) const {
    if (p != pass::backward) combine::forward<exec_space, T, float, space>(exec, size_of, set, decision, map(), o, y);
    if (p != pass::forward)
      combine::backward<exec_space, T, float, space>(exec, size_of, set, decision, map(), dy, o, d_o, dq);
    exec.fence("bench: the tokens are combined");
  }

  std::string wrong(pass p) const {
    closeness all_y, all_do, all_dq;
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::vector<double> sum(size(m));
      for (int j = 0; j < entry.choices; ++j) {
        const std::int64_t r = row(t, j);
        double dot = 0;
        for (std::int64_t c = 0; c < m && r >= 0; ++c) {
          const double q = static_cast<double>(decision.gate(t, j));
          sum[size(c)] += q * number_of_value(o(r, c));
          dot += number_of_value(dy(t, c)) * number_of_value(o(r, c));
          if (p != pass::forward) all_do.add(number_of_value(d_o(r, c)), q * number_of_value(dy(t, c)));
        }
        all_dq.add(static_cast<double>(dq(t, j)), dot);
      }
      for (std::int64_t c = 0; c < m; ++c) all_y.add(number_of_value(y(t, c)), sum[size(c)]);
    }
    std::string why;
    if (p != pass::backward) why = all_y.verdict("y", allowed_error<T>);
    if (p != pass::forward && why.empty()) why = all_do.verdict("do", allowed_error<T>);
    if (p != pass::forward && why.empty()) why = all_dq.verdict("dq", allowed_error<T>);
    return why;
  }
};

template <class T>
void both_ways(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<problem<T>>(e);
  p->run(e.pass);
  if (chosen().control) { // one token in sixteen comes back as another
    for (std::int64_t t = 0; t < p->tokens; t += 16) {
      p->y(t, 1) = T(9.0f);
      p->dq(t, 0) += 99;
    }
  }
  const auto why = p->wrong(e.pass);
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");
  const workload w = p->work();
  const bool back = e.pass == pass::backward;
  measure(state, {.entry = e,
                  .rows = w.R,
                  .active = w.active,
                  .useful = (back ? 3 : 2) * w.R * w.M,
                  .costs = {{"combine", 0, w.b * w.M * (back ? 2 * w.R + w.T : w.R + w.T)}},
                  .call = [p, e] { p->run(e.pass); },
                  .dense_every = 4,
                  .moved = static_cast<std::size_t>(w.b * w.M * (back ? 1.5 * w.R : w.R))});
}

void entries() {
  const bool quick = chosen().quick;
  const auto all = [](entry e) {
    for (const pass p : {pass::forward, pass::backward}) {
      e.pass = p;
      e.number = number::bf16;
      add("combine", e, both_ways<switchyard::bfloat16>);
      e.number = number::fp32;
      add("combine", e, both_ways<float>);
    }
  };
  all({.shape = switch_base_32});
  if (quick) return;
  all({.shape = switch_base_8});
  all({.shape = switch_base_128});
  all({.shape = switch_base_32, .routing = routing::zipf});
  all({.shape = switch_base_32, .routing = routing::one});
  all({.shape = switch_base_32, .choices = 2});
  all({.shape = sweep(64, 65536)});
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/decided.hpp"
#include "support/figures.hpp"
#include <Kokkos_Profiling_ScopedRegion.hpp>
#include <memory>
#include <switchyard/router/router.hpp>

// The router: logits, softmax, selection, slots, gates and losses; backward: dh, dW_r and what goes to dx. Choices and
// slots are checked for every token; probabilities, gradients for some, in double.

namespace {

using namespace bench;
namespace router = switchyard::router;
namespace gemm = switchyard::gemm;

struct store {
  static constexpr bool paired = false;
  matrix<float> to;
  void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n, const float* sum) const {
    std::copy_n(sum, n, &to(row, column));
  }
};

template <class T>
struct problem {
  using engine = gemm::default_engine<exec_space, float>;
  bench::entry entry;
  std::int64_t S = entry.shape.tokens, M = entry.shape.d_model, E = entry.shape.experts;
  exec_space exec;
  router::problem size_of{1, S, E, 0, 1};
  router::settings set;
  router::padding<space> pad;
  router::decision<float, space> decision{size_of, entry.choices};
  router::slot_scratch<float, space> scratch;
  router::statistics<float, space> statistics{size_of};
  vector<std::int64_t> all_tokens{"bench::all_tokens", 2};
  stack<float> w = random_stack<float>("bench::router", 1, M, E, 1, 1), dw = w;
  matrix<T> x = random_matrix<T>("bench::x", S, M, 2);
  matrix<float> dq = random_matrix<float>("bench::dq", S, entry.choices, 3), dh, dx;
  typename engine::template packed<exec_space, float> packed, transposed;
  std::vector<std::int32_t> expert, slot;
  std::vector<std::int64_t> offset;

  explicit problem(const bench::entry& e) : entry(e) {
    const auto config = config_of(e);
    set.routing = config.routing;
    set.choices = e.choices;
    set.capacity = config.capacity(S);
    set.load_balance = config.load_balance;
    scratch = router::slot_scratch<float, space>(size_of, config.routing, config.order);
    all_tokens(1) = S;
    const matrix<float> flat = allocate<matrix<float>>("bench::w", M, E);
    fill_router(flat);
    std::copy_n(flat.data(), flat.size(), w.data());
    const intention meant(e, S);
    fill_tokens(x, flat, meant);
    expert = meant.expert;
    slots_of(e, set.capacity, expert, slot, offset);
    packed = engine::template allocate<exec_space, float>(exec, 1, M, E);
    transposed = engine::template allocate<exec_space, float>(exec, 1, E, M);
    engine::template pack<exec_space, float>(exec, packed, w, gemm::orientation::forward);
    engine::template pack<exec_space, float>(exec, transposed, w, gemm::orientation::transposed);
    dh = random_matrix<float>("bench::dh", S, E, 4);
    dx = random_matrix<float>("bench::dx", S, M, 5);
    dw = stack<float>("bench::dw", 1, size(M), size(E));
  }

  void run(pass p) const {
    const gemm::row_groups<space> all{all_tokens, S};
    if (p != pass::backward) {
      router::logits<engine, float>(exec, all, gemm::rows<T, space>(x), packed, set, decision);
      router::decide<float>(exec, size_of, set, pad, decision, statistics);
      router::assign_slots(exec, size_of, set, pad, decision, scratch);
      router::gates<float>(exec, set, decision);
      router::sum_groups(exec, size_of, set, pad, decision, statistics);
      router::losses(exec, size_of, set, statistics);
    }
    if (p != pass::forward) {
      router::backward<exec_space, float, space>(exec, size_of, set, pad, decision, statistics, 1.0, dq, dh);
      gemm::grouped_product<engine>(exec, all, gemm::rows<float, space>(dh), transposed, store{dx});
      gemm::grouped_weight_gradient<engine>(exec, all, gemm::rows<T, space>(x), gemm::rows<float, space>(dh), packed,
                                            dw, false);
    }
    exec.fence("bench: the router is done");
  }

  std::string wrong(pass p) const {
    for (std::size_t i = 0; i < expert.size(); ++i) {
      if (decision.choice.data()[i] != expert[i]) return "choice of token " + std::to_string(i);
      const bool dropped = decision.slot.data()[i] < 0;
      if (dropped ? slot[i] >= 0 : decision.slot.data()[i] != slot[i]) return "slot of token " + std::to_string(i);
    }
    closeness probs, gates, d_logits, all_dx, all_dw;
    for (std::int64_t i = 0; i < 32; ++i) {
      const std::int64_t t = i * S / 32;
      std::vector<double> h(size(E)), dp(size(E));
      for (std::int64_t m = 0; m < M; ++m)
        for (std::int64_t e = 0; e < E; ++e) h[size(e)] += number_of_value(x(t, m)) * static_cast<double>(w(0, m, e));
      const double largest = *std::max_element(h.begin(), h.end());
      double sum = 0, mean = 0;
      for (auto& v : h) sum += v = std::exp(v - largest);
      for (std::int64_t e = 0; e < E; ++e) probs.add(static_cast<double>(decision.probs(t, e)), h[size(e)] /= sum);
      for (std::int64_t e = 0; e < E; ++e) { // E / S of the balance loss, and the fraction of first choices
        double fraction = 0;
        for (std::int64_t s = 0; s < S && p != pass::forward && E <= 128; ++s)
          fraction += expert[size(s * entry.choices)] == e ? 1 / static_cast<double>(S) : 0;
        dp[size(e)] = set.load_balance * static_cast<double>(E) / static_cast<double>(S) * fraction;
      }
      for (int j = 0; j < entry.choices; ++j) {
        const auto at = size(t * entry.choices + j);
        const double q = slot[at] < 0 ? 0 : h[size(expert[at])];
        gates.add(static_cast<double>(decision.gate(t, j)), q);
        if (slot[at] >= 0) dp[size(expert[at])] += static_cast<double>(dq(t, j));
      }
      for (std::int64_t e = 0; e < E; ++e) mean += h[size(e)] * dp[size(e)];
      std::vector<double> want(size(M));
      for (std::int64_t e = 0; e < E; ++e) {
        const double g = h[size(e)] * (dp[size(e)] - mean);
        d_logits.add(static_cast<double>(dh(t, e)), g);
        for (std::int64_t m = 0; m < M; ++m) want[size(m)] += static_cast<double>(w(0, m, e)) * g;
      }
      for (std::int64_t m = 0; m < M; ++m) all_dx.add(static_cast<double>(dx(t, m)), want[size(m)]);
    }
    for (std::int64_t i = 0; i < 16 && p != pass::forward; ++i) { // dh was checked
      const std::int64_t m = i * M / 16, e = i * E / 16;
      double sum = 0;
      for (std::int64_t t = 0; t < S; ++t) sum += number_of_value(x(t, m)) * static_cast<double>(dh(t, e));
      all_dw.add(static_cast<double>(dw(0, m, e)), sum);
    }
    auto why = probs.verdict("p", 1e-4);
    if (why.empty()) why = gates.verdict("gates", 1e-4);
    if (p == pass::forward || !why.empty()) return why;
    why = d_logits.verdict("dh", 1e-3);
    if (why.empty()) why = all_dx.verdict("dx", 1e-3);
    if (why.empty()) why = all_dw.verdict("dW_r", 1e-3);
    return why;
  }
};

template <class T>
void route(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<problem<T>>(e);
  p->run(pass::forward);
  if (e.pass != pass::forward) p->run(pass::backward);
  if (chosen().control) { // the check believes another W_r, or another dq
    if (e.pass == pass::forward)
      fill_random(p->w, 93, 0.01f);
    else
      fill_random(p->dq, 94, 1);
  }
  const auto why = p->wrong(e.pass);
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");
  double active = 0;
  for (std::size_t k = 0; k + 1 < p->offset.size(); ++k) active += p->offset[k + 1] > p->offset[k];
  const workload w = workload::of(e.shape, e.number, static_cast<double>(p->offset.back()), active);
  const bool back = e.pass == pass::backward;
  measure(state, {.entry = e,
                  .rows = w.R,
                  .active = active,
                  .useful = (back ? 4 : 2) * w.T * w.M * w.E,
                  .costs = back ? router_backward_cost(w) : router_forward_cost(w),
                  .call = [p, e] { p->run(e.pass); },
                  .stages =
                      [p, e] {
                        Kokkos::Profiling::ScopedRegion region("bench::router");
                        p->run(e.pass);
                      },
                  .dense_every = 4,
                  .in_float = true});
}

void entries() {
  const bool quick = chosen().quick;
  const auto all = [](entry e) {
    for (const pass p : {pass::forward, pass::backward}) {
      e.pass = p;
      e.number = number::bf16;
      add("router", e, route<switchyard::bfloat16>);
    }
  };
  if (quick) return all({.shape = switch_base_32});
  for (const auto& s : {switch_base_8, switch_base_32, switch_base_128}) all({.shape = s});
  add("router", {.shape = switch_base_32, .number = number::fp32}, route<float>);
  add("router", {.shape = switch_base_32, .pass = pass::backward, .number = number::fp32}, route<float>);
  add("router", {.shape = switch_base_32, .routing = routing::zipf}, route<switchyard::bfloat16>);
  add("router", {.shape = switch_base_32, .routing = routing::one}, route<switchyard::bfloat16>);
  for (const std::int64_t experts : {512, 2048})
    add("router", {.shape = sweep(experts, 8192)}, route<switchyard::bfloat16>);
  for (const std::int64_t tokens : {8192, 65536})
    add("router", {.shape = sweep(64, tokens)}, route<switchyard::bfloat16>);
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/figures.hpp"
#include "support/layer_check.hpp"

// The whole layer. What it is measured against is in support/figures.hpp, how it is checked in support/layer_check.hpp.

namespace {

using namespace bench;

/// The problem of the last entry: passes of one shape come one after another and share it.
template <class T>
struct shared {
  static inline std::unique_ptr<layer_loop<T>> loop;
  static inline std::unique_ptr<layer_problem<T>> problem;
  static void release() {
    loop.reset();
    problem.reset();
  }
};

template <class T>
layer_problem<T>& problem_of(entry e) {
  [[maybe_unused]] static const bool once = (Kokkos::push_finalize_hook(shared<T>::release), true);
  auto& current = shared<T>::problem;
  const std::int64_t batches = e.shape.tokens <= 64 ? 64 : 1;
  if (current) {
    entry same = current->entry;
    same.pass = e.pass;
    if (same == e && !chosen().control) return *current;
  }
  shared<switchyard::bfloat16>::release();
  shared<float>::release();
  current = std::make_unique<layer_problem<T>>(e, batches, chosen().control && e.pass == pass::forward);
  return *current;
}

template <class T>
void layer(benchmark::State& state, const entry& e) {
  auto& p = problem_of<T>(e);
  const layer_check<T> check(p);
  const auto why = chosen().control && e.pass != pass::forward ? check.run_spoiled() : check.run(e.pass);
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");

  const workload w = p.work();
  subject s{.entry = e, .rows = w.R, .active = w.active, .useful = w.useful(e.pass), .costs = layer_cost(w, e.pass)};
  s.call = [&p, e] { p.run(e.pass); };
  s.stages = s.call;
  s.cold = s.streams = p.batches > 1;
  auto& loop = shared<T>::loop;
  if (!chosen().alone && matmul_loop::available(e.number) && e.choices == 1 && p.batches == 1) {
    const bool backward = e.pass != pass::forward;
    if (!loop || (backward && !loop->gradients)) {
      loop.reset();
      loop = std::make_unique<layer_loop<T>>(p, backward);
      loop->forward();
      closeness same; // the loop computes what the layer does (a sign of h may differ), or its time means nothing
      p.forward();
      for (std::size_t t = 0; t < p.y.extent(1); ++t)
        for (std::size_t m = 0; m < p.y.extent(2) && p.slot[t] >= 0; ++m)
          same.add(number_of_value(loop->y(t, m)), number_of_value(p.y(0, t, m)));
      if (backward) {
        loop->backward();
        p.backward();
        for (std::size_t i = 0; i < p.gradients->wi.size(); i += 101) {
          same.add(number_of_value(loop->gradients->wi.data()[i]), number_of_value(p.gradients->wi.data()[i]));
          same.add(number_of_value(loop->gradients->wo.data()[i]), number_of_value(p.gradients->wo.data()[i]));
        }
      }
      if (const auto different = same.verdict("loop", std::max(2 * allowed_error<T>, 1e-3)); !different.empty())
        return fail(state, different);
    }
    s.loop = [e] { shared<T>::loop->run(e.pass); };
  }
  measure(state, s);
}

template <class T>
void add_all(const entry& e) {
  entry own = e;
  own.number = number_of<T>;
  add("layer", own, layer<T>);
}

void both(const entry& e) {
  add_all<switchyard::bfloat16>(e);
  add_all<float>(e);
}

void entries() {
  using enum pass;
  const bool quick = chosen().quick;
  const auto passes = [](entry e, auto... p) {
    for (const pass q : {p...}) {
      e.pass = q;
      add_all<switchyard::bfloat16>(e);
    }
    for (const pass q : {p...}) {
      e.pass = q;
      add_all<float>(e);
    }
  };
  if (chosen().control) passes({.shape = small}, forward, forward_backward);
  if (quick) {
    passes({.shape = switch_base_32}, forward, forward_backward);
    add_all<switchyard::bfloat16>({.shape = switch_base_32, .pass = backward});
    add_all<switchyard::bfloat16>({.shape = switch_base_8});
    add_all<switchyard::bfloat16>({.shape = switch_base_32, .routing = routing::zipf});
  } else {
    for (const auto& s : {switch_base_8, switch_base_32, switch_base_128})
      passes({.shape = s}, forward, backward, forward_backward);
    both({.shape = switch_base_32, .routing = routing::zipf});
    both({.shape = switch_base_32, .routing = routing::one});
    both({.shape = switch_base_32, .choices = 2});
    for (const std::int64_t tokens : {1, 8, 64}) add_all<switchyard::bfloat16>({.shape = decode(tokens)});
    add_all<float>({.shape = decode(64)});
  }
  const auto sweeps = [&](const shape& s, bool in_float) {
    add_all<switchyard::bfloat16>({.shape = s});
    if (quick) return;
    add_all<switchyard::bfloat16>({.shape = s, .pass = forward_backward});
    if (in_float) add_all<float>({.shape = s});
  };
  using list = std::vector<std::int64_t>;
  for (const auto experts : quick ? list{8, 128, 512} : list{2, 8, 32, 128, 512, 2048})
    sweeps(sweep(experts, 8192), true);
  for (const auto tokens : quick ? list{4096, 16384} : list{1024, 2048, 4096, 8192, 16384, 32768, 65536})
    sweeps(sweep(64, tokens), false);
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

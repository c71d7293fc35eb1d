// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/decided.hpp"
#include "support/figures.hpp"
#include <cstring>
#include <memory>
#include <switchyard/dispatch/exchange.hpp>

// Dispatch: the row lists, which is all of it on one rank (the first product gathers), and the blocks of rows that
// travel where experts are split over ranks, which is a copy of every token. Checked row by row, exactly.

namespace {

using namespace bench;
namespace dispatch = switchyard::dispatch;

std::string wrong_rows(const decided& p) {
  for (std::size_t e = 0; e < p.offset.size(); ++e)
    if (p.assignment.expert_offset(e) != p.offset[e]) return "offset of expert " + std::to_string(e);
  for (std::int64_t t = 0; t < p.entry.shape.tokens; ++t)
    for (int j = 0; j < p.entry.choices; ++j) {
      const std::int64_t r = p.row(t, j);
      if (r < 0) continue;
      if (p.assignment.row_token(r) != t || p.assignment.row_choice(r) != t * p.entry.choices + j)
        return "row " + std::to_string(r);
    }
  return {};
}

void list_rows(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<decided>(e);
  Kokkos::deep_copy(p->assignment.row_token, -1);
  const auto call = [p] {
    dispatch::list_rows(p->exec, p->size_of, p->set, p->decision, p->assignment);
    p->exec.fence("bench: the rows are listed");
  };
  call();
  if (chosen().control) p->assignment.row_token(p->rows() / 2) += 1;
  const auto why = wrong_rows(*p);
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");
  const workload w = p->work();
  const double choices = static_cast<double>(e.choices);
  measure(state,
          {.entry = e,
           .rows = w.R,
           .active = w.active,
           .costs = {{"gather", 0, 8 * w.T * choices + 24 * w.R + 20 * w.E}}, // choice, slot; three numbers a row
           .call = call,
           .dense_every = 4});
}

template <class T>
void fill_blocks(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<decided>(e);
  const std::int64_t m = e.shape.d_model, capacity = p->set.capacity;
  const matrix<T> x = random_matrix<T>("bench::x", e.shape.tokens, m, 51);
  const matrix<T> blocks = random_matrix<T>("bench::blocks", e.shape.experts * capacity, m, 52);
  const auto call = [p, x, blocks] {
    dispatch::fill_blocks<exec_space, T, float, space>(p->exec, p->size_of, p->set, p->decision, p->map(true), x,
                                                       blocks);
    p->exec.fence("bench: the blocks are filled");
  };
  call();
  if (chosen().control) fill_random(Kokkos::subview(x, e.shape.tokens / 2, Kokkos::ALL), 53, 1);
  for (std::int64_t t = 0; t < e.shape.tokens; ++t)
    for (int j = 0; j < e.choices; ++j) {
      const auto at = size(t * e.choices + j);
      if (p->slot[at] < 0) continue;
      const std::int64_t row = p->expert[at] * capacity + p->slot[at];
      if (std::memcmp(&blocks(row, 0), &x(t, 0), size(m) * sizeof(T)) != 0)
        return fail(state, "block row " + std::to_string(row) + " is not token " + std::to_string(t));
    }
  if (chosen().control) return state.SkipWithMessage("not noticed");
  const workload w = p->work();
  measure(state, {.entry = e,
                  .rows = w.R,
                  .active = w.active,
                  .costs = {{"gather", 0, w.b * 2 * w.R * w.M}},
                  .call = call,
                  .dense_every = 4,
                  .moved = static_cast<std::size_t>(w.b * w.R * w.M)});
}

void entries() {
  const bool quick = chosen().quick;
  const auto blocks = [](const entry& e) {
    entry own = e;
    add("dispatch_blocks", own, fill_blocks<switchyard::bfloat16>);
    own.number = number::fp32;
    add("dispatch_blocks", own, fill_blocks<float>);
  };
  add("dispatch_rows", {.shape = switch_base_32}, list_rows);
  blocks({.shape = switch_base_32});
  if (quick) return;
  add("dispatch_rows", {.shape = switch_base_8}, list_rows);
  add("dispatch_rows", {.shape = switch_base_128}, list_rows);
  add("dispatch_rows", {.shape = sweep(2048, 65536)}, list_rows);
  add("dispatch_rows", {.shape = switch_base_32, .routing = routing::zipf}, list_rows);
  add("dispatch_rows", {.shape = switch_base_32, .routing = routing::one}, list_rows);
  add("dispatch_rows", {.shape = sweep(64, 65536)}, list_rows);
  blocks({.shape = switch_base_8});
  blocks({.shape = switch_base_128});
  blocks({.shape = sweep(64, 65536)});
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../support/allocations.hpp"
#include "files.hpp"
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <switchyard/train/trainer.hpp>

/// \file
/// A trainer of a small model on a small text, for tests in several precisions.

namespace switchyard_test {

namespace sy = switchyard;
namespace train = switchyard::train;
using Exec = Kokkos::DefaultExecutionSpace;
using maker_type = train::example_maker<train::byte_tokenizer>;

inline sy::transformer_config small_model() {
  sy::transformer_config c;
  c.d_model = 32;
  c.d_ff = 64;
  c.heads = 2;
  c.d_kv = 16;
  c.encoder_layers = c.decoder_layers = 2;
  c.routing.experts = 4;
  c.routing.eval_capacity_factor = 2;
  return c;
}

/// Two files in two languages, of words that repeat.
inline maker_type small_text(const folder& f, const train::objective_config& goal = {.length = 40}) {
  const char* words[2][8] = {{"the ", "switch ", "routes ", "every ", "token ", "to ", "one ", "expert. "},
                             {"die ", "weiche ", "leitet ", "jedes ", "zeichen ", "zu ", "einem ", "experten. "}};
  for (int file = 0; file < 2; ++file) {
    std::string all;
    for (std::uint64_t i = 0; i < 700; ++i) all += words[file][train::permutation::mix(i) % 8];
    f.write(file == 0 ? "en" : "de", all);
  }
  return {train::find_text({f.path("en"), f.path("de")}), {}, goal, sy::seed{3}, 10};
}

inline train::trainer_config small_training(const maker_type& maker) {
  train::trainer_config c;
  c.batch = 8;
  c.source_length = maker.goal().source_length();
  c.target_length = maker.goal().target_length();
  c.schedule = {.kind = train::schedule_kind::constant, .rate = 0.02};
  c.seed = 5;
  return c;
}

/// Everything that a run keeps, as bytes, by name.
template <class Trainer>
std::map<std::string, std::string> bytes_of(const Trainer& t) {
  std::map<std::string, std::string> all;
  t.for_each_state([&](const std::string& name, const sy::parameter_slice& slice, const auto& view) {
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
    std::string& bytes = all[name];
    CHECK(bytes.empty()); // names are unique
    bytes.assign(reinterpret_cast<const char*>(host.data()), host.size() * sizeof(*host.data()));
    CHECK(slice.shape.size() == view.rank());
    for (std::size_t i = 0; i < slice.shape.size(); ++i)
      CHECK((slice.shape[i] == static_cast<std::int64_t>(view.extent(i)) && slice.offset[i] == 0 &&
             slice.extent[i] == slice.shape[i]));
    CHECK(slice.owned);
  });
  return all;
}
template <class Trainer>
void put_bytes(const Trainer& t, const std::map<std::string, std::string>& all) {
  t.for_each_state([&](const std::string& name, const auto&, const auto& view) {
    const auto host = Kokkos::create_mirror_view(view);
    const std::string& bytes = all.at(name);
    REQUIRE(bytes.size() == host.size() * sizeof(*host.data()));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(host.data()));
    Kokkos::deep_copy(view, host);
  });
}

/// The loss falls, the same bytes twice, a resumed run is the one that was never stopped, nothing is allocated late.
template <class P>
void check_run(const folder& f, const train::optimizer_config& optimizer) {
  using model_type = sy::transformer<Exec, P>;
  const auto maker = small_text(f);
  auto c = small_training(maker);
  c.optimizer = optimizer;
  c.micro_batches = 2;
  auto m = small_model();
  m.dropout = 0.1;
  m.routing.jitter = 0.01;
  const model_type model(m);
  const auto start = [&] { return train::trainer<model_type>(Exec(), model, c); };

  auto whole = start();
  train::batches all(maker, whole.examples_here());
  std::vector<double> losses;
  std::map<std::string, std::string> middle;
  train::trainer_state at_middle;
  std::int64_t late = 0;
  for (int step = 0; step < 30; ++step) {
    const allocation_watch watch(false);
    const auto r = whole.step(all);
    if (step > 0) late += watch.count();
    CHECK(r.step == step + 1);
    CHECK(std::isfinite(r.loss));
    CHECK(!r.skipped);
    losses.push_back(r.loss);
    if (step == 19) {
      middle = bytes_of(whole);
      at_middle = whole.state();
    }
  }
  CHECK(late == 0);
  CHECK(losses.back() < 0.75 * losses.front());
  CHECK(whole.state().position == 30 * 8);
  CHECK(whole.state().updates == 30);
  CHECK(whole.state().tokens > 30 * 8 * 4);

  auto resumed = start();
  put_bytes(resumed, middle);
  resumed.resume(at_middle);
  train::batches rest(maker, resumed.examples_here(), resumed.state().position);
  for (std::size_t step = 20; step < 30; ++step) CHECK(resumed.step(rest).loss == losses[step]);
  CHECK(bytes_of(resumed) == bytes_of(whole));
  CHECK(bytes_of(resumed) != middle);
}

} // namespace switchyard_test

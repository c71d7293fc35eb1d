// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/figures.hpp"
#include "support/stage_times.hpp"
#include <Kokkos_Core.hpp>
#include <algorithm>
#include <map>
#include <optional>

namespace bench {
namespace {

/// The dense FFN of the last entry: the next one is often of the same size.
struct dense_of {
  number n;
  std::int64_t d_model, d_ff, tokens;
  dense_ffn ffn;
};
std::optional<dense_of> dense;

const dense_ffn& dense_like(const entry& e) {
  const auto& s = e.shape;
  if (!dense || dense->n != e.number || dense->d_model != s.d_model || dense->d_ff != s.d_ff ||
      dense->tokens != s.tokens) {
    dense.reset();
    dense.emplace(dense_of{e.number, s.d_model, s.d_ff, s.tokens, dense_ffn(e.number, s.d_model, s.d_ff, s.tokens)});
  }
  return dense->ffn;
}

void release() {
  dense.reset();
  release_baselines();
}

} // namespace

void measure(benchmark::State& state, const subject& s) {
  [[maybe_unused]] static const bool once = (Kokkos::push_finalize_hook(release), true);
  const auto& shape = s.entry.shape;
  const double T = static_cast<double>(shape.tokens);
  std::map<std::string, std::size_t> place;
  std::vector<contender> all;
  const auto enter = [&](const std::string& name, std::function<void()> call, int every = 1, int repeats = 0) {
    place[name] = all.size();
    all.push_back({std::move(call), every, repeats});
  };
  enter("ours", s.call, 1, s.cold ? 1 : 0);
  const bool alone = chosen().alone;
  const double dense_flop = s.dense ? s.dense_flop : dense_ffn::flop(s.entry.pass, shape);
  if (!alone) {
    enter("dense", s.dense ? s.dense : dense_like(s.entry).call(s.entry.pass), s.dense_every);
    if (s.loop) enter("loop", s.loop);
    if (s.moved > 0) enter("mover", make_copy(s.moved));
    // The anchors are large, and noise in them would hide in every figure: some rounds are enough.
    enter("peak", largest_product::make(s.entry.number), 3, 1);
    if (s.entry.number != number::fp32) enter("peak_float", largest_product::make(number::fp32), 6, 1);
    enter("copy", make_copy(beyond_caches / 2), 3, 1);
    enter("read", make_read(beyond_caches), s.streams ? 1 : 3, 1);
  }

  for (auto _ : state) {
    const auto times = interleave(all);
    const auto of = [&](const std::string& name) -> const series& { return times[place.at(name)]; };
    const double seconds = of("ours").median();
    state.SetIterationTime(seconds);

    auto& c = state.counters;
    const auto spread = [&](const std::string& name, const quartiles& q, double scale) {
      c[name] = scale * q.median;
      c[name + "_q1"] = scale * q.lower;
      c[name + "_q3"] = scale * q.upper;
    };
    c["tokens"] = T;
    c["experts"] = static_cast<double>(shape.experts);
    c["d_model"] = static_cast<double>(shape.d_model);
    c["d_ff"] = static_cast<double>(shape.d_ff);
    c["threads"] = static_cast<double>(Kokkos::DefaultHostExecutionSpace().concurrency());
    c["rows"] = s.rows;
    c["experts_in_use"] = s.active;
    c["rounds"] = static_cast<double>(of("ours").seconds.size());
    spread("time_ms", quartiles_of(of("ours").seconds), 1e3);
    c["tokens/s"] = T / seconds;
    c["useful_GFLOP/s"] = 1e-9 * s.useful / seconds;
    c["GB/s"] = 1e-9 * bytes_of(s.costs) / seconds;
    if (alone) continue;
    spread("vs_dense", ratio(of("dense"), of("ours")), s.useful / dense_flop);
    spread("time_of_dense", ratio(of("ours"), of("dense")), 1);
    if (s.loop) spread("vs_loop", ratio(of("loop"), of("ours")), 1);

    const double peak = largest_product::flop / of("peak").median();
    const double peak_float = s.entry.number == number::fp32 ? peak : largest_product::flop / of("peak_float").median();
    const double copy = static_cast<double>(beyond_caches) / of("copy").median();
    const double read = static_cast<double>(beyond_caches) / of("read").median();
    const double dense_rate = dense_flop / of("dense").median();
    c["peak_GFLOP/s"] = 1e-9 * peak;
    c["peak_float_GFLOP/s"] = 1e-9 * peak_float;
    c["copy_GB/s"] = 1e-9 * copy;
    c["read_GB/s"] = 1e-9 * read;
    c["of_peak"] = s.useful / seconds / (s.in_float ? peak_float : peak);
    c["dense_of_peak"] = dense_rate / peak;
    if (s.moved > 0) spread("of_copy", ratio(of("mover"), of("ours")), 1);
    if (s.streams)
      spread("of_read", ratio(of("read"), of("ours")), bytes_of(s.costs) / static_cast<double>(beyond_caches));

    const peaks now{peak, peak_float, std::max(copy, read)};
    c["t_min_ms"] = 1e3 * least_time(s.costs, now);
    c["of_roofline"] = least_time(s.costs, now) / seconds;
    if (s.stages) {
      std::map<std::string, double> least;
      for (const auto& k : s.costs) least[k.stage] += least_time(k, now);
      double all_stages = 0, around = 0;
      for (const auto& [stage, time] : stage_times(s.stages, chosen().quick ? 3 : 9)) {
        c["stage_" + stage + "_ms"] = 1e3 * time;
        c["t_min_" + stage + "_ms"] = least.contains(stage) ? 1e3 * least[stage] : 0;
        all_stages += time;
        if (!least.contains(stage) || stage == "logits" || stage.starts_with("router")) around += time;
      }
      // All that a dense FFN would not do: router, slots, losses, gather, combine, what is between the kernels.
      c["around_experts"] = around / all_stages;
    }
  }
}

void add(const std::string& room, const entry& e,
         const std::function<void(benchmark::State&, const entry&)>& function) {
  benchmark::RegisterBenchmark(name_of(room, e), [e, function](benchmark::State& state) { function(state, e); })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/measure.hpp"
#include <Kokkos_Core.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

namespace bench {
namespace {

options flags;
int entries = 0, failures = 0;

/// Of the ranks that do not report.
struct silent_reporter final : benchmark::BenchmarkReporter {
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

double median_of(std::vector<double> v) {
  return quartiles_of(std::move(v)).median;
}

} // namespace

const options& chosen() {
  return flags;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

quartiles quartiles_of(std::vector<double> values) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) { // linear between neighbours
    const double place = part * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return {at(0.25), at(0.5), at(0.75)};
}

double series::median() const {
  return median_of(seconds);
}

quartiles ratio(const series& of, const series& against) {
  std::vector<double> all;
  for (std::size_t i = 0; i < of.seconds.size() && i < against.seconds.size(); ++i)
    all.push_back(of.seconds[i] / against.seconds[i]); // NaN where one is missing
  return quartiles_of(all);
}

std::vector<series> interleave(const std::vector<contender>& contenders, const meeting& together) {
  const double sample = 2e-3, budget = flags.quick ? 0.2 : 1.0;
  const int least = flags.quick ? std::min(together.least, 3) : together.least, most = flags.quick ? 9 : 41;
  const auto timed = [&](const contender& c, int calls) {
    together.gather();
    const double start = seconds_now();
    for (int n = 0; n < calls; ++n) c.call();
    return together.slowest((seconds_now() - start) / calls);
  };
  std::vector<int> repeats;
  for (const auto& c : contenders) {
    double once = 0;
    for (int n = 0; n < 2 && once < 0.05; ++n) // the first touches memory and generates code
      once = std::max(timed(c, 1), 1e-9);
    repeats.push_back(c.repeats > 0 ? c.repeats : std::clamp(static_cast<int>(std::ceil(sample / once)), 1, 100000));
  }
  std::vector<series> all(contenders.size());
  const double begin = seconds_now();
  for (int round = 0; round < most && (round < least || together.slowest(seconds_now() - begin) < budget); ++round)
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const bool takes_part = round % contenders[i].every == 0;
      all[i].seconds.push_back(takes_part ? timed(contenders[i], repeats[i])
                                          : std::numeric_limits<double>::quiet_NaN());
    }
  return all;
}

void fail(benchmark::State& state, const std::string& why) {
  ++failures;
  state.SkipWithError(why);
}

int run(int count, char** arguments, void (*add)(), bool reports) {
  int kept = 1;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--quick") == 0)
      flags.quick = true;
    else if (std::strcmp(arguments[i], "--alone") == 0)
      flags.alone = true;
    else if (std::strcmp(arguments[i], "--control") == 0)
      flags.control = true;
    else if (reports || std::strncmp(arguments[i], "--benchmark_out", 15) != 0)
      arguments[kept++] = arguments[i];
  }
  count = kept;
  Kokkos::ScopeGuard kokkos(count, arguments);
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  benchmark::AddCustomContext("threads", std::to_string(Kokkos::DefaultHostExecutionSpace().concurrency()));
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("flags", SWITCHYARD_BENCH_FLAGS);
  add();
  silent_reporter silent;
  entries =
      static_cast<int>(reports ? benchmark::RunSpecifiedBenchmarks() : benchmark::RunSpecifiedBenchmarks(&silent));
  benchmark::Shutdown();
  if (flags.control) {
    if (reports) std::fprintf(stderr, "control: %d of %d entries noticed\n", failures, entries);
    return entries > 0 && failures == entries ? 0 : 1;
  }
  if (failures > 0 && reports) std::fprintf(stderr, "%d of %d entries are wrong\n", failures, entries);
  return failures > 0 ? 1 : 0;
}

} // namespace bench

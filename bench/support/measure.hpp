// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <benchmark/benchmark.h>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

/// \file
/// How every figure is taken. Machines are shared and clocks wander, so nothing is compared with a number from another
/// minute: contenders run by turns, A B C A B C ..., and a ratio is the median of the ratios of neighbours.

namespace bench {

/// What the command line said beside Google Benchmark's own flags.
struct options {
  bool quick = false;   ///< fewer entries, fewer rounds
  bool alone = false;   ///< time the entries and nothing that they are measured against
  bool control = false; ///< spoil every result on purpose; every entry must then fail
};
const options& chosen();

/// Every main: reads the flags, starts Kokkos, registers, runs. 1 if an entry was wrong (with --control: if one was
/// not). Of several ranks one reports; the others write nothing.
int run(int count, char** arguments, void (*add)(), bool reports = true);

/// The entry is wrong: says so, and makes the process exit with 1.
void fail(benchmark::State& state, const std::string& why);

/// The numbers of one contender, one per round; NaN where it did not take part.
struct series {
  std::vector<double> seconds; // of one call
  double median() const;
};

struct quartiles {
  double lower = 0, median = 0, upper = 0;
};
quartiles quartiles_of(std::vector<double> values);

/// of / against, round by round, of the rounds that both took part in.
quartiles ratio(const series& of, const series& against);

struct contender {
  std::function<void()> call; ///< returns when the work is done
  int every = 1;              ///< takes part in every n-th round: for what is slow and steady
  int repeats = 0;            ///< calls per sample; 0: as many as a sample of 2 ms needs
};

/// Who takes a sample together: one process alone, or ranks that must all make the same calls (support/ranks.hpp).
struct meeting {
  std::function<void()> gather = [] {}; ///< before each sample: returns when all are there
  std::function<double(double)> slowest = [](double s) { return s; }; ///< the largest of what they give, to all of them
  int least = 3;                                                      ///< rounds at least
};

/// One or two calls of each to warm up, then rounds of all of them, in order: at least as many as the meeting wants,
/// until the time budget of an entry is spent. Every sample is as long as that of the slowest.
std::vector<series> interleave(const std::vector<contender>& contenders, const meeting& together = {});

double seconds_now();

} // namespace bench

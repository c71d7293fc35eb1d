// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/baselines.hpp"
#include "support/measure.hpp"
#include "support/roofline.hpp"
#include <functional>
#include <string>
#include <utility>
#include <vector>

/// \file
/// One entry: what runs, what it is measured against, and the counters that come of it.

namespace bench {

struct subject {
  bench::entry entry;
  double rows = 0, active = 0;         ///< slots in use, experts in use
  double useful = 0;                   ///< FLOP for kept tokens
  std::vector<kernel_cost> costs = {}; ///< of the roofline
  std::function<void()> call = {};     ///< what is timed
  std::function<void()> loop = {};     ///< the same as a loop of library calls; may be empty
  std::function<void()> stages = {};   ///< timed once more, stage by stage; may be empty
  std::function<void()> dense = {};    ///< empty: the dense FFN of the entry's sizes
  double dense_flop = 0;               ///< of `dense`
  int dense_every = 1;                 ///< where the subject is much shorter than the dense FFN: not in every round
  std::size_t moved = 0;               ///< bytes that a mover reads: then of_copy is against a copy of as many
  bool in_float = false;               ///< its products are the router's, in float whatever the entry's numbers are
  bool streams = false;                ///< bound by reading: then of_read
  bool cold = false;                   ///< one call per sample: the next one has other data
};

/// Times it and writes every counter. Ends the loop over the state.
void measure(benchmark::State& state, const subject& s);

/// Registers an entry as one iteration: the rounds are inside, the time is their median.
void add(const std::string& room, const entry& e, const std::function<void(benchmark::State&, const entry&)>& function);

} // namespace bench

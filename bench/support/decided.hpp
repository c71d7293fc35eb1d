// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/roofline.hpp"
#include "support/routed.hpp"
#include <switchyard/dispatch/assignment.hpp>

/// \file
/// What the rooms behind the router are given: a decision, filled in by hand, one routing group.

namespace bench {

struct decided {
  using decision_type = switchyard::router::decision<float, space>;

  bench::entry entry;
  exec_space exec;
  switchyard::router::problem size_of;
  switchyard::router::settings set;
  decision_type decision;
  switchyard::dispatch::assignment<space> assignment;
  std::vector<std::int32_t> expert, slot; ///< [T, K]; slot -1: dropped
  std::vector<std::int64_t> offset;       ///< [E + 1] first row of each expert

  explicit decided(const bench::entry& e)
      : entry(e), size_of{1, e.shape.tokens, e.shape.experts, 0, 1}, decision(size_of, e.choices),
        expert(intention(e, e.shape.tokens).expert) {
    const auto config = config_of(e);
    set.routing = config.routing;
    set.choices = e.choices;
    set.capacity = config.capacity(e.shape.tokens);
    slots_of(e, set.capacity, expert, slot, offset);
    for (std::int64_t t = 0; t < e.shape.tokens; ++t)
      for (int j = 0; j < e.choices; ++j) {
        const auto at = size(t * e.choices + j);
        decision.choice(t, j) = expert[at];
        decision.slot(t, j) = slot[at] < 0 ? switchyard::router::slot_dropped : slot[at];
        const float gate = 0.6f + random_number(41, at, 0.2f);
        decision.gate(t, j) = slot[at] < 0 ? 0.0f : gate;
      }
    for (std::int64_t k = 0; k < e.shape.experts; ++k)
      decision.filled(0, k) = static_cast<std::int32_t>(offset[size(k + 1)] - offset[size(k)]);
    assignment = switchyard::dispatch::assignment<space>(size_of, std::max<std::int64_t>(rows(), 1));
    switchyard::dispatch::list_rows(exec, size_of, set, decision, assignment);
    exec.fence("bench: the rows are listed");
  }

  std::int64_t rows() const { return offset.back(); }
  double active() const {
    double n = 0;
    for (std::size_t k = 0; k + 1 < offset.size(); ++k) n += offset[k + 1] > offset[k];
    return n;
  }
  /// Row of choice j of token t in the compact list, -1 if it was dropped.
  std::int64_t row(std::int64_t t, int j) const {
    const auto at = size(t * entry.choices + j);
    return slot[at] < 0 ? -1 : offset[size(expert[at])] + slot[at];
  }
  switchyard::dispatch::slot_map<space> map(bool padded = false) const {
    return {assignment.group_offset, 1, set.capacity, padded};
  }
  workload work() const { return workload::of(entry.shape, entry.number, static_cast<double>(rows()), active()); }
};

} // namespace bench

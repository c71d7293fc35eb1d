// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "cost.hpp"
#include <memory>
#include <ostream>

namespace plan {

/// This machine, where something is measured on it: MPI (if the program has it) and Kokkos, from start() on.
class session {
 public:
  session();
  ~session(); // ends both, if they were started
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void start();
  std::int64_t ranks() const;
  bool speaks() const; ///< rank 0

  /// Products in bfloat16, a copy of much memory, and all-to-alls of a small and a large message over all ranks; every
  /// rank at the same time. Medians. Collective.
  machine calibrate() const;

  /// A Switch layer in bfloat16, experts over all ranks: its predicted and its measured time, forward and backward.
  /// Collective.
  void check(const machine& m, std::ostream& out) const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// A machine as options of this program.
std::string options_text(const machine& m, bool links);

} // namespace plan

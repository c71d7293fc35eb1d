// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <string>
#include <switchyard/layer/reference_layer.hpp>
#include <vector>

/// \file
/// One door to the layer for all tests: numbers in double go in, numbers in double come out. The template is
/// instantiated once per (space, precision) in files of their own, so a test file costs no Kokkos compile time.

namespace switchyard_test {

struct job {
  switchyard::switch_config config{};
  switchyard::reference_weights weights{};
  std::int64_t groups = 1, tokens = 1;
  std::vector<double> x{}, dy{}; // [G, S, M]
  std::vector<double> mask{};    // [G, S] or empty
  bool training = false;
  std::uint32_t step = 0;
  std::uint16_t layer = 0;
  double loss_scale = 1;
  int replays = 1;         // of forward and backward, on one tape
  int backwards = 1;       // per forward
  bool accumulate = false; // replays add their gradients
  bool poison = true;      // uninitialized memory starts as NaN
  bool backward = true;
};

struct outcome {
  // the operands as the layer saw them, after rounding to its types
  switchyard::reference_weights weights;
  std::vector<double> x, dy;

  std::vector<double> y, logits, probs, gate; // [G, S, M], [G, S, E], [G, S, E], [G, S, K]
  std::vector<std::int64_t> expert_load;      // [E]
  std::vector<std::int64_t> choice, slot;     // [G, S, K]; slot -1: dropped, -2: none asked for
  switchyard::reference_weights gradient;
  std::vector<double> dx;
  double load_balance = 0, router_z = 0, importance = 0, load = 0;
  double tokens = 0, dropped_fraction = 0, entropy = 0, confidence = 0, nonfinite_tokens = 0, nonfinite_outputs = 0;

  std::vector<std::uint64_t> digests; // of every byte of the results, one per replay
  std::int64_t late_allocations = 0;  // of Kokkos memory after the first forward and backward
  std::int64_t peak_bytes = 0;        // that make_tape allocated
  bool guards_intact = true;          // nothing was written beside y and dx
};

/// One instantiation of the layer under test.
struct subject {
  std::string space, precision, engine;
  double unit_roundoff;   // of the value type
  double router_roundoff; // of the router's storage type
  outcome (*run)(const job&);
};

/// All instantiations: every space this Kokkos has, times every precision.
const std::vector<subject>& subjects();

/// Those of one precision, for example "uniform<double>".
std::vector<subject> subjects_of(const std::string& precision);

/// Random operands for a configuration: weights of size ~ 1 / sqrt(fan_in), x and dy ~ N(0, 1).
job random_job(const switchyard::switch_config& config, std::int64_t groups, std::int64_t tokens, std::uint64_t seed);

/// The reference's input for the operands that the layer really saw, with the layer's own random draws.
switchyard::reference_input reference_input_of(const job& j, const outcome& o);

/// |a - b| in the norm of the BLAS testers: max over elements of |a - b| / (eps (|b| + scale)).
double error_ratio(const std::vector<double>& a, const std::vector<double>& b, double eps, double scale);

} // namespace switchyard_test

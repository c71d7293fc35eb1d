// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <map>
#include <string>
#include <switchyard/model/presets.hpp>
#include <vector>

/// \file
/// One door to the model for its tests: numbers in double go in, numbers in double come out. The template is
/// instantiated once per precision, in files of their own.

namespace switchyard_test {

using named_numbers = std::map<std::string, std::vector<double>>;

struct model_job {
  switchyard::transformer_config config{};
  std::uint64_t seed = 1;  // of the weights
  named_numbers weights{}; // those that are not as the seed says
  std::int64_t batch = 2, source_length = 5, target_length = 4;
  std::vector<std::int32_t> source{}, target{}; // [batch, length]
  bool training = true, backward = true;
  std::uint32_t step = 3;
  double scale = 1, auxiliary = 1;
  int replays = 1, accumulated = 0; // backwards on top of the first one
};

struct model_outcome {
  named_numbers weights, gradients;
  double loss = 0, cross_entropy = 0, z = 0, auxiliary = 0, targets = 0, accuracy = 0, dropped_fraction = 0;
  std::vector<double> result;         // [batch, target_length, M] of the decoder
  std::vector<double> routing;        // slots of all Switch layers
  std::vector<std::uint64_t> digests; // of results and gradients, one per replay
  std::int64_t late_allocations = 0;  // in forward and backward
};

struct model_subject {
  const char* precision;
  double unit_roundoff;
  model_outcome (*run)(const model_job&);
};
const std::vector<model_subject>& model_subjects();

/// An encoder-decoder of 2 + 2 layers, each stack with a Switch layer that drops tokens, and text with padding in it.
model_job small_job();

} // namespace switchyard_test

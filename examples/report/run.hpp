// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// \file
/// What a training run left in its folder, and what two of them say about each other.
///
///   run.json          what was trained and where: name, parameters, experts, ranks, ...
///   metrics.jsonl     one object per step
///   evaluation.jsonl  one object per evaluation on held-out text
///   experts.jsonl     load of every expert, now and then; only where there are experts
///   samples.json      what the trained model wrote; optional
///   layout.svg        which rank holds what; optional

namespace report {

struct step_line {
  std::int64_t step = 0, tokens = 0;
  double loss = 0, cross_entropy = 0, dropped_fraction = 0, learning_rate = 0;
  double seconds = 0;                                        ///< of this step
  double elapsed = 0;                                        ///< of all steps up to this one
  double read = 0, forward = 0, backward = 0, optimizer = 0; ///< seconds of this step's stages
};

struct held_out {
  double negative_log_perplexity = 0, bits_per_byte = 0;
};
struct evaluation_line {
  std::int64_t step = 0;
  double elapsed = 0; ///< seconds of training until then, evaluations not counted
  held_out all;
  std::map<std::string, held_out> languages;
};

/// Tokens that each expert took in one step, layer by layer.
struct load_line {
  std::int64_t step = 0;
  std::vector<std::vector<double>> layers;
};

struct sample {
  std::string prompt, text;
};

struct run {
  std::string folder, name;
  std::map<std::string, std::string> facts; ///< of run.json, as text, in no order that matters
  std::vector<step_line> steps;
  std::vector<evaluation_line> evaluations;
  std::vector<load_line> loads;
  std::vector<sample> samples;
  std::string layout_svg;

  double tokens_per_second() const; ///< median over the steps
};

/// Throws std::runtime_error, naming file and line, for a folder that is not that of a finished run.
run read_run(const std::string& folder);

/// When `fast` reaches the last held-out loss of `slow`: between two evaluations on a straight line.
struct crossing {
  double step = 0, seconds = 0;
};
std::optional<crossing> reaches(const run& fast, const run& slow);

/// Median seconds of a step's stages: read, forward, backward, optimizer, and what is left of it.
std::vector<std::pair<std::string, double>> stages(const run& r);

/// Mean over a window of steps behind each one: curves of single batches are mostly noise.
std::vector<double> smoothed(const std::vector<step_line>& steps, std::size_t window);

} // namespace report

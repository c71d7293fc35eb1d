// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "settings.hpp"
#include <cstdio>
#include <fstream>

namespace train_example {

/// What a report says about a run beside its settings.
struct run_facts {
  std::int64_t parameters = 0, experts = 0;
  int ranks = 1, threads = 1; ///< threads of each rank
  double megabytes = 0;       ///< of text
  std::int64_t sequence_tokens = 0;
  double learning_rate = 0; ///< the largest
  std::string picture;      ///< which rank holds what, SVG; or empty
};

/// What a run writes: files in its folder, and lines or a bar for whoever watches. Of several ranks only rank 0 does.
class log {
 public:
  /// Makes the folder. After a resume, lines behind `step` are cut off. Throws switchyard::file_error where the folder
  /// or its files cannot be written.
  log(const settings& s, std::int64_t step, bool writes);

  /// One line of metrics.jsonl and of metrics.csv, and what is shown. tokens: that went through the model.
  void step(const switchyard::train::step_report& r, std::int64_t tokens, double seconds);
  /// One line of evaluation.jsonl, and one that is shown.
  void evaluation(std::int64_t step, const switchyard::train::evaluation& e);
  /// One line of experts.jsonl.
  void loads(std::int64_t step, const std::vector<std::vector<std::int64_t>>& of_layers);
  /// config.json, with which this run can be repeated, run.json, what a report says about it, and its layout.svg.
  void about(const run_facts& facts);
  /// A line for whoever watches.
  void say(const std::string& line);

 private:
  void show(const switchyard::train::step_report& r, std::int64_t tokens, double seconds);

  const settings& settings_;
  bool writes_, bar_ = false, lines_ = false;
  bool bar_shown_ = false;
  std::ofstream metrics_, csv_, evaluations_, loads_;
  double seconds_ = 0, tokens_ = 0; // since the last line
  std::int64_t shown_ = 0;          // its step
  double per_step_ = 0;             // seconds, smoothed
};

} // namespace train_example

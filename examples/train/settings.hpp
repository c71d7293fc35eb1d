// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <string>
#include <switchyard/model/config.hpp>
#include <switchyard/train/trainer.hpp>
#include <vector>

namespace train_example {

enum class number_type { bf16, f32, f64 };
enum class progress_kind { automatic, bar, lines, none };

/// A run, as the command line and the configuration file say it. -1: what the preset or the optimizer has.
struct settings {
  // model
  std::string preset = "tiny";
  number_type precision = number_type::bf16;
  std::int64_t layers = -1, d_model = -1, d_ff = -1, heads = -1;
  std::int64_t experts = -1, sparse_every = -1;
  double capacity_factor = -1, eval_capacity_factor = -1, load_balance = -1, jitter = -1;
  double dropout = -1, expert_dropout = -1;
  std::int64_t sequences_per_group = -1;
  switchyard::auxiliary_reduction over_layers = switchyard::auxiliary_reduction::sum;

  // folders of other runs; at most one of them
  std::string distill, upcycle, finetune;
  double teacher_share = 0.25;

  // text
  std::vector<std::string> text;
  std::string tokenizer; ///< SentencePiece model; empty: bytes
  std::int64_t length = 128;
  double noise_density = 0.15, mean_span = 3;
  std::int64_t held_out_every = 20;

  // training
  std::int64_t steps = 200, batch = 16, micro_batches = 1;
  std::uint64_t seed = 1;
  switchyard::train::optimizer_kind optimizer = switchyard::train::optimizer_kind::adafactor;
  switchyard::train::schedule_kind schedule = switchyard::train::schedule_kind::inverse_square_root;
  double learning_rate = -1, weight_decay = 0, clip = 1, auxiliary = 1;
  std::int64_t warm_up = 20;

  // ranks
  std::string layout = "expert_data"; ///< or data
  std::string mesh;                   ///< replica=R,data=D,model=M; empty: as the layout says

  // output
  std::string out = "run";
  std::string name; ///< of the run, in reports
  std::int64_t loads_every = 10;
  std::int64_t evaluate_every = 100, evaluate_examples = 64, checkpoint_every = 0, keep = 2;
  bool resume = false;
  progress_kind progress = progress_kind::automatic;

  std::string given; ///< what was asked for, as a file that --config reads
};

/// Reads the command line, and the file that it names; of a setting in both the command line's counts. Returns false
/// where there is nothing to do but --help. Throws std::runtime_error with a message for the user.
bool parse(int count, char** arguments, settings& s, bool prints);

/// What a run was asked for: its folder has it as a configuration file. Throws std::runtime_error where there is none.
settings settings_of_run(const std::string& folder);

/// Extents of the mesh of `ranks` ranks: replicas of all experts, ranks that share the experts of one replica, and
/// ranks that share heads, d_ff and vocabulary. The batch is split over the first two. Throws
/// switchyard::invalid_argument.
std::array<std::int64_t, 3> mesh_of(const settings& s, std::int64_t ranks);

/// What the settings mean for the library. Throws switchyard::invalid_argument.
switchyard::transformer_config model_of(const settings& s);
switchyard::train::objective_config objective_of(const settings& s);
switchyard::train::trainer_config training_of(const settings& s, const switchyard::train::objective& goal);

} // namespace train_example

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "settings.hpp"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <switchyard/model/presets.hpp>

namespace train_example {
namespace {

namespace sy = switchyard;
using nlohmann::json;

const std::map<std::string, sy::transformer_config (*)()> presets{
    {"tiny", [] { return sy::presets::switch_tiny(); }},
    {"tiny-dense", sy::presets::t5_tiny},
    {"small", [] { return sy::presets::switch_small(); }},
    {"small-dense", sy::presets::t5_small},
    {"small-decoder", [] { return sy::presets::switch_small_decoder(); }},
};

/// The configuration file: one JSON object, whose keys are the options' names.
class json_file : public CLI::Config {
 public:
  std::string to_config(const CLI::App* app, bool, bool, std::string) const override {
    json all = json::object();
    for (const CLI::Option* o : app->get_options())
      if (o->get_configurable() && o->count() > 0) {
        const auto values = o->results();
        const std::string name = o->get_single_name();
        if (values.size() > 1)
          all[name] = values;
        else
          all[name] = o->get_expected_max() == 0 ? json(true) : json(values.at(0)); // a flag, or a value
      }
    for (const char* of_one_run : {"resume", "out", "config", "help", "progress"}) all.erase(of_one_run);
    return all.dump(1) + '\n';
  }
  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::set<std::string> seen;
    const auto watch_keys = [&seen](int depth, json::parse_event_t event, json& key) {
      if (event == json::parse_event_t::key && depth == 1 && !seen.insert(key.get<std::string>()).second)
        throw CLI::ConversionError("key " + key.dump() + " stands there twice; keep one");
      return true;
    };
    std::vector<CLI::ConfigItem> found;
    try {
      const json object = json::parse(in, watch_keys);
      if (!object.is_object()) throw CLI::ConversionError("must be one JSON object {\"key\": value, ...}");
      for (const auto& [key, value] : object.items()) {
        CLI::ConfigItem item;
        item.name = key;
        for (const json& one : value.is_array() ? value : json::array({value}))
          item.inputs.push_back(one.is_string() ? one.get<std::string>() : one.dump());
        found.push_back(item);
      }
    } catch (const json::exception& problem) {
      throw CLI::ConversionError(std::string("is not JSON: ") + problem.what());
    }
    return found;
  }
};

template <class Map>
std::vector<std::string> names_of(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

} // namespace

bool parse(int count, char** arguments, settings& s, bool prints) {
  using sy::train::optimizer_kind;
  using sy::train::schedule_kind;
  CLI::App app("Trains a Switch Transformer, or a dense T5, on text: bytes are tokens.", "train");
  app.config_formatter(std::make_shared<json_file>());
  app.set_config("--config", "", "JSON file with any of the options below as keys; the command line overrides it");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.option_defaults()->take_last();
  app.get_formatter()->column_width(34);

  std::string preset = s.preset, precision = "bf16", optimizer = "adafactor", schedule = "inverse-sqrt",
              progress = "auto";
  const std::map<std::string, number_type> precisions{
      {"bf16", number_type::bf16}, {"f32", number_type::f32}, {"f64", number_type::f64}};
  const std::map<std::string, optimizer_kind> optimizers{{"adafactor", optimizer_kind::adafactor},
                                                         {"adamw", optimizer_kind::adamw}};
  const std::map<std::string, schedule_kind> schedules{{"inverse-sqrt", schedule_kind::inverse_square_root},
                                                       {"linear", schedule_kind::linear},
                                                       {"constant", schedule_kind::constant}};
  const std::map<std::string, progress_kind> shown{{"auto", progress_kind::automatic},
                                                   {"bar", progress_kind::bar},
                                                   {"lines", progress_kind::lines},
                                                   {"none", progress_kind::none}};
  const auto one_of = [&](const char* name, std::string& value, const auto& map, const char* what, const char* group) {
    app.add_option(name, value, what)->check(CLI::IsMember(names_of(map)))->group(group);
  };

  const char* group = "Model";
  one_of("--preset", preset, presets, "sizes of the model", group);
  one_of("--precision", precision, precisions, "bf16: products in bfloat16, weights and router in float", group);
  app.add_option("--layers", s.layers, "layers of each stack")->group(group);
  app.add_option("--d-model", s.d_model, "width of the model")->group(group);
  app.add_option("--d-ff", s.d_ff, "width of an FFN, and of an expert")->group(group);
  app.add_option("--heads", s.heads, "heads of attention; each is d_model / heads wide")->group(group);
  app.add_option("--experts", s.experts, "experts of each Switch layer; 0: a dense model")->group(group);
  app.add_option("--sparse-every", s.sparse_every, "every n-th layer of a stack is a Switch layer; 1: all")
      ->group(group);
  app.add_option("--capacity-factor", s.capacity_factor, "slots per expert over tokens per expert, training")
      ->group(group);
  app.add_option("--eval-capacity-factor", s.eval_capacity_factor, "the same in evaluation")->group(group);
  app.add_option("--load-balance", s.load_balance, "coefficient of the load-balancing loss")->group(group);
  app.add_option("--jitter", s.jitter, "noise on the router's input, in training")->group(group);
  app.add_option("--sequences-per-group", s.sequences_per_group,
                 "sequences that share the slots of the experts; must divide the batch of every rank")
      ->group(group);
  app.add_option("--dropout", s.dropout, "dropout outside of experts")->group(group);
  app.add_option("--expert-dropout", s.expert_dropout, "dropout in experts")->group(group);

  group = "Text";
  app.add_option("--text", s.text,
                 "files and folders to train on, LABEL=NAME to label a language; without any, the licences and "
                 "copyright notices of a Debian machine")
      ->take_all()
      ->group(group);
  app.add_option("--tokenizer", s.tokenizer, "SentencePiece model; without one, bytes are tokens")->group(group);
  app.add_option("--length", s.length, "tokens of the source, or of the target for a decoder alone")->group(group);
  app.add_option("--noise-density", s.noise_density, "share of the text that an encoder-decoder has to fill in")
      ->group(group);
  app.add_option("--mean-span", s.mean_span, "tokens of a gap, in the mean; 3 is T5's, 20 suits bytes (ByT5)")
      ->group(group);
  app.add_option("--held-out-every", s.held_out_every, "of so many blocks of text one is kept for evaluation")
      ->group(group);

  group = "Training";
  app.add_option("--steps", s.steps, "steps to train for, in all")->group(group);
  app.add_option("--batch", s.batch, "sequences per step")->group(group);
  app.add_option("--micro-batches", s.micro_batches, "passes that a step is made in, to save memory")->group(group);
  app.add_option("--seed", s.seed, "of weights, order of the text, dropout")->group(group);
  one_of("--optimizer", optimizer, optimizers, "adafactor is the paper's", group);
  app.add_option("--learning-rate", s.learning_rate, "largest; default 0.1 for adafactor, 0.006 for adamw")
      ->group(group);
  one_of("--schedule", schedule, schedules, "learning rate after the warm-up; linear ends at 0", group);
  app.add_option("--warm-up", s.warm_up, "steps in which the learning rate rises")->group(group);
  app.add_option("--weight-decay", s.weight_decay, "decoupled, not for norms and positions")->group(group);
  app.add_option("--clip", s.clip, "largest norm of all gradients together, 0 for none")->group(group);
  app.add_option("--auxiliary", s.auxiliary, "factor of the auxiliary losses; 0 turns them off for fine-tuning")
      ->group(group);

  group = "Ranks (mpirun -n N train ...)";
  app.add_option("--layout", s.layout, "what ranks share: expert_data, the batch and the experts, or data, the batch")
      ->check(CLI::IsMember({"expert_data", "data"}))
      ->group(group);
  app.add_option(
         "--mesh", s.mesh,
         "replica=R,data=D,model=M: R replicas of the experts, each spread over D times M ranks; those along model "
         "share heads, d_ff and vocabulary")
      ->group(group);

  group = "Output";
  app.add_option("--out", s.out, "folder for metrics.jsonl, metrics.csv, evaluation.jsonl and checkpoints")
      ->group(group);
  app.add_option("--name", s.name, "of the run, in reports")->group(group);
  app.add_option("--checkpoint-every", s.checkpoint_every,
                 "steps between checkpoints, 0: only at the end, or when a signal ends the run")
      ->group(group);
  app.add_option("--keep", s.keep, "checkpoints that are kept, 0: all")->group(group);
  app.add_flag("--resume", s.resume, "go on from the newest checkpoint in --out, where there is one")->group(group);
  app.add_option("--evaluate-every", s.evaluate_every, "steps between evaluations, 0: only at the end")->group(group);
  app.add_option("--evaluate-examples", s.evaluate_examples, "held-out examples that are looked at, at most")
      ->group(group);
  app.add_option("--loads-every", s.loads_every, "steps between lines of experts.jsonl, 0: none")->group(group);
  one_of("--progress", progress, shown, "auto: a bar in a terminal, else lines", group);
  try {
    app.parse(count, arguments);
  } catch (const CLI::CallForHelp&) {
    if (prints) std::cout << app.help();
    return false;
  } catch (const CLI::ParseError& problem) {
    throw std::runtime_error(std::string(problem.what()) + "; see train --help");
  }
  s.given = app.config_to_str();
  s.preset = preset;
  s.precision = precisions.at(precision);
  s.optimizer = optimizers.at(optimizer);
  s.schedule = schedules.at(schedule);
  s.progress = shown.at(progress);
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value < least)
      throw std::runtime_error(std::string(name) + " = " + std::to_string(value) + ": must be at least " +
                               std::to_string(least));
  };
  at_least("--steps", s.steps, 0);
  at_least("--checkpoint-every", s.checkpoint_every, 0);
  at_least("--keep", s.keep, 0);
  at_least("--evaluate-every", s.evaluate_every, 0);
  at_least("--loads-every", s.loads_every, 0);
  at_least("--evaluate-examples", s.evaluate_examples, 1);
  return true;
}

std::array<std::int64_t, 3> mesh_of(const settings& s, std::int64_t ranks) {
  if (s.mesh.empty()) return {s.layout == "data" ? ranks : 1, s.layout == "data" ? 1 : ranks, 1};
  const std::array<std::string, 3> names{"replica", "data", "model"};
  std::array<std::int64_t, 3> extents{0, 0, 0};
  std::istringstream all(s.mesh);
  bool read = s.mesh.back() != ',';
  for (std::string one; std::getline(all, one, ',');) {
    const auto name = std::find(names.begin(), names.end(), one.substr(0, one.find('=')));
    long long extent = 0;
    int end = -1;
    if (name != names.end()) std::sscanf(one.c_str() + name->size(), "=%lld%n", &extent, &end);
    read = read && end >= 0 && name->size() + static_cast<std::size_t>(end) == one.size() && extent >= 1;
    if (!read) break;
    std::int64_t& to = extents[static_cast<std::size_t>(name - names.begin())];
    read = to == 0; // named once
    to = extent;
  }
  sy::detail::require(read, "--mesh = ", s.mesh,
                      ": must be replica=R,data=D,model=M, of which any may be left out, with R times D times M ranks");
  for (std::int64_t& extent : extents) extent = std::max<std::int64_t>(extent, 1);
  sy::detail::require(s.layout != "data" || extents[1] == 1, "--mesh = ", s.mesh,
                      ": --layout data has all experts on every rank; leave one of the two out");
  return extents;
}

sy::transformer_config model_of(const settings& s) {
  sy::transformer_config c = presets.at(s.preset)();
  const auto set = [](double value, double& to) {
    if (value >= 0) to = value;
  };
  const auto size = [](std::int64_t value, std::int64_t& to) {
    if (value > 0) to = value;
  };
  size(s.layers, c.decoder_layers);
  if (c.has_encoder()) size(s.layers, c.encoder_layers);
  size(s.d_model, c.d_model);
  size(s.d_ff, c.d_ff);
  size(s.heads, c.heads);
  if (s.d_model > 0 || s.heads > 0) {
    sy::detail::require(c.heads > 0 && c.d_model % c.heads == 0, "--heads = ", c.heads,
                        ": must divide --d-model = ", c.d_model);
    c.d_kv = c.d_model / c.heads;
  }
  size(s.sparse_every, c.sparse_n);
  if (s.experts == 0) c.sparse = sy::sparse_pattern::none;
  if (s.experts >= 0) c.routing.experts = s.experts;
  if (s.experts > 0 && c.sparse == sy::sparse_pattern::none) c.sparse = sy::sparse_pattern::every_nth;
  if (s.sequences_per_group > 0) c.sequences_per_group = s.sequences_per_group;
  c.routing.eval_capacity_factor = 2; // the paper's, which trains with 1.25
  set(s.capacity_factor, c.routing.capacity_factor);
  set(s.eval_capacity_factor, c.routing.eval_capacity_factor);
  set(s.load_balance, c.routing.load_balance);
  set(s.jitter, c.routing.jitter);
  set(s.dropout, c.dropout);
  set(s.expert_dropout, c.routing.expert_dropout);
  c.seed = s.seed;
  return c;
}

sy::train::objective_config objective_of(const settings& s) {
  using kind = sy::train::objective_kind;
  return {.kind = model_of(s).has_encoder() ? kind::span_corruption : kind::next_token,
          .length = s.length,
          .noise_density = s.noise_density,
          .mean_span = s.mean_span};
}

sy::train::trainer_config training_of(const settings& s, const sy::train::objective& goal) {
  const bool adafactor = s.optimizer == sy::train::optimizer_kind::adafactor;
  sy::train::trainer_config c;
  c.batch = s.batch;
  c.micro_batches = s.micro_batches;
  c.source_length = goal.source_length();
  c.target_length = goal.target_length();
  c.optimizer.kind = s.optimizer;
  c.optimizer.weight_decay = s.weight_decay;
  c.schedule = {.kind = s.schedule,
                .rate = s.learning_rate >= 0 ? s.learning_rate : (adafactor ? 0.1 : 0.006),
                .warm_up = s.warm_up,
                .steps = std::max(s.steps, s.warm_up + 1)};
  c.clip = s.clip;
  c.auxiliary = s.auxiliary;
  c.seed = s.seed;
  return c;
}

} // namespace train_example

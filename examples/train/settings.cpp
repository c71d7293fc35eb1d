// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "settings.hpp"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
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

/// What a number may be: NaN and infinity never.
struct range {
  double least = 0, most = std::numeric_limits<double>::infinity();
  bool with_least = true, with_most = false; ///< may be these themselves

  bool holds(double value) const {
    return (with_least ? value >= least : value > least) && (with_most ? value <= most : value < most);
  }
  /// Refuses text that is no such number; its description stands in --help.
  template <class Number>
  CLI::Validator validator(const char* name, const Number&) const {
    std::ostringstream allowed;
    if (std::isfinite(most))
      allowed << "in " << (with_least ? '[' : '(') << least << ", " << most << (with_most ? ']' : ')');
    else
      allowed << (with_least ? "of at least " : "above ") << least;
    const auto check = [r = *this, name, wanted = allowed.str()](std::string& text) -> std::string {
      Number value{};
      const char* end = text.data() + text.size();
      const auto [stop, problem] = std::from_chars(text.data(), end, value);
      if (problem != std::errc() || stop != end || !r.holds(static_cast<double>(value)))
        throw std::runtime_error(std::string(name) + " = " + text + ": must be a " +
                                 (std::is_integral_v<Number> ? "whole number " : "number ") + wanted);
      return {};
    };
    return CLI::Validator(check, allowed.str());
  }
};
const range positive{1}, from_0{0}, above_0{.with_least = false}, share{0, 1};

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
              progress = "auto", over_layers = "sum";
  const std::map<std::string, number_type> precisions{
      {"bf16", number_type::bf16}, {"f32", number_type::f32}, {"f64", number_type::f64}};
  const std::map<std::string, optimizer_kind> optimizers{{"adafactor", optimizer_kind::adafactor},
                                                         {"adamw", optimizer_kind::adamw}};
  const std::map<std::string, schedule_kind> schedules{{"inverse-sqrt", schedule_kind::inverse_square_root},
                                                       {"linear", schedule_kind::linear},
                                                       {"constant", schedule_kind::constant}};
  using sy::auxiliary_reduction;
  const std::map<std::string, auxiliary_reduction> reductions{{"sum", auxiliary_reduction::sum},
                                                              {"mean", auxiliary_reduction::mean}};
  const std::map<std::string, progress_kind> shown{{"auto", progress_kind::automatic},
                                                   {"bar", progress_kind::bar},
                                                   {"lines", progress_kind::lines},
                                                   {"none", progress_kind::none}};
  const char* group = "Model";
  const auto number = [&](const char* name, auto& value, const range& allowed, const char* what) {
    return app.add_option(name, value, what)->check(allowed.validator(name, value))->group(group);
  };
  const auto one_of = [&](const char* name, std::string& value, const auto& map, const char* what) {
    app.add_option(name, value, what)->check(CLI::IsMember(names_of(map)))->group(group);
  };

  one_of("--preset", preset, presets, "sizes of the model");
  one_of("--precision", precision, precisions, "bf16: products in bfloat16, weights and router in float");
  number("--layers", s.layers, positive, "layers of each stack");
  number("--d-model", s.d_model, positive, "width of the model");
  number("--d-ff", s.d_ff, positive, "width of an FFN, and of an expert");
  number("--heads", s.heads, positive, "heads of attention; each is d_model / heads wide");
  number("--experts", s.experts, from_0, "experts of each Switch layer; 0: a dense model");
  number("--sparse-every", s.sparse_every, positive, "every n-th layer of a stack is a Switch layer; 1: all");
  number("--capacity-factor", s.capacity_factor, above_0, "slots per expert over tokens per expert, training");
  number("--eval-capacity-factor", s.eval_capacity_factor, from_0, "the same in evaluation");
  number("--load-balance", s.load_balance, from_0, "coefficient of the load-balancing loss");
  number("--jitter", s.jitter, share, "noise on the router's input, in training");
  number("--sequences-per-group", s.sequences_per_group, positive,
         "sequences that share the slots of the experts; must divide the batch of every rank");
  number("--dropout", s.dropout, share, "dropout outside of experts");
  number("--expert-dropout", s.expert_dropout, share, "dropout in experts");

  group = "Weights of another run";
  app.add_option("--distill", s.distill,
                 "folder of a run: this model, a dense one, learns from that one's probabilities beside the text, and "
                 "begins with all of its weights that it has a place for")
      ->group(group);
  const CLI::Option* teacher_share = number("--teacher-share", s.teacher_share, range{.most = 1, .with_most = true},
                                            "share of --distill's probabilities in the loss; 0.25 is the paper's");
  app.add_option("--upcycle", s.upcycle,
                 "folder of a run of a dense model: this one begins with its weights, every expert with its FFN")
      ->group(group);
  app.add_option("--finetune", s.finetune,
                 "folder of a run: this model begins with its weights, and without auxiliary losses unless --auxiliary "
                 "is given")
      ->group(group);

  group = "Text";
  app.add_option("--text", s.text,
                 "files and folders to train on, LABEL=NAME to label a language; without any, the licences and "
                 "copyright notices of a Debian machine")
      ->take_all()
      ->group(group);
  app.add_option("--tokenizer", s.tokenizer, "SentencePiece model; without one, bytes are tokens")->group(group);
  number("--length", s.length, positive, "tokens of the source, or of the target for a decoder alone");
  number("--noise-density", s.noise_density, range{0, 1, false, false},
         "share of the text that an encoder-decoder has to fill in");
  number("--mean-span", s.mean_span, range{1}, "tokens of a gap, in the mean; 3 is T5's, 20 suits bytes (ByT5)");
  number("--held-out-every", s.held_out_every, from_0, "of so many blocks of text one is kept for evaluation");

  group = "Training";
  number("--steps", s.steps, from_0, "steps to train for, in all");
  number("--batch", s.batch, positive, "sequences per step");
  number("--micro-batches", s.micro_batches, positive, "passes that a step is made in, to save memory");
  number("--seed", s.seed, from_0, "of weights, order of the text, dropout");
  one_of("--optimizer", optimizer, optimizers, "adafactor is the paper's");
  number("--learning-rate", s.learning_rate, from_0, "largest; default 0.1 for adafactor, 0.006 for adamw");
  one_of("--schedule", schedule, schedules, "learning rate after the warm-up; linear ends at 0");
  number("--warm-up", s.warm_up, from_0, "steps in which the learning rate rises");
  number("--weight-decay", s.weight_decay, from_0, "decoupled, not for norms and positions");
  number("--clip", s.clip, from_0, "largest norm of all gradients together, 0 for none");
  const CLI::Option* auxiliary =
      number("--auxiliary", s.auxiliary, from_0, "factor of the auxiliary losses; 0 turns them off for fine-tuning");
  one_of("--auxiliary-over-layers", over_layers, reductions, "how the auxiliary losses of the layers add up");

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
  number("--checkpoint-every", s.checkpoint_every, from_0,
         "steps between checkpoints, 0: only at the end, or when a signal ends the run");
  number("--keep", s.keep, from_0, "checkpoints that are kept, 0: all");
  app.add_flag("--resume", s.resume, "go on from the newest checkpoint in --out, where there is one")->group(group);
  number("--evaluate-every", s.evaluate_every, from_0, "steps between evaluations, 0: only at the end");
  number("--evaluate-examples", s.evaluate_examples, positive, "held-out examples that are looked at, at most");
  number("--loads-every", s.loads_every, from_0, "steps between lines of experts.jsonl, 0: none");
  one_of("--progress", progress, shown, "auto: a bar in a terminal, else lines");
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
  s.over_layers = reductions.at(over_layers);
  if (s.held_out_every == 1)
    throw std::runtime_error("--held-out-every = 1: must be 0, or at least 2 so that something is left to train on");
  if ((s.distill.empty() ? 0 : 1) + (s.upcycle.empty() ? 0 : 1) + (s.finetune.empty() ? 0 : 1) > 1)
    throw std::runtime_error("--distill, --upcycle and --finetune: give one of them; where the configuration file has "
                             "another, take it back with an empty name");
  if (teacher_share->count() > 0 && s.distill.empty())
    throw std::runtime_error("--teacher-share: there is no teacher; name its run with --distill");
  if (auxiliary->count() == 0 && !s.finetune.empty()) s.auxiliary = 0;
  return true;
}

settings settings_of_run(const std::string& folder) {
  const std::string file = (std::filesystem::path(folder) / "config.json").string();
  if (!std::filesystem::exists(file))
    throw std::runtime_error(file + " is not there; name the folder that train wrote, its --out");
  std::string program = "train", option = "--config", value = file;
  char* arguments[] = {program.data(), option.data(), value.data()};
  settings s;
  parse(3, arguments, s, false);
  return s;
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
  c.auxiliary = s.over_layers;
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

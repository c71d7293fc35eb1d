// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "files.hpp"
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <settings.hpp>

// The command line of examples/train: what it takes, and what it says about what it does not.

using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using train_example::settings;

namespace {
settings parsed(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "train");
  std::vector<char*> pointers;
  for (std::string& a : arguments) pointers.push_back(a.data());
  settings s;
  const bool runs = train_example::parse(static_cast<int>(pointers.size()), pointers.data(), s, false);
  CHECK(runs);
  return s;
}
std::string error_of(const std::vector<std::string>& arguments) {
  try {
    parsed(arguments);
  } catch (const std::runtime_error& problem) {
    return problem.what();
  }
  return "nothing";
}
} // namespace

TEST_CASE("options of train: numbers that cannot be are refused, and it is said what can", "[train]") {
  const std::vector<std::string> no_number{"many", "2x", "nan", "inf", "-inf", "0x10", "1e400"};
  struct option {
    const char* name;
    bool whole;
    std::vector<std::string> bad, good;
  };
  const std::vector<option> options{
      {"layers", true, {"0", "-1"}, {"1", "9"}},
      {"d-model", true, {"0", "-1"}, {"64"}},
      {"d-ff", true, {"0", "-1"}, {"1"}},
      {"heads", true, {"0", "-1"}, {"2"}},
      {"experts", true, {"-1"}, {"0", "7"}},
      {"sparse-every", true, {"0", "-1"}, {"1"}},
      {"capacity-factor", false, {"0", "-1"}, {"0.5", "2"}},
      {"eval-capacity-factor", false, {"-1"}, {"0", "2"}},
      {"load-balance", false, {"-1"}, {"0", "0.01"}},
      {"jitter", false, {"-0.1", "1"}, {"0", "0.01"}},
      {"sequences-per-group", true, {"0", "-1"}, {"1"}},
      {"dropout", false, {"-0.1", "1"}, {"0", "0.9"}},
      {"expert-dropout", false, {"-0.1", "1"}, {"0", "0.4"}},
      {"length", true, {"0", "-1"}, {"128"}},
      {"noise-density", false, {"0", "1", "-1"}, {"0.5"}},
      {"mean-span", false, {"0.9", "-1"}, {"1", "20"}},
      {"held-out-every", true, {"-1"}, {"0", "2"}},
      {"steps", true, {"-1"}, {"0", "100000000000"}},
      {"batch", true, {"0", "-1"}, {"1"}},
      {"micro-batches", true, {"0", "-1"}, {"1"}},
      {"seed", true, {"-1"}, {"0", "18446744073709551615"}},
      {"learning-rate", false, {"-1"}, {"0", "1e-3"}},
      {"warm-up", true, {"-1"}, {"0"}},
      {"weight-decay", false, {"-1"}, {"0"}},
      {"clip", false, {"-1"}, {"0"}},
      {"auxiliary", false, {"-1"}, {"0", "1"}},
      {"checkpoint-every", true, {"-1"}, {"0"}},
      {"keep", true, {"-1"}, {"0"}},
      {"evaluate-every", true, {"-1"}, {"0"}},
      {"evaluate-examples", true, {"0", "-1"}, {"1"}},
      {"loads-every", true, {"-1"}, {"0"}},
  };
  for (const option& o : options) {
    const std::string name = std::string("--") + o.name,
                      must = o.whole ? ": must be a whole number " : ": must be a number ";
    std::vector<std::string> bad = no_number;
    bad.insert(bad.end(), o.bad.begin(), o.bad.end());
    if (o.whole) bad.insert(bad.end(), {"1.5", "1e3", "18446744073709551616"});
    for (const std::string& value : bad)
      CHECK_THAT(error_of({name + "=" + value}), StartsWith(name + " = " + value + must));
    for (const std::string& value : o.good) CHECK(error_of({name, value}) == "nothing");
    CHECK_THAT(error_of({name + "="}), StartsWith(name));
    CHECK_THAT(error_of({name}), StartsWith(name) && ContainsSubstring("see train --help"));
  }
  CHECK_THAT(error_of({"--distill", "x", "--teacher-share", "1.1"}),
             StartsWith("--teacher-share = 1.1: must be a number in [0, 1]"));
  CHECK_THAT(error_of({"--held-out-every", "1"}), StartsWith("--held-out-every = 1: must be 0, or at least 2"));
  for (const char* name :
       {"--preset", "--precision", "--optimizer", "--schedule", "--auxiliary-over-layers", "--layout", "--progress"})
    CHECK_THAT(error_of({name, "what"}), StartsWith(name) && ContainsSubstring("what not in {"));
  CHECK_THAT(error_of({"--stepz", "1"}), ContainsSubstring("--stepz"));
}

TEST_CASE("options of train: a file's are refused like the command line's, which comes first", "[train]") {
  const folder f("train_settings");
  f.write("bad.json", "{\"batch\": 0}");
  CHECK_THAT(error_of({"--config", f.path("bad.json")}),
             StartsWith("--batch = 0: must be a whole number of at least 1"));
  CHECK(parsed({"--config", f.path("bad.json"), "--batch", "4"}).batch == 4);
  f.write("good.json", "{\"batch\": 6, \"learning-rate\": 1e-05, \"text\": [\"a\", \"b=c\"], \"finetune\": \"run\"}");
  const settings s = parsed({"--config", f.path("good.json"), "--batch", "8", "--batch", "10"});
  CHECK(s.batch == 10);
  CHECK(s.learning_rate == 1e-5);
  CHECK(s.text == std::vector<std::string>{"a", "b=c"});
  CHECK(s.finetune == "run");
  // What a run was given is a file that gives it again.
  f.write("again.json", s.given);
  const settings again = parsed({"--config", f.path("again.json")});
  CHECK(again.given == s.given);
  CHECK(again.batch == 10);
  CHECK(parsed({"--config", f.path("again.json"), "--finetune", "", "--upcycle", "other"}).finetune.empty());
}

TEST_CASE("options of train: what is given is what the model and the trainer get", "[train]") {
  auto s = parsed({"--preset",
                   "tiny",
                   "--layers",
                   "6",
                   "--d-model",
                   "48",
                   "--d-ff",
                   "40",
                   "--heads",
                   "3",
                   "--experts",
                   "5",
                   "--sparse-every",
                   "3",
                   "--capacity-factor",
                   "1.5",
                   "--eval-capacity-factor",
                   "3",
                   "--load-balance",
                   "0.5",
                   "--jitter",
                   "0.25",
                   "--dropout",
                   "0.1",
                   "--expert-dropout",
                   "0.4",
                   "--sequences-per-group",
                   "2",
                   "--auxiliary-over-layers",
                   "mean",
                   "--seed",
                   "9"});
  const auto m = train_example::model_of(s);
  CHECK(m.encoder_layers == 6);
  CHECK(m.decoder_layers == 6);
  CHECK(m.d_model == 48);
  CHECK(m.d_ff == 40);
  CHECK(m.heads == 3);
  CHECK(m.d_kv == 16);
  CHECK(m.routing.experts == 5);
  CHECK(m.sparse_layers() == 4);
  CHECK(m.routing.capacity_factor == 1.5);
  CHECK(m.routing.eval_capacity_factor == 3);
  CHECK(m.routing.load_balance == 0.5);
  CHECK(m.routing.jitter == 0.25);
  CHECK(m.dropout == 0.1);
  CHECK(m.routing.expert_dropout == 0.4);
  CHECK(m.sequences_per_group == 2);
  CHECK(m.auxiliary == switchyard::auxiliary_reduction::mean);
  CHECK(m.seed == 9);
  CHECK(train_example::model_of(parsed({})).auxiliary == switchyard::auxiliary_reduction::sum);
  CHECK(train_example::model_of(parsed({"--experts", "0"})).sparse == switchyard::sparse_pattern::none);
  CHECK(parsed({}).auxiliary == 1);
  CHECK(parsed({"--finetune", "run"}).auxiliary == 0);
  CHECK(parsed({"--finetune", "run", "--auxiliary", "0.5"}).auxiliary == 0.5);
  CHECK(parsed({"--distill", "run"}).teacher_share == 0.25);
  CHECK(parsed({"--distill", "run", "--teacher-share", "1"}).teacher_share == 1);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "measure.hpp"
#include "show.hpp"
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <switchyard/model/presets.hpp>

// How should a model be laid out over a machine that need not be here? See docs/scaling.md.

namespace {

namespace presets = switchyard::presets;
const std::map<std::string, switchyard::transformer_config (*)()> models{
    {"t5_base", presets::t5_base},
    {"t5_large", presets::t5_large},
    {"t5_xxl", presets::t5_xxl},
    {"switch_base", [] { return presets::switch_base(); }},
    {"switch_large", presets::switch_large},
    {"switch_xxl", presets::switch_xxl},
    {"switch_c", presets::switch_c}};

struct request {
  plan::task task;
  plan::machine machine;
  std::string preset = "switch_base", optimizer = "adafactor", layout = "any", out;
  std::int64_t layers = 0;
  std::vector<std::int64_t> scaling;
  std::vector<double> bandwidth, latency;
  double memory = 80, peak = 400, memory_bandwidth = 2000; // GB, TFLOP/s, GB/s
  bool every = false, calibrate = false, check = false;
};

/// Presets first, then the sizes that were given.
void add_options(CLI::App& app, request& r, std::vector<std::function<void()>>& overrides) {
  std::vector<std::string> names;
  for (const auto& [name, make] : models) names.push_back(name);
  app.add_option("--model", r.preset, "sizes of a published model")->check(CLI::IsMember(names))->capture_default_str();
  const auto size = [&](const char* name, std::int64_t switchyard::transformer_config::*field, const char* help) {
    auto value = std::make_shared<std::int64_t>();
    auto* option = app.add_option(name, *value, help)->check(CLI::PositiveNumber);
    overrides.push_back([&r, value, option, field] {
      if (option->count() > 0) r.task.model.*field = *value;
    });
  };
  using config = switchyard::transformer_config;
  size("--d-model", &config::d_model, "width of a token");
  size("--d-ff", &config::d_ff, "hidden width of an FFN, of each expert");
  size("--heads", &config::heads, "heads of attention");
  size("--d-kv", &config::d_kv, "width of a head");
  size("--vocabulary", &config::vocabulary, "tokens of the vocabulary");
  size("--sparse-every", &config::sparse_n, "of so many layers the last one has experts");
  auto experts = std::make_shared<std::int64_t>();
  auto* experts_option = app.add_option("--experts", *experts, "experts of a sparse layer; 0: a dense model");
  overrides.push_back([&r, experts, experts_option] {
    if (experts_option->count() == 0) return;
    r.task.model.routing.experts = *experts;
    r.task.model.sparse = *experts > 0 ? switchyard::sparse_pattern::every_nth : switchyard::sparse_pattern::none;
  });
  app.add_option("--layers", r.layers, "layers of the encoder, and of the decoder");

  app.add_option("--batch", r.task.batch, "sequences of a step, on all devices")->capture_default_str();
  app.add_option("--source-length", r.task.source_length, "tokens of an input")->capture_default_str();
  app.add_option("--target-length", r.task.target_length, "tokens of an output")->capture_default_str();
  app.add_option("--groups", r.task.groups, "routing groups of a step; 0: one per data-parallel way")
      ->capture_default_str();
  app.add_option("--optimizer", r.optimizer, "adafactor or adamw")
      ->check(CLI::IsMember({"adafactor", "adamw"}))
      ->capture_default_str();

  app.add_option("--ranks", r.machine.ranks, "devices")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--memory", r.memory, "GB per device")->capture_default_str();
  app.add_option("--peak", r.peak, "TFLOP/s that the products of a device reach")->capture_default_str();
  app.add_option("--memory-bandwidth", r.memory_bandwidth, "GB/s of a device's memory")->capture_default_str();
  app.add_option("--bandwidth", r.bandwidth, "GB/s that a device sends, over the data axes and over the model axis")
      ->expected(2)
      ->default_str("25 300");
  app.add_option("--latency", r.latency, "microseconds of a message, over the data axes and over the model axis")
      ->expected(2)
      ->default_str("5 2");

  std::vector<std::string> known{"any"};
  for (const plan::layout l : plan::layouts) known.emplace_back(label(l));
  app.add_option("--layout", r.layout, "choose among the meshes of this layout")
      ->check(CLI::IsMember(known))
      ->capture_default_str();
  app.add_flag("--all", r.every, "a line for every mesh, not only for the fastest of each layout");
  app.add_option("--scaling", r.scaling, "first and last number of devices of a scaling curve, in powers of two")
      ->expected(2);
  app.add_option("--out", r.out, "folder for the curve: scaling.csv and, with gnuplot, scaling.svg");
  app.add_flag("--calibrate", r.calibrate, "measure this machine's constants first (with links: under mpirun)");
  app.add_flag("--check", r.check, "run a small layer here, experts over the ranks, beside its prediction (mpirun)");
}

void complete(request& r, const std::vector<std::function<void()>>& overrides) {
  r.task.model = models.at(r.preset)();
  for (const auto& apply : overrides) apply();
  if (r.layers > 0) r.task.model.encoder_layers = r.task.model.decoder_layers = r.layers;
  r.task.optimizer = r.optimizer == "adamw" ? plan::optimizer::adamw : plan::optimizer::adafactor;
  r.machine.memory = r.memory * 1e9;
  r.machine.peak = r.peak * 1e12;
  r.machine.memory_bandwidth = r.memory_bandwidth * 1e9;
  for (std::size_t i = 0; i < 2; ++i) {
    if (!r.bandwidth.empty()) r.machine.bandwidth[i] = r.bandwidth[i] * 1e9;
    if (!r.latency.empty()) r.machine.latency[i] = r.latency[i] * 1e-6;
  }
  switchyard::validate(r.task.model);
  for (const double v : {r.memory, r.peak, r.memory_bandwidth, r.machine.bandwidth[0], r.machine.bandwidth[1]})
    if (!(v > 0)) throw switchyard::invalid_argument("memory, peak and bandwidths must be above 0");
  for (const std::int64_t v : {r.task.batch, r.task.source_length, r.task.target_length})
    if (v < 1) throw switchyard::invalid_argument("batch and lengths must be at least 1");
  if (r.task.groups < 0) throw switchyard::invalid_argument("--groups must be at least 0");
  if (!r.scaling.empty() && (r.scaling[0] < 1 || r.scaling[1] < r.scaling[0]))
    throw switchyard::invalid_argument("--scaling: the first number must be at least 1, the last one not below it");
}

void work(request& r) {
  plan::session here; // MPI and Kokkos, where something is measured
  if (r.calibrate || r.check) {
    here.start();
    const auto measured = here.calibrate();
    r.machine.peak = measured.peak;
    r.machine.memory_bandwidth = measured.memory_bandwidth;
    if (here.ranks() > 1) r.machine.bandwidth = measured.bandwidth, r.machine.latency = measured.latency;
    if (!here.speaks()) return r.check ? here.check(r.machine, std::cout) : void();
    std::cout << plan::options_text(r.machine, here.ranks() > 1) << '\n';
    if (r.check) return here.check(r.machine, std::cout);
  }
  const auto all = plan::evaluate_all(r.task, r.machine);
  plan::show_task(std::cout, r.task, r.machine);
  plan::show_layouts(std::cout, all, r.every);
  const plan::layout* only = nullptr;
  for (const plan::layout& l : plan::layouts)
    if (r.layout == label(l)) only = &l;
  if (const plan::estimate* e = plan::best(all, only))
    plan::show_plan(std::cout, *e);
  else
    std::cout << "\nno layout fits " << r.machine.ranks << " devices; give more of them, or more memory\n";
  if (r.scaling.empty()) return;
  const auto points = plan::scale(r.task, r.machine, r.scaling[0], r.scaling[1]);
  plan::show_scaling(std::cout, r.task, points);
  if (!r.out.empty()) std::cout << r.out << ": " << plan::write_scaling(r.out, r.task, points) << '\n';
}

} // namespace

int main(int count, char** arguments) {
  request r;
  std::vector<std::function<void()>> overrides;
  CLI::App app("Memory, bytes and time of a training step of a Switch Transformer, for every parallel layout.", "plan");
  add_options(app, r, overrides);
  try {
    app.parse(count, arguments);
    complete(r, overrides);
    work(r);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& problem) {
    std::cerr << "plan: " << problem.what() << "; see plan --help\n";
    return 1;
  } catch (const std::exception& problem) {
    std::cerr << "plan: " << problem.what() << '\n';
    return 1;
  }
  return 0;
}

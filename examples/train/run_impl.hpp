// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../02_route_text.hpp"
#include "log.hpp"
#include "other_run.hpp"
#include "run.hpp"
#include <iomanip>
#include <switchyard/train/resume.hpp>

namespace train_example {

namespace sy = switchyard;

inline std::vector<sy::train::text_file> find_text(const settings& s) {
  if (!s.text.empty()) return sy::train::find_text(s.text);
  std::vector<sy::train::text_file> files;
  for (const std::string& path : route_text::text_of_this_machine()) files.push_back({path, "en"});
  return files;
}

/// Has any rank been asked to stop? Collective.
inline bool stop_together(const sy::communicator& world) {
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> asked(ranks, 0);
  asked[static_cast<std::size_t>(world.rank())] = asked_to_stop() ? 1 : 0;
  world.all_gather(asked.data(), std::vector<std::int64_t>(ranks, 1), sizeof(std::int64_t));
  return std::find(asked.begin(), asked.end(), 1) != asked.end();
}

/// Goes on from the newest checkpoint of the run, if there is one. Says what it did. Collective.
template <class Trainer, class Maker>
std::string resume(const settings& s, const sy::communicator& world, Trainer& trainer, const Maker& maker) {
  const auto path = sy::train::newest_checkpoint(world, s.out);
  if (!path) return "nothing to resume in " + s.out + ", starting anew";
  const sy::io::state_map state = sy::train::load_run(trainer, *path);
  sy::detail::require(state.get<std::uint64_t>("seed") == s.seed, "--seed = ", s.seed, ": the run in ", path->string(),
                      " has ", state.get<std::uint64_t>("seed"), "; give the same");
  sy::detail::require(state.get<std::uint64_t>("text") == maker.from().fingerprint(), "--text: the run in ",
                      path->string(), " was on another text, or cut it at other lengths; give the same");
  const double share = s.distill.empty() ? 0 : s.teacher_share;
  const double before = state.contains("teacher_share") ? state.get<double>("teacher_share") : 0;
  sy::detail::require(share == before, "--distill, --teacher-share: ", share, " of the loss is a teacher's, but ",
                      before, " in the run in ", path->string(), "; give the same");
  return "resumed from " + path->string();
}

/// A run of one precision, from its first step or from a checkpoint to its last.
template <sy::precision P>
void run_in(const settings& s, const sy::communicator& world) {
  using exec_type = Kokkos::DefaultExecutionSpace;
  using model_type = sy::transformer<exec_type, P, mesh_type, rules_type>;
  const exec_type exec;
  const sy::train::example_maker maker(find_text(s), make_tokenizer(s.tokenizer), objective_of(s), sy::seed{s.seed},
                                       s.held_out_every);
  const sy::train::trainer_config config = training_of(s, maker.goal());
  sy::transformer_config sizes = model_of(s);
  sizes.vocabulary = maker.tokens().special().vocabulary;
  sizes.pad_token = maker.tokens().special().pad;
  const mesh_type mesh = make_mesh(s, world);
  const model_type model(mesh, sizes);
  sy::train::trainer<model_type> trainer(exec, model, config);
  std::string resumed;
  if (s.resume) resumed = resume(s, world, trainer, maker);
  const std::string taken_over = take_over(s, mesh, trainer, trainer.state().step > 0);
  sy::train::batches batches(maker, trainer.examples_here(), trainer.state().position);

  std::optional<log> out;
  std::string complaint;
  try {
    out.emplace(s, trainer.state().step, world.rank() == 0);
  } catch (const std::exception& problem) {
    complaint = problem.what();
  }
  sy::agree(world, complaint);
  const std::int64_t experts = model.config().sparse == sy::sparse_pattern::none ? 0 : model.config().routing.experts;
  std::ostringstream head;
  head << "model " << s.preset << ": " << parameter_count(model.config()) << " parameters, " << experts
       << " experts; text: " << static_cast<double>(maker.from().bytes() / 10000) / 100 << " MB, "
       << maker.from().languages().size() << " languages; " << world.size() << (world.size() == 1 ? " rank" : " ranks");
  out->say(head.str());
  if (!resumed.empty()) out->say(resumed);
  if (!taken_over.empty()) out->say(taken_over);
  const std::int64_t sequences = s.batch / s.micro_batches;
  out->about({.parameters = parameter_count(model.config()),
              .experts = experts,
              .ranks = world.size(),
              .threads = exec.concurrency(),
              .megabytes = static_cast<double>(maker.from().bytes()) / 1e6,
              .sequence_tokens = config.source_length + config.target_length,
              .learning_rate = config.schedule.rate,
              .picture = picture_of(mesh, model.config(), sequences / model.config().sequences_per_group,
                                    config.target_length)});

  const std::int64_t tokens = s.batch * (config.source_length + config.target_length);
  const std::int64_t held_out = std::min(s.evaluate_examples, maker.from().blocks(sy::train::portion::held_out));
  const std::int64_t every = // all over the text, so that every language has its part
      held_out > 0 ? maker.from().blocks(sy::train::portion::held_out) / held_out : 1;
  const auto evaluate = [&] {
    if (held_out > 0) out->evaluation(trainer.state().step, trainer.evaluate(maker, 0, held_out, every));
  };
  std::int64_t saved = trainer.state().step;
  std::string newest = "none";
  const auto save = [&] {
    if (trainer.state().step == saved) return;
    sy::io::state_map state;
    state.set("seed", s.seed);
    state.set("text", maker.from().fingerprint());
    if (!s.distill.empty()) state.set("teacher_share", s.teacher_share);
    newest = sy::train::save_run(trainer, s.out, state, {.keep = s.keep, .replace = true}).path.string();
    saved = trainer.state().step;
  };
  bool stopped = false;
  double waited = 0, worked = 0; // seconds: for text, and altogether
  while (trainer.state().step < s.steps && !stopped) {
    const Kokkos::Timer timer;
    const auto report = trainer.step(batches);
    const double seconds = timer.seconds();
    waited += report.read_seconds;
    worked += seconds;
    out->step(report, tokens, seconds);
    if (s.loads_every > 0 && report.step % s.loads_every == 0 && experts > 0)
      out->loads(report.step, trainer.expert_loads());
    if (s.evaluate_every > 0 && report.step % s.evaluate_every == 0 && report.step < s.steps) evaluate();
    if (s.checkpoint_every > 0 && report.step % s.checkpoint_every == 0) save();
    stopped = stop_together(world);
  }
  save();
  std::ostringstream end;
  if (stopped && trainer.state().step < s.steps) {
    end << "stopped by a signal after step " << trainer.state().step << " of " << s.steps << "; --resume goes on from "
        << newest;
  } else {
    evaluate();
    end << "done: " << trainer.state().step << " steps, " << trainer.state().skipped << " skipped; reading made "
        << batches.waits() << " of them wait, " << std::setprecision(2) << 100 * waited / std::max(worked, 1e-9)
        << " % of their time; checkpoint: " << newest;
  }
  out->say(end.str());
}

} // namespace train_example

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../02_route_text.hpp"
#include "log.hpp"
#include "run.hpp"

namespace train_example {

namespace sy = switchyard;

inline std::vector<sy::train::text_file> find_text(const settings& s) {
  if (!s.text.empty()) return sy::train::find_text(s.text);
  std::vector<sy::train::text_file> files;
  for (const std::string& path : route_text::text_of_this_machine()) files.push_back({path, "en"});
  return files;
}

/// A run of one precision, from its first step or from a checkpoint to its last.
template <sy::precision P>
void run_in(const settings& s) {
  using exec_type = Kokkos::DefaultExecutionSpace;
  using model_type = sy::transformer<exec_type, P>;
  const exec_type exec;
  const sy::train::example_maker maker(find_text(s), sy::train::byte_tokenizer(), objective_of(s), sy::seed{s.seed},
                                       s.held_out_every);
  const sy::train::trainer_config config = training_of(s, maker.goal());
  const model_type model(model_of(s));
  sy::train::trainer<model_type> trainer(exec, model, config);
  sy::train::batches batches(maker, trainer.examples_here(), trainer.state().position);
  log out(s, trainer.state().step);

  const std::int64_t experts = model.config().sparse == sy::sparse_pattern::none ? 0 : model.config().routing.experts;
  std::ostringstream head;
  head << "model " << s.preset << ": " << parameter_count(model.config()) << " parameters, " << experts
       << " experts; text: " << static_cast<double>(maker.from().bytes() / 10000) / 100 << " MB, "
       << maker.from().languages().size() << " languages";
  out.say(head.str());
  const std::int64_t tokens = s.batch * (config.source_length + config.target_length);
  const std::int64_t held_out = std::min(s.evaluate_examples, maker.from().blocks(sy::train::portion::held_out));
  const auto evaluate = [&] {
    if (held_out > 0) out.evaluation(trainer.state().step, trainer.evaluate(maker, 0, held_out));
  };
  bool stopped = false;
  while (trainer.state().step < s.steps && !stopped) {
    const Kokkos::Timer timer;
    const auto report = trainer.step(batches);
    out.step(report, tokens, timer.seconds());
    if (s.evaluate_every > 0 && report.step % s.evaluate_every == 0 && report.step < s.steps) evaluate();
    stopped = asked_to_stop();
  }
  if (stopped) {
    out.say("stopped by a signal after step " + std::to_string(trainer.state().step) + " of " +
            std::to_string(s.steps));
    return;
  }
  evaluate();
  out.say("done: " + std::to_string(trainer.state().step) + " steps, " + std::to_string(trainer.state().skipped) +
          " skipped; reading made " + std::to_string(batches.waits()) + " of them wait; see " + s.out +
          "/metrics.jsonl");
}

} // namespace train_example

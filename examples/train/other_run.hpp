// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "ranks.hpp"
#include "tokenizers.hpp"
#include <filesystem>
#include <optional>
#include <switchyard/train/checkpoint.hpp>
#include <switchyard/train/checkpoint_views.hpp>
#include <switchyard/train/upcycle.hpp>

/// \file
/// What a run takes over from another one: --distill, --upcycle, --finetune.

namespace train_example {

/// What an error says, without the library's name in front of it.
std::string said_by(const std::exception& problem);

/// Another run: its option here, what it was asked for, the model that it has trained and where its weights are.
struct other_run {
  std::string option;
  settings asked;
  sy::transformer_config model;
  std::filesystem::path checkpoint;
};

/// The other run that s names, if it names one. Collective. Throws on every rank alike where there is no such run, or
/// its model is none that this one can begin with. `here`: this run's model.
std::optional<other_run> find_other_run(const settings& s, const sy::communicator& world,
                                        const sy::transformer_config& here);

/// Its weights, on a mesh of this run's. Collective.
template <class Exec, class Model>
typename Model::weights_type load_weights(const Exec& exec, const Model& model, const std::filesystem::path& path) {
  const auto weights = model.init(exec, {}); // every element is written to
  sy::train::views_to_save views;
  model.for_each_parameter_slice(
      [&](const std::string& name, const sy::parameter_slice& slice, const auto& view) {
        views.add(name, slice.shape, slice.offset, view, slice.owned);
      },
      weights);
  sy::train::load_checkpoint(model.mesh().world(), path, views.slices(), {.allow_extra = true}); // the optimizer's
  views.from_host();
  return weights;
}

/// The trainer begins with the weights of the other run, unless it was resumed, and learns from it where that is asked
/// for. Says what it did. Collective.
template <class Trainer, class Mesh>
std::string take_over(const settings& s, const Mesh& mesh, Trainer& trainer, bool resumed) {
  if (resumed && s.distill.empty()) return {};
  const std::optional<other_run> other = find_other_run(s, trainer.comm(), trainer.model().config());
  if (!other) return {};
  using model_type = std::decay_t<decltype(trainer.model())>;
  const typename Trainer::exec_type exec;
  const model_type model(mesh, other->model);
  const auto weights = load_weights(exec, model, other->checkpoint);
  std::ostringstream line;
  if (!resumed) {
    const auto copied = sy::train::copy_parameters(exec, weights, trainer.weights());
    trainer.resume({});
    line << "of " << copied.same + copied.experts + copied.left << " weights " << copied.same << " begin as in "
         << other->checkpoint.string();
    if (copied.experts > 0) line << ", " << copied.experts << " stacks of experts as its dense FFNs";
  }
  if (!s.distill.empty()) {
    const auto& c = trainer.config();
    try {
      trainer.learn_from(sy::train::teacher(exec, model, weights, c.batch / c.micro_batches, c.source_length,
                                            c.target_length, s.teacher_share));
    } catch (const sy::invalid_argument& problem) {
      throw sy::invalid_argument(other->option + ", the model there: " + said_by(problem));
    }
    line << (resumed ? "" : "; ") << s.teacher_share << " of the loss is what that model says";
  }
  return line.str();
}

} // namespace train_example

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/train/checkpoint.hpp>
#include <switchyard/train/checkpoint_views.hpp>
#include <switchyard/train/trainer.hpp>

/// \file
/// A run in a checkpoint: weights by their names, what the optimizer keeps as optimizer.*, and the trainer's state as
/// scalars trainer.*. A resumed run goes on as if it had never stopped, byte for byte where layout, batch and build are
/// the same; on another layout as that layout would have.

namespace switchyard::train {

namespace detail {
template <class Model>
views_to_save views_of(const trainer<Model>& t) {
  views_to_save views;
  t.for_each_state([&](const std::string& name, const parameter_slice& slice, const auto& view) {
    views.add(name, slice.shape, slice.offset, view, slice.owned);
  });
  return views;
}
} // namespace detail

/// Saves a run as step_<state().step> of `folder`; see save_checkpoint, also for what it throws. `more`: scalars of the
/// caller, under names that do not begin with "trainer.". Collective; waits for exec.
template <class Model>
saved_checkpoint save_run(const trainer<Model>& t, const std::filesystem::path& folder, io::state_map more = {},
                          const save_options& options = {}) {
  const trainer_state& s = t.state();
  more.set("trainer.step", s.step);
  more.set("trainer.updates", s.updates);
  more.set("trainer.skipped", s.skipped);
  more.set("trainer.position", s.position);
  more.set("trainer.tokens", s.tokens);
  more.set("trainer.micro_batches", t.config().micro_batches);
  const views_to_save views = detail::views_of(t);
  views.to_host();
  return save_checkpoint(t.comm(), folder, s.step, views.slices(), more, options);
}

/// Goes on from the checkpoint at `path`; see load_checkpoint. Returns its scalars, those of the caller among them.
/// Collective. Throws file_error where the checkpoint is of another model or optimizer; after an error the weights hold
/// nothing in particular.
template <class Model>
io::state_map load_run(trainer<Model>& t, const std::filesystem::path& path) {
  const views_to_save views = detail::views_of(t);
  const loaded_checkpoint loaded = load_checkpoint(t.comm(), path, views.slices());
  views.from_host();
  const auto number = [&](const char* name) { return loaded.state.get<std::int64_t>(name); };
  const std::int64_t passes = number("trainer.micro_batches");
  switchyard::detail::require(passes == t.config().micro_batches, "micro_batches = ", t.config().micro_batches,
                              ": the run in ", path.string(), " has ", passes,
                              ", by which its random draws are numbered; give the same");
  t.resume({.step = number("trainer.step"),
            .updates = number("trainer.updates"),
            .skipped = number("trainer.skipped"),
            .position = number("trainer.position"),
            .tokens = number("trainer.tokens")});
  return loaded.state;
}

} // namespace switchyard::train

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/train/trainer.hpp>

// Definitions of trainer's members that are no part of a step.

namespace switchyard::train {

template <class Model>
void trainer<Model>::check(const trainer_config& c, const Model& model) {
  using switchyard::detail::require;
  require(c.batch >= 1, "batch = ", c.batch, ": must be at least 1 sequence");
  require(c.micro_batches >= 1 && c.batch % c.micro_batches == 0, "micro_batches = ", c.micro_batches,
          ": must be at least 1 and divide the batch of ", c.batch);
  require(c.target_length >= 1, "target_length = ", c.target_length, ": must be at least 1");
  require(!model.config().has_encoder() || c.source_length >= 1, "source_length = ", c.source_length,
          ": must be at least 1 for a model with an encoder");
  require(c.clip >= 0, "clip = ", c.clip, ": must be at least 0");
  require(c.auxiliary >= 0, "auxiliary = ", c.auxiliary, ": must be at least 0");
  validate(c.schedule);
}

template <class Model>
void trainer<Model>::check(const token_batch& batch) const {
  const auto sequences = static_cast<std::size_t>(config_.micro_batches * sequences_here().count);
  const auto fits = [&](const char* name, const token_batch::tokens_view& v, std::int64_t length) {
    switchyard::detail::require(v.extent(0) == sequences && v.extent(1) == static_cast<std::size_t>(length), "batch.",
                                name, " [", v.extent(0), ", ", v.extent(1), "]: must be [", sequences, ", ", length,
                                "], the examples of examples_here()");
  };
  if (model_.config().has_encoder()) fits("source", batch.source, config_.source_length);
  fits("target", batch.target, config_.target_length);
}

/// Where the parameters lie, by name.
template <class Model>
std::map<std::string, parameter_slice> trainer<Model>::slices() const {
  std::map<std::string, parameter_slice> found;
  model_.for_each_parameter_slice(
      [&](const std::string& name, const parameter_slice& slice, const auto&) { found[name] = slice; }, weights_);
  return found;
}

template <class Model>
template <class View>
parameter_place trainer<Model>::place(const std::string& name, const View&) {
  static_assert(View::rank >= 1 && View::rank <= 3);
  const auto all = slices();
  const parameter_slice& s = all.at(name);
  parameter_place p{s.owned, 0, 1};
  if (View::rank == 3) p = {s.owned, s.offset[0], s.shape[0]};
  if constexpr (Model::layout::weights_split)
    if (s.split_axis >= 0) {
      p.share = model_.mesh().coordinate(static_cast<std::size_t>(s.split_axis));
      p.shares = model_.mesh().extent(static_cast<std::size_t>(s.split_axis));
    }
  return p;
}

template <class Model>
template <class F>
void trainer<Model>::for_each_state(const F& f) const {
  const auto all = slices();
  for_each_parameter([&](const std::string& name, const auto& view) { f(name, all.at(name), view); }, weights_);
  optimizer_.for_each_state([&](const std::string& name, const std::string& parameter, const auto& view) {
    parameter_slice s = all.at(parameter);
    // The factors of a matrix lack one of its last two dimensions; where that is split, all its ranks have the same.
    const auto drop = [&s](std::size_t from_end) {
      s.owned = s.owned && s.offset[s.offset.size() - from_end] == 0;
      for (auto* numbers : {&s.shape, &s.offset, &s.extent})
        numbers->erase(numbers->end() - static_cast<std::ptrdiff_t>(from_end));
    };
    if (name.starts_with("row.")) drop(1);
    if (name.starts_with("column.")) drop(2);
    f("optimizer." + name, s, view);
  });
}

template <class Model>
template <tokenizer Tokenizer>
evaluation trainer<Model>::evaluate(const example_maker<Tokenizer>& maker, std::int64_t first, std::int64_t count,
                                    std::int64_t every) {
  using switchyard::detail::require;
  const std::int64_t there = maker.from().blocks(portion::held_out);
  require(every >= 1, "every = ", every, ": must be at least 1");
  if (count == 0) count = std::max<std::int64_t>(there - first + every - 1, 0) / every;
  require(first >= 0 && count >= 0 && (count == 0 || first + (count - 1) * every < there), "first = ", first,
          ", count = ", count, ", every = ", every, ": there are ", there,
          " held-out examples; name more text, or hold out more of it");
  const Kokkos::Profiling::ScopedRegion region("switchyard::trainer::evaluate");
  const std::int64_t pass = pass_size();
  const part here = sequences_here();
  token_batch batch(here.count, config_.source_length, config_.target_length);
  // Of every example its loss, targets, bytes and language + 1, put in place by the rank that has it.
  evaluation e;
  for (const std::string& language : maker.from().languages()) e.languages.push_back({language, {}});
  for (std::int64_t begin = 0; begin < count; begin += pass) {
    run_in_agreement(comm_, [&] {
      for (std::int64_t i = 0; i < here.count; ++i) {
        const std::int64_t number = begin + here.begin + i;
        if (number < count)
          maker.make(portion::held_out, first + number * every, batch, i);
        else
          batch.clear(i, maker.tokens().special().pad); // fills up the last pass
      }
    });
    forward(batch, 0, false);
    for_each_index("switchyard::train::sequence_loss", exec_, here.count,
                   detail::sequence_loss_kernel<space>{tape_.loss.row_sums, config_.target_length, sequence_loss_});
    Kokkos::deep_copy(exec_, host_loss_, sequence_loss_);
    exec_.fence("switchyard: the losses are read on the host");
    list_.assign(static_cast<std::size_t>(4 * pass), 0.0);
    for (std::int64_t i = 0; i < here.count; ++i) {
      const sequence_info& s = batch.sequences[static_cast<std::size_t>(i)];
      double* to = list_.data() + 4 * (here.begin + i);
      to[0] = host_loss_(static_cast<std::size_t>(i));
      to[1] = static_cast<double>(s.targets);
      to[2] = static_cast<double>(s.bytes);
      to[3] = static_cast<double>(s.language + 1);
    }
    detail::fill_over_ranks(comm_, list_.data(), list_.size(), gathered_);
    for (std::int64_t i = 0; i < pass; ++i) {
      const double* of = list_.data() + 4 * i;
      const auto language = static_cast<std::int64_t>(of[3]) - 1;
      if (language < 0) continue;
      const auto targets = static_cast<std::int64_t>(of[1]), bytes = static_cast<std::int64_t>(of[2]);
      e.all.add(of[0], targets, bytes);
      e.languages[static_cast<std::size_t>(language)].loss.add(of[0], targets, bytes);
    }
  }
  return e;
}

} // namespace switchyard::train

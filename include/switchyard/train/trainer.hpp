// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <functional>
#include <map>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/model/transformer.hpp>
#include <switchyard/train/batches.hpp>
#include <switchyard/train/clip.hpp>
#include <switchyard/train/detail/fill_over_ranks.hpp>
#include <switchyard/train/detail/trainer_kernels.hpp>
#include <switchyard/train/distillation.hpp>
#include <switchyard/train/evaluation.hpp>
#include <switchyard/train/optimizer.hpp>
#include <switchyard/train/schedule.hpp>

namespace switchyard::train {

/// How a model is trained. A plain aggregate for designated initializers.
struct trainer_config {
  std::int64_t batch = 0;         ///< sequences of a step, on all ranks
  std::int64_t micro_batches = 1; ///< passes that a step is made in; must divide the batch
  std::int64_t source_length = 0; ///< tokens; 0 without an encoder
  std::int64_t target_length = 0;
  optimizer_config optimizer{};
  train::schedule schedule{};
  double clip = 1;        ///< largest norm of the gradients, 0 for none
  double auxiliary = 1;   ///< factor of the Switch layers' own losses; 0 for fine-tuning
  std::uint64_t seed = 0; ///< of the initial weights
};

/// What a run is at, beside weights and the optimizer's state: with the three of them it goes on as if it had never
/// stopped. Random draws follow from `step`.
struct trainer_state {
  std::int64_t step = 0;     ///< steps done
  std::int64_t updates = 0;  ///< of them, those that changed the weights
  std::int64_t skipped = 0;  ///< of them, those whose gradients were not finite
  std::int64_t position = 0; ///< number of the next example
  std::int64_t tokens = 0;   ///< targets seen
};

/// What one step did.
struct step_report {
  std::int64_t step = 0;    ///< from 1
  double loss = 0;          ///< cross-entropy + z-term + auxiliary losses, what the gradients are of
  double cross_entropy = 0; ///< per target, in nats
  double auxiliary = 0;
  double accuracy = 0;
  double targets = 0;
  double dropped_fraction = 0;
  double learning_rate = 0;
  double gradient_norm = 0;            ///< before clipping
  bool skipped = false;                ///< a gradient was NaN or infinite: weights and optimizer are as before
  std::vector<router::summary> layers; ///< of the last pass
  double read_seconds = 0, forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0;
};

namespace detail {
/// The optimizer of a model, which on some meshes shares matrices.
template <class Model>
struct optimizer_of {
  using exec = typename Model::execution_space;
  using gradients = typename Model::gradients_type;
  using real = typename decltype(gradients::embedding)::non_const_value_type;
  using type =
      optimizer<exec, gradients,
                std::conditional_t<Model::layout::weights_split, shared_adafactor<exec, real>, whole_matrices>>;
};
} // namespace detail

/// Trains a model: weights, gradients, optimizer, and the order of a step,
///
///   for each pass of the step: forward, backward (gradients += of loss / targets of the whole step)
///   norm of all gradients, clip (a step with NaN or infinite gradients is skipped and counted), update, pack
///
/// Model is a transformer. On a mesh every rank calls the same members, with its part of each batch; all that is
/// reported is the same on every rank. After the first step nothing is allocated in Kokkos' memory. Draws of dropout
/// and jitter are keyed by (step, pass): without them, a step in k passes has the same gradients as one in one pass, up
/// to rounding.
template <class Model>
class trainer {
 public:
  using exec_type = typename Model::execution_space;
  using space = typename Model::space;
  using weights_type = typename Model::weights_type;
  using gradients_type = typename Model::gradients_type;

  /// Makes and initializes everything. Throws invalid_argument for a configuration that cannot be. On a mesh
  /// collective; comm: all its ranks.
  trainer(const exec_type& exec, const Model& model, const trainer_config& config)
      : exec_(exec), model_(model), config_((check(config, model), config)), comm_(model.mesh().world()),
        weights_(model_.init(exec, seed{config.seed})), gradients_(model_.zeros(exec)),
        packed_(model_.pack(exec, weights_)),
        tape_(model_.make_tape(exec, pass_size(), config.source_length, config.target_length)),
        optimizer_(
            config.optimizer, [&] { return model_.zeros(exec); }, sharing()),
        norm_(gradients_, [this](const std::string& name, const auto& view) { return this->place(name, view); }) {
    const part here = sequences_here();
    source_ = tokens("source", here.count, config.source_length);
    target_ = tokens("target", here.count, config.target_length);
    sequence_loss_ = decltype(sequence_loss_)("switchyard::train::sequence_loss", static_cast<std::size_t>(here.count));
    host_loss_ = Kokkos::create_mirror_view(sequence_loss_);
  }

  const Model& model() const { return model_; }
  const trainer_config& config() const { return config_; }
  const trainer_state& state() const { return state_; }
  const weights_type& weights() const { return weights_; }
  const gradients_type& gradients() const { return gradients_; } ///< of the last step, not clipped
  const typename Model::packed_type& packed() const { return packed_; }
  const communicator& comm() const { return comm_; }
  /// Slots in use of every expert of each Switch layer in the last pass. Waits; makes vectors.
  std::vector<std::vector<std::int64_t>> expert_loads() const { return model_.expert_loads(exec_, tape_); }

  /// Which sequences of a batch are this rank's.
  batch_part examples_here() const {
    const part here = sequences_here();
    return {config_.batch, config_.micro_batches, here.begin, here.count};
  }

  /// One step on a batch of examples_here(). Collective on a mesh. Throws invalid_argument for a batch of other
  /// extents, on a mesh disagreement on every rank.
  step_report step(const token_batch& batch) {
    run_in_agreement(comm_, [&] { check(batch); });
    step_report r;
    r.step = state_.step + 1;
    r.learning_rate = config_.schedule(r.step);
    r.targets = targets_of_all_ranks(batch);
    const double passes = static_cast<double>(config_.micro_batches), normalizer = std::max(r.targets, 1.0);
    for (std::int64_t pass = 0; pass < config_.micro_batches; ++pass) {
      Kokkos::Timer timer;
      const model_summary s = forward(batch, pass, true);
      r.forward_seconds += timer.seconds();
      const double share = s.targets / normalizer;
      r.cross_entropy += share * s.cross_entropy;
      r.loss += share * (s.cross_entropy + model_.config().z_loss * s.z);
      r.accuracy += share * s.accuracy;
      r.auxiliary += config_.auxiliary * s.auxiliary / passes;
      r.dropped_fraction += s.dropped_fraction / passes;
      r.layers = s.layers;
      timer.reset();
      model_.backward(exec_, packed_, tape_, gradients_,
                      {.accumulate = pass > 0, .normalizer = normalizer, .auxiliary = config_.auxiliary / passes});
      exec_.fence("switchyard: the backward is timed");
      r.backward_seconds += timer.seconds();
    }
    r.loss += r.auxiliary;
    const Kokkos::Timer timer;
    update(r);
    r.optimizer_seconds = timer.seconds();
    state_.step = r.step;
    state_.position = batch.position + config_.batch;
    state_.tokens += static_cast<std::int64_t>(r.targets);
    return r;
  }

  /// The same on the next batch of a reader, which stands at state().position. Throws what reading threw, on every rank
  /// alike.
  template <tokenizer Tokenizer>
  step_report step(batches<Tokenizer>& from) {
    const Kokkos::Timer timer;
    const token_batch* batch = nullptr;
    run_in_agreement(comm_, [&] { batch = &from.next(); });
    const double seconds = timer.seconds();
    step_report r = step(*batch);
    r.read_seconds = seconds;
    return r;
  }

  /// The loss on `count` held-out examples, every `every`-th from number `first` on; count 0: on all of these. Without
  /// dropout and jitter, with the capacity factor of evaluation. Collective on a mesh; every rank reads its part.
  /// Throws what reading throws, on every rank alike.
  template <tokenizer Tokenizer>
  evaluation evaluate(const example_maker<Tokenizer>& maker, std::int64_t first = 0, std::int64_t count = 0,
                      std::int64_t every = 1);

  /// f(name, slice, view) for all that must be kept of this rank, always in the same order: weights by their names,
  /// then what the optimizer keeps as "optimizer.first.<parameter>" and so on. Views may be written to while a run is
  /// resumed, before resume().
  template <class F>
  void for_each_state(const F& f) const;

  /// From now on every pass of step() asks a teacher (train/distillation.hpp) first and learns from it; nullptr: from
  /// the targets alone, as evaluate() always is. The loss that steps report is then that of both.
  void
  learn_from(std::function<void(const typename Model::tokens_view& source, const typename Model::tokens_view& target,
                                const transformer_config&, typename Model::tape_type&)>
                 teacher) {
    teacher_ = std::move(teacher);
  }

  /// Goes on from this state, with the weights and the optimizer's state that are there now.
  void resume(const trainer_state& state) {
    state_ = state;
    model_.pack(exec_, weights_, packed_);
  }

 private:
  using tokens_view = model::matrix<std::int32_t, space>;
  static void check(const trainer_config& c, const Model& model);
  void check(const token_batch& batch) const;
  std::int64_t pass_size() const { return config_.batch / config_.micro_batches; }
  part sequences_here() const { return model_.sequences_here(pass_size()); }
  using optimizer_type = typename detail::optimizer_of<Model>::type;
  auto sharing() const {
    if constexpr (Model::layout::weights_split)
      return detail::shared_adafactor<exec_type, typename detail::optimizer_of<Model>::real>(model_, gradients_);
    else
      return detail::whole_matrices();
  }
  std::map<std::string, parameter_slice> slices() const;
  template <class View>
  parameter_place place(const std::string& name, const View& view);
  static tokens_view tokens(const char* what, std::int64_t sequences, std::int64_t length) {
    return tokens_view(std::string("switchyard::train::") + what, static_cast<std::size_t>(sequences),
                       static_cast<std::size_t>(length));
  }
  double targets_of_all_ranks(const token_batch& batch) {
    const part here = sequences_here();
    list_.assign(static_cast<std::size_t>(config_.batch), 0.0);
    for (std::int64_t pass = 0; pass < config_.micro_batches; ++pass)
      for (std::int64_t i = 0; i < here.count; ++i)
        list_[static_cast<std::size_t>(pass * pass_size() + here.begin + i)] =
            static_cast<double>(batch.sequences[static_cast<std::size_t>(pass * here.count + i)].targets);
    detail::fill_over_ranks(comm_, list_.data(), list_.size(), gathered_);
    double sum = 0; // exact
    for (const double targets : list_) sum += targets;
    return sum;
  }

  /// The forward of pass number `pass` of a batch.
  model_summary forward(const token_batch& batch, std::int64_t pass, bool training) {
    const Kokkos::Profiling::ScopedRegion region("switchyard::trainer::forward");
    const part here = sequences_here();
    const auto copy = [&](const token_batch::tokens_view& from, const tokens_view& to) {
      if (to.size() == 0) return;
      const std::pair rows(static_cast<std::size_t>(pass * here.count),
                           static_cast<std::size_t>((pass + 1) * here.count));
      Kokkos::deep_copy(exec_, to, Kokkos::subview(from, rows, Kokkos::ALL));
    };
    copy(batch.source, source_);
    copy(batch.target, target_);
    forget_teacher(tape_);
    if (training && teacher_) teacher_(source_, target_, model_.config(), tape_);
    const auto draw = static_cast<std::uint32_t>(state_.step * config_.micro_batches + pass);
    model_.forward(exec_, packed_, source_, target_, tape_, {.training = training, .step = draw});
    return model_.summary(exec_, tape_);
  }

  void update(step_report& r) {
    const Kokkos::Profiling::ScopedRegion region("switchyard::trainer::optimizer");
    model_.reduce_gradients(exec_, tape_, gradients_);
    const gradient_norm norm = norm_(exec_, comm_, gradients_, config_.clip);
    r.gradient_norm = norm.norm;
    r.skipped = !norm.finite;
    if (r.skipped) {
      ++state_.skipped;
      return;
    }
    ++state_.updates;
    optimizer_.update(exec_, {state_.updates, r.learning_rate, norm.scale}, weights_, gradients_);
    model_.pack(exec_, weights_, packed_);
    exec_.fence("switchyard: the update is timed");
  }

  exec_type exec_;
  Model model_;
  trainer_config config_;
  communicator comm_;
  weights_type weights_;
  gradients_type gradients_;
  typename Model::packed_type packed_;
  typename Model::tape_type tape_;
  optimizer_type optimizer_;
  norm_of_gradients<exec_type, gradients_type> norm_;
  tokens_view source_, target_; // [sequences here of a pass, length]
  model::vector<double, space> sequence_loss_;
  typename model::vector<double, space>::host_mirror_type host_loss_;
  std::vector<double> list_, gathered_; // of numbers that ranks tell each other
  std::function<void(const typename Model::tokens_view&, const typename Model::tokens_view&, const transformer_config&,
                     typename Model::tape_type&)>
      teacher_;
  trainer_state state_;
};

} // namespace switchyard::train

#include <switchyard/train/detail/trainer_impl.hpp>

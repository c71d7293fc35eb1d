// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/transformer_tape.hpp>

namespace switchyard {

/// How one forward pass of a model runs.
struct model_forward_options {
  bool training = true;   ///< dropout, jitter and sampling act; capacity_factor, not eval_capacity_factor
  std::uint32_t step = 0; ///< keys the random draws
};

/// Which loss the gradients are of: scale * (loss / normalizer + auxiliary * sum or mean of the auxiliary losses).
struct model_backward_options {
  bool accumulate = false; ///< gradients += instead of =
  double scale = 1;
  double normalizer = 0; ///< 0: the number of targets of this pass; for accumulated gradients, that of all passes
  double auxiliary = 1;  ///< 0 turns the auxiliary losses off
};

/// Losses and metrics of one pass.
struct model_summary {
  double loss = 0;          ///< cross_entropy + z_loss * z + auxiliary, what the gradients are of
  double cross_entropy = 0; ///< per target, in nats
  double z = 0;             ///< mean of lse^2 over the targets, without coefficient
  double auxiliary = 0;     ///< sum or mean over Switch layers of sum of coefficient * loss
  double targets = 0;
  double accuracy = 0;                 ///< of the targets, those that no other token outscores
  double dropped_fraction = 0;         ///< mean over the Switch layers
  std::vector<router::summary> layers; ///< of each Switch layer, encoder first
};

/// The Switch Transformer (Fedus, Zoph, Shazeer, JMLR 23, 2022): a T5 encoder-decoder, or its decoder alone, some of
/// whose FFNs are Switch layers.
///
///   x_0 = D ∘ E[token],  x_{i+1} = x_i + D ∘ sublayer_i(RMSNorm(x_i)),  h = D ∘ RMSNorm(x_L)
///   encoder block: self-attention, FFN        decoder block: causal self-attention, cross-attention to h, FFN
///   logits = s h E^T, or h W^T where not tied;  loss = cross-entropy + z-term + auxiliary losses
///
/// The decoder reads the targets shifted to the right, beginning with the padding token.
///
///   Exec, P      as for switch_layer
///   Mesh, Rules  one process, for now
///
/// Order of a step: init once; pack after every update; forward; backward. Work is queued on the instance and nothing
/// is fenced. Same build, same input, any number of threads: the same bytes.
template <class Exec, precision P = selective<bfloat16>, class Mesh = mesh<>, class Rules = rules<>>
class transformer {
  static_assert(Mesh::rank == 0, "switchyard: a transformer runs on one process for now; leave Mesh and Rules at their "
                                 "defaults");

 public:
  using execution_space = Exec;
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using acc = accumulate_t<value>;
  using weights_type = transformer_parameters<typename P::weight_type, space>;
  using gradients_type = transformer_parameters<typename P::gradient_type, space>;
  using packed_type = model::transformer_packed<Exec, P>;
  using tape_type = model::transformer_tape<Exec, P>;
  using tokens_view = model::matrix<const std::int32_t, space>; // [batch, length]

  /// Throws invalid_argument for a configuration that cannot be, error where Kokkos is not running.
  explicit transformer(const transformer_config& config);

  const transformer_config& config() const { return config_; }

  /// Initial weights; each depends on the seed and on its own name. Allocates.
  weights_type init(const Exec& exec, seed s) const;
  /// Gradients, all zero. Allocates.
  gradients_type zeros(const Exec&) const { return gradients_type(config_); }

  /// weights -> packed, allocating it.
  packed_type pack(const Exec& exec, const weights_type& w) const;
  /// The same into an existing one; allocates nothing.
  void pack(const Exec& exec, const weights_type& w, packed_type& to) const;

  /// Memory for passes over `batch` sequences of these lengths; source_length is ignored without an encoder.
  /// Allocates all that forward and backward need. Throws invalid_argument for extents that cannot be.
  tape_type make_tape(const Exec& exec, std::int64_t batch, std::int64_t source_length,
                      std::int64_t target_length) const;

  /// source, target [batch, length] of token numbers -> the losses, in the tape. Padding, and numbers that are no
  /// tokens, are not attended to, not routed and not targets. Allocates nothing, does not communicate. Throws
  /// invalid_argument where extents do not fit the tape.
  void forward(const Exec& exec, const packed_type& packed, const tokens_view& source, const tokens_view& target,
               tape_type& tape, const model_forward_options& options = {}) const;
  /// The same without an encoder.
  void forward(const Exec& exec, const packed_type& packed, const tokens_view& target, tape_type& tape,
               const model_forward_options& options = {}) const {
    forward(exec, packed, tokens_view(), target, tape, options);
  }

  /// Gradients (=|+=) of the last forward's loss. Wants its packed weights; may be called again.
  void backward(const Exec& exec, const packed_type& packed, tape_type& tape, const gradients_type& gradients,
                const model_backward_options& options = {}) const;

  /// Losses and metrics of the last forward. Waits for exec.
  model_summary summary(const Exec& exec, const tape_type& tape) const;

 private:
  using stack_tape = model::stack_tape<Exec, P>;
  using stack_packed = model::stack_packed<Exec, P>;
  using stack_weights = stack_parameters<typename P::weight_type, space>;
  using stack_gradients = stack_parameters<typename P::gradient_type, space>;
  struct pass; // what one forward hands from sublayer to sublayer

  void pack_stack(const Exec& exec, const stack_weights& w, stack_packed& to, bool fresh) const;
  stack_tape make_stack_tape(const Exec& exec, std::int64_t batch, std::int64_t length, std::int64_t memory_length,
                             bool decoder) const;
  void forward_stack(const Exec& exec, const packed_type& packed, const stack_packed& weights,
                     const model::matrix<value, space>& memory, const model::matrix<const float, space>& memory_mask,
                     stack_tape& t, pass& now) const;
  void backward_stack(const Exec& exec, const stack_packed& weights, const model::matrix<value, space>& d_result,
                      const model::matrix<value, space>& d_memory, stack_tape& t, const stack_gradients& gradients,
                      const model_backward_options& options) const;
  model::cross_entropy_settings loss_settings() const {
    return {config_.z_loss, config_.tied ? 1 / std::sqrt(static_cast<double>(config_.d_model)) : 1.0,
            config_.pad_token};
  }
  const model::ffn_layer<Exec, P>& ffn(bool sparse) const { return sparse ? sparse_ffn_ : dense_ffn_; }

  transformer_config config_;
  model::attention_layer<Exec, P> self_, cross_;
  model::ffn_layer<Exec, P> dense_ffn_, sparse_ffn_;
};

} // namespace switchyard

#include <switchyard/model/detail/transformer_impl.hpp>

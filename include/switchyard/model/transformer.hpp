// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/phase.hpp>
#include <switchyard/model/detail/agree_on_config.hpp>
#include <switchyard/model/layout.hpp>
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
  double normalizer = 0; ///< 0: the targets of this pass, of all ranks; for accumulated gradients, those of all passes
  double auxiliary = 1;  ///< 0 turns the auxiliary losses off
};

/// Losses and metrics of one pass, over the batch of all ranks.
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

/// Bytes per axis of the mesh and collective.
template <std::size_t Axes>
struct model_traffic {
  typename layer_traffic<Axes>::pass forward{}, backward{}, reduce{};
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
///   Mesh, Rules  what is split over which axis (model/layout.hpp), mesh<> for one process
///
/// Order of a step: init once; pack after every update; forward; backward; on a mesh, after the last of the backwards
/// that add up, reduce_gradients. Work is queued on the instance and nothing is fenced but before it is sent. Same
/// build, same input, any number of threads: the same bytes.
///
/// Layouts change where, never what: losses and metrics have the same bytes under every layout, and so have the
/// gradients of experts that lie on one rank alone; other gradients differ by the rounding of a sum in another order.
template <class Exec, precision P = selective<bfloat16>, class Mesh = mesh<>, class Rules = rules<>>
class transformer {
  using ffn_type = model::ffn_layer<Exec, P, Mesh, Rules>;

 public:
  using layout = transformer_layout<Mesh, Rules>;
  using execution_space = Exec;
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using acc = accumulate_t<value>;
  using weights_type = transformer_parameters<typename P::weight_type, space>;
  using gradients_type = transformer_parameters<typename P::gradient_type, space>;
  using packed_type = model::transformer_packed<Exec, P, ffn_type>;
  using tape_type = model::transformer_tape<Exec, P, ffn_type>;
  using tokens_view = model::matrix<const std::int32_t, space>; // [sequences here, length]

  /// Throws invalid_argument for a configuration that cannot be or that the mesh cannot cut (heads, d_ff and vocabulary
  /// must divide), error where Kokkos is not running, and disagreement where the ranks of a mesh were given different
  /// configurations: on every rank alike. On a mesh collective.
  transformer(const Mesh& mesh, const transformer_config& config);
  explicit transformer(const transformer_config& config) requires(Mesh::rank == 0) : transformer(Mesh(), config) {}

  const transformer_config& config() const { return config_; }
  const Mesh& mesh() const { return mesh_; }

  /// Of a batch, the sequences that are here: whole routing groups, their number uneven where they do not divide.
  part sequences_here(std::int64_t batch) const {
    const std::int64_t each = config_.sequences_per_group;
    const part groups = layout::groups_within(mesh_, batch / each);
    return {groups.begin * each, groups.count * each};
  }
  /// The experts of every Switch layer whose weights are here.
  part experts_here() const {
    return sparse_ffn_.is_sparse() ? sparse_ffn_.sparse().experts_here() : part{0, config_.routing.experts};
  }
  /// What is here of experts, heads, d_ff and the vocabulary.
  model_parts parts_here() const { return layout::parts_here(mesh_, config_); }
  /// As for_each_parameter, with where the part here lies: f(name, slice, view of the first set, ...). Local.
  template <class F, class... Set>
  void for_each_parameter_slice(const F& f, const Set&... set) const;

  /// Initial weights; each depends on the seed and on its own name, not on the layout. Allocates. On a mesh collective:
  /// throws disagreement on every rank where the seeds differ.
  weights_type init(const Exec& exec, seed s) const;
  /// Gradients, all zero. Allocates.
  gradients_type zeros(const Exec&) const { return gradients_type(config_, parts_here()); }

  /// weights -> packed, allocating it.
  packed_type pack(const Exec& exec, const weights_type& w) const;
  /// The same into an existing one; allocates nothing.
  void pack(const Exec& exec, const weights_type& w, packed_type& to) const;

  /// Memory for passes over `batch` sequences (of all ranks) of these lengths; source_length is ignored without an
  /// encoder. Allocates all that forward and backward need (but see switch_layer::make_tape). Throws invalid_argument
  /// for extents that cannot be. On a mesh collective: throws disagreement on every rank where the extents differ.
  tape_type make_tape(const Exec& exec, std::int64_t batch, std::int64_t source_length,
                      std::int64_t target_length) const;

  /// source, target [sequences here, length] of token numbers -> the losses, in the tape. Padding, and numbers that are
  /// no tokens, are not attended to, not routed and not targets. Allocates nothing. Communicates what the Switch layers
  /// do (switch_layer::forward); over each axis that splits the batch an all-gather of 32 bytes per sequence; where
  /// ranks share weights, an all-reduce of [tokens, M] per attention (heads), per dense FFN (d_ff) and per embedding
  /// (vocab), and of the loss an all-gather of three numbers per target (vocab).
  /// Throws invalid_argument where extents do not fit the tape; on a mesh of several ranks that is a failure of this
  /// rank alone, which ends the job (mesh/phase.hpp): phases "read", "loss", "attention", "ffn", "vocabulary", and
  /// those of the layers.
  void forward(const Exec& exec, const packed_type& packed, const tokens_view& source, const tokens_view& target,
               tape_type& tape, const model_forward_options& options = {}) const;
  /// The same without an encoder.
  void forward(const Exec& exec, const packed_type& packed, const tokens_view& target, tape_type& tape,
               const model_forward_options& options = {}) const {
    forward(exec, packed, tokens_view(), target, tape, options);
  }

  /// Gradients (=|+=) of the last forward's loss. Wants its packed weights; may be called again. On a mesh they are
  /// this rank's part of sums, which reduce_gradients completes: one sum over ranks for any number of accumulated
  /// passes. Communicates what the Switch layers' exchanges do, and where ranks share weights an all-reduce of [tokens,
  /// M] per attention and one of the encoder's result (heads), per dense FFN (d_ff) and of the loss (vocab).
  void backward(const Exec& exec, const packed_type& packed, tape_type& tape, const gradients_type& gradients,
                const model_backward_options& options = {}) const;

  /// gradients (=) their sums over the ranks that split the batch, of all that is replicated there; complete ones,
  /// those of experts that lie on one rank, stay as they are. Call it once, on every rank, after the backwards of a
  /// step. Over each such axis all-reduces of up to tape.reduced elements, in the gradient type, in rank order: the
  /// same bytes on each rank. Nothing on one process. Allocates nothing; waits for exec; phase "reduce".
  void reduce_gradients(const Exec& exec, const tape_type& tape, const gradients_type& gradients) const;

  /// Losses and metrics of the last forward, the same on every rank. Waits for exec. On a mesh collective: over each
  /// axis that splits the batch an all-gather of 8 bytes per Switch layer, and over that of d_ff where experts are
  /// split: its ranks have columns of the experts' outputs, and the largest of their counts of bad ones is taken.
  model_summary summary(const Exec& exec, const tape_type& tape) const;

  /// Slots in use of every expert of each Switch layer, encoder first, in the last forward of all ranks. Waits for
  /// exec; makes vectors.
  std::vector<std::vector<std::int64_t>> expert_loads(const Exec& exec, const tape_type& tape) const;

  /// Bytes that this rank sends to others in a forward, a backward and a reduce_gradients over this tape, per axis and
  /// collective; as switch_layer::traffic where layers are dropless. Does not communicate.
  model_traffic<Mesh::rank> traffic(const tape_type& tape, bool training = true) const;

 private:
  using stack_tape = model::stack_tape<Exec, P, ffn_type>;
  using stack_packed = model::stack_packed<Exec, P, ffn_type>;
  using stack_weights = stack_parameters<typename P::weight_type, space>;
  using stack_gradients = stack_parameters<typename P::gradient_type, space>;
  struct pass; // what one forward hands from sublayer to sublayer

  void pack_stack(const Exec& exec, const stack_weights& w, stack_packed& to, bool fresh) const;
  stack_tape make_stack_tape(const Exec& exec, std::int64_t batch, std::int64_t length, std::int64_t memory_length,
                             bool decoder) const;
  void make_shared(tape_type& tape, std::int64_t batch) const;
  std::array<std::int64_t, 2> summed_elements() const;
  template <class F>
  void for_each_summed(const gradients_type& gradients, const F& f) const;
  void embed(const Exec& exec, const packed_type& packed, const stack_tape& t) const;
  void find_loss(const Exec& exec, const packed_type& packed, const tape_type& tape) const;
  void add_sums_of_rows(const tape_type& tape, model_traffic<Mesh::rank>& all) const;
  void gather_nonfinite(model_summary& summary, std::size_t axis, bool sum) const;

  /// The configuration of the part here: fewer heads, a narrower hidden layer, a smaller vocabulary.
  transformer_config config_here() const {
    const model_parts here = parts_here();
    transformer_config c = config_;
    c.heads = here.heads.count;
    c.d_ff = here.d_ff.count;
    c.vocabulary = here.vocabulary.count;
    return c;
  }
  /// The sum of a stack's rows over the ranks of an axis that split weights.
  template <bool Split>
  auto over([[maybe_unused]] const stack_tape& t, [[maybe_unused]] std::size_t axis,
            [[maybe_unused]] const char* phase) const {
    if constexpr (Split)
      return model::row_sum<value, space>(t.sums, mesh_.world(), mesh_.along(axis), phase);
    else
      return model::no_sum();
  }
  auto over_heads(const stack_tape& t) const {
    return over<layout::heads_split>(t, layout::heads_axis_index, "attention");
  }
  auto over_d_ff(const stack_tape& t) const { return over<layout::d_ff_split>(t, layout::d_ff_axis_index, "ffn"); }
  auto over_vocabulary(const stack_tape& t) const {
    return over<layout::vocab_split>(t, layout::vocab_axis_index, "vocabulary");
  }
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
  const ffn_type& ffn(bool sparse) const { return sparse ? sparse_ffn_ : dense_ffn_; }
  /// Runs body as a phase of all ranks; where there is one, nobody waits and nothing ends.
  template <class Body>
  void in_phase(const char* name, const Body& body) const {
    if (Mesh::rank == 0 || mesh_.world().size() == 1)
      body();
    else
      run_phase(mesh_.world(), name, body);
  }
  /// f(layer's tape) for every Switch layer, encoder first.
  template <class F>
  void for_each_sparse(const tape_type& tape, const F& f) const {
    for (const auto* stack : {&tape.encoder, &tape.decoder})
      for (std::size_t i = 0; i < stack->blocks.size(); ++i)
        if (config_.is_sparse(static_cast<std::int64_t>(i), static_cast<std::int64_t>(stack->blocks.size())))
          f(stack->blocks[i].ffn.sparse);
  }

  Mesh mesh_;
  transformer_config config_;
  model::attention_layer<Exec, P> self_, cross_;
  ffn_type dense_ffn_, sparse_ffn_;
};

} // namespace switchyard

#include <switchyard/model/detail/transformer_impl.hpp>
#include <switchyard/model/detail/transformer_sums_impl.hpp>
#include <switchyard/model/detail/transformer_traffic_impl.hpp>

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/transformer.hpp>

// The way of the data, one sublayer after another. Definitions of transformer's members.

namespace switchyard {

/// Random draws of one forward: sublayers are numbered in the order in which they run.
template <class E, precision P, class M, class R>
struct transformer<E, P, M, R>::pass {
  const transformer_config& config;
  const model_forward_options& options;
  std::uint16_t number = 0;

  /// Of a tensor whose part here begins at element `first`.
  model::dropout<acc> drop(std::int64_t first, stream what = stream::dropout) const {
    return {options.training ? static_cast<acc>(config.dropout) : acc(0),
            generator(seed{config.seed}, what, options.step, number), first};
  }
};

namespace detail {

/// The configuration, once all ranks have the same and it can be.
template <class Layout, class Mesh>
const transformer_config& checked(const Mesh& mesh, const transformer_config& c) {
  if (!Kokkos::is_initialized())
    throw error("Kokkos is not running; make models after Kokkos::initialize and let go of them before finalize");
  if constexpr (Mesh::rank > 0) agree_on_config(mesh.world(), c);
  validate(c);
  if constexpr (Mesh::rank > 0) Layout::check(mesh, c);
  return c;
}

} // namespace detail

template <class E, precision P, class M, class R>
transformer<E, P, M, R>::transformer(const M& mesh, const transformer_config& config)
    : mesh_(mesh), config_(detail::checked<layout>(mesh, config)), self_(config_here(), false),
      cross_(config_here(), true), dense_ffn_(mesh, config, false),
      sparse_ffn_(mesh, config, config.sparse != sparse_pattern::none) {}

template <class E, precision P, class M, class R>
auto transformer<E, P, M, R>::init(const E& exec, seed s) const -> weights_type {
  if constexpr (M::rank > 0) agree_on(mesh_.world(), {{"seed", s.value}});
  weights_type w(config_, parts_here());
  initialize(exec, config_, parts_here(), s, w);
  return w;
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::pack_stack(const E& exec, const stack_weights& w, stack_packed& to, bool fresh) const {
  if (w.blocks.empty()) return;
  const auto layers = static_cast<std::int64_t>(w.blocks.size());
  if (fresh) {
    to.blocks.resize(w.blocks.size());
    to.relative_bias = decltype(to.relative_bias)("switchyard::model::relative_bias", w.relative_bias.extent(0),
                                                  w.relative_bias.extent(1));
    to.norm = decltype(to.norm)("switchyard::model::norm", w.norm.extent(0));
  }
  model::convert(exec, w.relative_bias, to.relative_bias);
  model::convert(exec, w.norm, to.norm);
  const auto put = [&](const auto& layer, const auto& weights, auto& packed) {
    if (fresh)
      packed = layer.pack(exec, weights);
    else
      layer.pack(exec, weights, packed);
  };
  for (std::size_t i = 0; i < w.blocks.size(); ++i) {
    put(self_, w.blocks[i].self, to.blocks[i].self);
    if (w.blocks[i].cross.q.data() != nullptr) put(cross_, w.blocks[i].cross, to.blocks[i].cross);
    put(ffn(config_.is_sparse(static_cast<std::int64_t>(i), layers)), w.blocks[i].ffn, to.blocks[i].ffn);
  }
}

template <class E, precision P, class M, class R>
auto transformer<E, P, M, R>::pack(const E& exec, const weights_type& w) const -> packed_type {
  using engine = gemm::default_engine<E, value>;
  const std::int64_t tokens = parts_here().vocabulary.count;
  packed_type to;
  to.embedding = detail::make_raw<decltype(to.embedding)>("switchyard::model::embedding", tokens, config_.d_model);
  to.head = model::make_packed_linear<engine, E, value>(exec, config_.d_model, {tokens});
  pack_stack(exec, w.encoder, to.encoder, true);
  pack_stack(exec, w.decoder, to.decoder, true);
  model::convert(exec, w.embedding, to.embedding);
  model::pack_head(exec, config_.tied ? w.embedding : w.head, to.head);
  return to;
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::pack(const E& exec, const weights_type& w, packed_type& to) const {
  model::convert(exec, w.embedding, to.embedding);
  model::pack_head(exec, config_.tied ? w.embedding : w.head, to.head);
  pack_stack(exec, w.encoder, to.encoder, false);
  pack_stack(exec, w.decoder, to.decoder, false);
}

template <class E, precision P, class M, class R>
auto transformer<E, P, M, R>::make_stack_tape(const E& exec, std::int64_t batch, std::int64_t length,
                                              std::int64_t memory_length, bool decoder) const -> stack_tape {
  const std::int64_t layers = decoder ? config_.decoder_layers : config_.encoder_layers;
  const part here = sequences_here(batch);
  const std::int64_t rows = here.count * length, m = config_.d_model, distances = length > 0 ? 2 * length - 1 : 0;
  const auto matrix = [&](const char* what) {
    return detail::make_raw<model::matrix<value, space>>(std::string("switchyard::model::") + what, rows, m);
  };
  const bool cross = decoder && config_.has_encoder();
  const transformer_config own = config_here();
  const std::int64_t first_head = parts_here().heads.begin;
  stack_tape t;
  t.batch = here.count;
  t.length = length;
  t.first = here.begin;
  t.rows = model::one_group<space>(rows);
  t.tokens = detail::make_raw<decltype(t.tokens)>("switchyard::model::tokens", rows);
  t.mask = detail::make_raw<decltype(t.mask)>("switchyard::model::mask", here.count, length);
  t.bias = detail::make_raw<decltype(t.bias)>("switchyard::model::bias", own.heads, distances);
  t.bucket = model::make_buckets<space>(config_.positions(!decoder), length, length);
  t.inverse = detail::make_raw<decltype(t.inverse)>("switchyard::model::inverse", rows);
  t.result = matrix("result");
  t.d = matrix("d");
  t.scratch = {own, here.count, length, memory_length};
  if constexpr (layout::weights_split) {
    std::int64_t ranks = 1;
    for (const std::size_t axis : {layout::heads_axis_index, layout::d_ff_axis_index, layout::vocab_axis_index})
      if (axis != M::rank) ranks = std::max(ranks, mesh_.extent(axis));
    if (ranks > 1) t.sums = {rows * m, ranks, mesh_.world()};
  }
  t.stream.push_back(matrix("stream"));
  const model::one_group<space> memory_rows(here.count * memory_length);
  for (std::int64_t i = 0; i < layers; ++i) {
    model::block_tape<E, P, ffn_type> b;
    const auto attends = [&](std::int64_t keys, bool causal) {
      return model::attention_shape{here.count, length, keys,       own.heads,    own.d_kv,
                                    causal,     0,      first_head, config_.heads};
    };
    b.self = self_.make_tape(exec, attends(length, decoder), t.rows, {});
    if (cross) b.cross = cross_.make_tape(exec, attends(memory_length, false), t.rows, memory_rows);
    b.ffn = ffn(config_.is_sparse(i, layers)).make_tape(exec, here, batch, length);
    for (int s = cross ? 3 : 2; s > 0; --s) t.stream.push_back(matrix("stream"));
    t.blocks.push_back(std::move(b));
  }
  return t;
}

template <class E, precision P, class M, class R>
auto transformer<E, P, M, R>::make_tape(const E& exec, std::int64_t batch, std::int64_t source_length,
                                        std::int64_t target_length) const -> tape_type {
  using detail::require;
  const std::int64_t source = config_.has_encoder() ? source_length : 0;
  if constexpr (M::rank > 0)
    agree_on(mesh_.world(), {{"batch", batch}, {"source_length", source}, {"target_length", target_length}});
  require(batch >= 0 && batch % config_.sequences_per_group == 0, "batch = ", batch,
          ": must be a multiple of sequences_per_group = ", config_.sequences_per_group);
  for (const auto& [name, length] : {std::pair{"source_length", source}, {"target_length", target_length}})
    require(length >= 0 && batch * length < (std::int64_t{1} << 31), name, " = ", length, ", batch = ", batch,
            ": lengths must be at least 0, and tokens fewer than 2^31");
  const part here = sequences_here(batch);
  tape_type t;
  if (config_.has_encoder()) {
    t.encoder = make_stack_tape(exec, batch, source, 0, false);
    t.d_memory = detail::make_raw<model::matrix<value, space>>("switchyard::model::d_memory", here.count * source,
                                                               config_.d_model);
  }
  t.decoder = make_stack_tape(exec, batch, target_length, source, true);
  t.targets = detail::make_raw<decltype(t.targets)>("switchyard::model::targets", here.count * target_length);
  const part tokens = parts_here().vocabulary;
  t.loss = {here.count * target_length,
            tokens.count,
            model::loss_blocks{target_length, here.count, here.begin, batch},
            512,
            tokens.begin,
            config_.vocabulary};
  if constexpr (layout::vocab_split)
    if (const std::int64_t ranks = mesh_.extent(layout::vocab_axis_index); ranks > 1)
      t.row_parts = {here.count * target_length, mesh_.along(layout::vocab_axis_index)};
  if constexpr (layout::groups_split) make_shared(t, batch);
  return t;
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::forward(const E& exec, const packed_type& packed, const tokens_view& source,
                                      const tokens_view& target, tape_type& t,
                                      const model_forward_options& options) const {
  Kokkos::Profiling::ScopedRegion region("switchyard::transformer::forward");
  const auto check = [](const char* name, const tokens_view& v, const stack_tape& s) {
    detail::require(static_cast<std::int64_t>(v.extent(0)) == s.batch &&
                        static_cast<std::int64_t>(v.extent(1)) == s.length,
                    name, " [", v.extent(0), ", ", v.extent(1), "]: must be [", s.batch, ", ", s.length,
                    "], sequences here and length of the tape; make the tape to fit");
  };
  in_phase("read", [&] {
    if (config_.has_encoder()) check("source", source, t.encoder);
    check("target", target, t.decoder);
  });
  const auto read = [&](const tokens_view& from, bool shifted, const stack_tape& s,
                        const model::vector<std::int32_t, space>& targets) {
    for_each_index("switchyard::model::read_tokens", exec, s.rows.count,
                   model::detail::read_tokens_kernel<space>{from, shifted, config_.pad_token, config_.vocabulary,
                                                            s.tokens, targets, s.mask});
  };
  pass now{config_, options};
  if (config_.has_encoder()) {
    read(source, false, t.encoder, {});
    forward_stack(exec, packed, packed.encoder, {}, {}, t.encoder, now);
  }
  read(target, true, t.decoder, t.targets);
  forward_stack(exec, packed, packed.decoder, t.encoder.result, t.encoder.mask, t.decoder, now);
  find_loss(exec, packed, t);
  if constexpr (layout::groups_split)
    in_phase("loss", [&] {
      for (const auto& shared : t.loss_sums)
        all_gather(exec, mesh_.along(shared.axis), shared.rows, shared.counts, model::detail::loss_terms);
    });
  model::sum_loss(exec, t.loss);
  t.forward_done = true;
}

/// The loss of the rows here. Where ranks share the vocabulary, each tells the others of its logits.
template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::find_loss(const E& exec, const packed_type& packed, const tape_type& t) const {
  const auto settings = loss_settings();
  if constexpr (layout::vocab_split) {
    const communicator& along = mesh_.along(layout::vocab_axis_index);
    if (along.size() > 1) {
      model::shared_cross_entropy(exec, settings, t.decoder.result, packed.head, t.targets, t.loss, t.row_parts,
                                  along.rank());
      in_phase("loss",
               [&] { all_gather(exec, along, t.row_parts.parts, t.row_parts.counts, model::detail::row_parts); });
      model::join_cross_entropy(exec, settings, t.targets, t.loss, t.row_parts);
      return;
    }
  }
  model::cross_entropy_here(exec, settings, t.decoder.result, packed.head, t.targets, t.loss);
}

/// The rows of a stack's tokens. Where ranks share the vocabulary, one of them has a token's row, the others zeros.
template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::embed(const E& exec, const packed_type& packed, const stack_tape& t) const {
  const auto& x = t.stream[0];
  if constexpr (layout::vocab_split) {
    if (const auto sum = over_vocabulary(t); sum.active()) {
      const auto rows = model::place_of(sum, x);
      model::embed(exec, packed.embedding, t.tokens, model::dropout<acc>{}, rows, parts_here().vocabulary.begin);
      model::sum_over(exec, sum, rows);
      if (t.embedding_drop.rate > 0)
        model::apply_dropout(exec, rows, t.embedding_drop, x);
      else
        Kokkos::deep_copy(exec, x, rows);
      return;
    }
  }
  model::embed(exec, packed.embedding, t.tokens, t.embedding_drop, x);
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::forward_stack(const E& exec, const packed_type& packed, const stack_packed& weights,
                                            const model::matrix<value, space>& memory,
                                            const model::matrix<const float, space>& memory_mask, stack_tape& t,
                                            pass& now) const {
  model::relative_bias(exec, weights.relative_bias, t.bucket, t.bias);
  const std::int64_t first = t.first * t.length * config_.d_model; // element of the stream
  t.embedding_drop = now.drop(first);
  ++now.number;
  embed(exec, packed, t);
  const std::int64_t groups = t.batch / config_.sequences_per_group;
  const Kokkos::View<const float**, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged> routed(
      t.mask.data(), static_cast<std::size_t>(groups),
      static_cast<std::size_t>(t.length * config_.sequences_per_group));

  std::size_t at = 0; // in the residual stream
  const auto attend = [&](const auto& layer, const auto& of, const auto& to, const auto& mask, auto& tape,
                          bool biased) {
    tape.options = {};
    tape.options.mask = mask;
    if (biased) tape.options.bias = t.bias;
    if (biased) tape.options.bucket = t.bucket;
    const auto& scores = tape.shape; // element 0 of the first sequence here, of all heads
    tape.options.drop = now.drop(t.first * scores.all_heads * scores.queries * scores.keys, stream::attention_dropout);
    tape.drop = now.drop(first);
    ++now.number;
    layer.forward(exec, of, t.stream[at], to, t.stream[at + 1], tape, over_heads(t));
    ++at;
  };
  for (std::size_t i = 0; i < t.blocks.size(); ++i) {
    auto& block = t.blocks[i];
    attend(self_, weights.blocks[i].self, memory, t.mask, block.self, true);
    if (block.cross.shape.heads > 0) attend(cross_, weights.blocks[i].cross, memory, memory_mask, block.cross, false);
    block.ffn.drop = now.drop(first);
    forward_options<space> options;
    options.training = now.options.training;
    options.step = now.options.step;
    options.layer = now.number;
    options.mask = routed;
    ++now.number;
    ffn(config_.is_sparse(static_cast<std::int64_t>(i), static_cast<std::int64_t>(t.blocks.size())))
        .forward(exec, weights.blocks[i].ffn, t.stream[at], t.stream[at + 1], block.ffn, t.scratch, options,
                 over_d_ff(t));
    ++at;
  }
  t.result_drop = now.drop(first);
  ++now.number;
  model::rms_norm(exec, t.stream[at], weights.norm, config_.norm_epsilon, t.result, t.inverse);
  if (t.result_drop.rate > 0) model::apply_dropout(exec, t.result, t.result_drop, t.result);
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::backward(const E& exec, const packed_type& packed, tape_type& t,
                                       const gradients_type& gradients, const model_backward_options& options) const {
  Kokkos::Profiling::ScopedRegion region("switchyard::transformer::backward");
  detail::require(t.forward_done, "backward(tape): no forward has filled this tape; call forward with it first");
  // What several parts add to is written by the first of them: the head, the embedding of the decoder, ...
  const auto& head = config_.tied ? gradients.embedding : gradients.head;
  const auto sum = over_vocabulary(t.decoder);
  const auto d_result = model::place_of(sum, t.decoder.scratch.d_normed);
  model::cross_entropy_backward(exec, loss_settings(), {options.scale, options.normalizer}, t.decoder.result,
                                packed.head, t.targets, t.loss, d_result, head, options.accumulate);
  model::sum_over(exec, sum, d_result);
  const auto embedded = [&](const stack_tape& s, bool accumulate) {
    model::embed_backward(exec, s.tokens, s.d, s.embedding_drop, gradients.embedding, accumulate,
                          parts_here().vocabulary.begin);
  };
  backward_stack(exec, packed.decoder, d_result, t.d_memory, t.decoder, gradients.decoder, options);
  embedded(t.decoder, options.accumulate || config_.tied);
  if (!config_.has_encoder()) return;
  model::sum_over(exec, over_heads(t.encoder), t.d_memory);
  backward_stack(exec, packed.encoder, t.d_memory, {}, t.encoder, gradients.encoder, options);
  embedded(t.encoder, true);
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::backward_stack(const E& exec, const stack_packed& weights,
                                             const model::matrix<value, space>& d_result,
                                             const model::matrix<value, space>& d_memory, stack_tape& t,
                                             const stack_gradients& gradients,
                                             const model_backward_options& options) const {
  const bool accumulate = options.accumulate;
  const auto layers = static_cast<std::int64_t>(t.blocks.size());
  if (t.result_drop.rate > 0) model::apply_dropout(exec, d_result, t.result_drop, d_result);
  // The stream's gradient begins with that of the last norm.
  model::rms_norm_backward(exec, t.stream.back(), weights.norm, t.inverse, d_result, t.d, false, gradients.norm,
                           accumulate, t.scratch.norm);
  const double mean = config_.auxiliary == auxiliary_reduction::mean && config_.sparse_layers() > 0
                          ? 1 / static_cast<double>(config_.sparse_layers())
                          : 1.0;
  for (std::int64_t i = layers - 1; i >= 0; --i) {
    auto& block = t.blocks[static_cast<std::size_t>(i)];
    const auto& to = gradients.blocks[static_cast<std::size_t>(i)];
    const auto& of = weights.blocks[static_cast<std::size_t>(i)];
    const bool first = i == layers - 1; // to add to what all layers share
    ffn(config_.is_sparse(i, layers))
        .backward(exec, of.ffn, t.d, block.ffn, t.scratch, to.ffn, accumulate, options.scale * options.auxiliary * mean,
                  over_d_ff(t));
    if (block.cross.shape.heads > 0)
      cross_.backward(exec, of.cross, t.d, d_memory, !first, block.cross, t.scratch, to.cross, accumulate,
                      gradients.relative_bias, false, over_heads(t));
    self_.backward(exec, of.self, t.d, {}, false, block.self, t.scratch, to.self, accumulate, gradients.relative_bias,
                   accumulate || !first, over_heads(t));
  }
}

} // namespace switchyard

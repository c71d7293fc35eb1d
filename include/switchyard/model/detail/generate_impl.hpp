// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/generate.hpp>

// One step of decoding after another. Definitions of text_generator's members.

namespace switchyard {

template <class E, precision P>
text_generator<E, P>::text_generator(const E& exec, const transformer_config& config, std::int64_t batch,
                                     std::int64_t source_length, std::int64_t max_length)
    : config_(undropped(config)), model_(config_), batch_(batch),
      source_length_(config.has_encoder() ? source_length : 0), max_length_(max_length), dense_ffn_(config_, false),
      sparse_ffn_(config_, config.sparse != sparse_pattern::none) {
  using detail::make_raw;
  detail::require(max_length >= 1, "max_length = ", max_length, ": must be at least 1");
  detail::require(config.sparse == sparse_pattern::none || config.routing.routing != routing_policy::expert_choice,
                  "routing = expert_choice: its experts choose among all tokens of a group, of which decoding knows "
                  "the first ones; train with another routing");
  const std::int64_t m = config_.d_model, wide = config_.d_heads();
  const auto mat = [](const char* what, std::int64_t rows, std::int64_t columns) {
    return make_raw<model::matrix<value, space>>(std::string("switchyard::model::") + what, rows, columns);
  };
  encoding_ = model_.make_tape(exec, batch, source_length_, 1);
  rows_ = model::one_group<space>(batch);
  memory_rows_ = model::one_group<space>(batch * source_length_);
  for (std::size_t i = 0; i < static_cast<std::size_t>(config_.decoder_layers); ++i) {
    layer_state s;
    s.cache = mat("cache", batch * max_length, 2 * wide);
    if (config_.has_encoder()) s.memory = mat("memory", batch * source_length_, 2 * wide);
    s.ffn = ffn(i).make_tape(exec, batch, 1);
    layers_.push_back(std::move(s));
  }
  x_ = mat("x", batch, m);
  y_ = mat("y", batch, m);
  normed_ = mat("normed", batch, m);
  query_ = mat("query", batch, wide);
  heads_ = mat("heads", batch, wide);
  inverse_ = make_raw<decltype(inverse_)>("switchyard::model::inverse", batch);
  lse_ = make_raw<decltype(lse_)>("switchyard::model::lse", batch, config_.heads, 1);
  bucket_ = model::make_buckets<space>(config_.positions(false), 1, max_length, max_length - 1);
  bias_ = make_raw<decltype(bias_)>("switchyard::model::bias", config_.heads * max_length);
  logits_ = make_raw<decltype(logits_)>("switchyard::model::logits", batch, config_.vocabulary);
  token_ = make_raw<decltype(token_)>("switchyard::model::token", batch);
  ended_ = make_raw<decltype(ended_)>("switchyard::model::ended", batch);
  running_ = make_raw<decltype(running_)>("switchyard::model::running", 1);
  result_ = make_raw<result_view>("switchyard::model::result", batch, max_length);
  scratch_ = {config_, batch, 1, 0};
  for (const std::int64_t keys : {max_length, source_length_})
    model::reserve_attention<value>(exec, {batch, 1, keys, config_.heads, config_.d_kv, false, 0});
}

template <class E, precision P>
auto text_generator<E, P>::generate(const E& exec, const packed_type& packed, const tokens_view& source,
                                    const tokens_view& prompt, const generation_options& options) -> result_view {
  Kokkos::Profiling::ScopedRegion region("switchyard::text_generator::generate");
  detail::require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature = ", options.temperature,
                  ": must be finite and at least 0");
  detail::require(prompt.size() == 0 || (static_cast<std::int64_t>(prompt.extent(0)) == batch_ &&
                                         static_cast<std::int64_t>(prompt.extent(1)) <= max_length_),
                  "prompt [", prompt.extent(0), ", ", prompt.extent(1), "]: must be [", batch_, ", at most ",
                  max_length_, "]");
  Kokkos::deep_copy(exec, result_, config_.pad_token);
  Kokkos::deep_copy(exec, token_, config_.pad_token);
  Kokkos::deep_copy(exec, ended_, 0);
  if (config_.has_encoder()) {
    const model::matrix<std::int32_t, space> nothing(result_.data(), static_cast<std::size_t>(batch_), 1); // padding
    model_.forward(exec, packed, source, nothing, encoding_, {false, 0});
    project_memory(exec, packed);
  }
  for (std::int64_t t = 0; t < max_length_; ++t) {
    step(exec, packed, t);
    const generator draw(seed{options.seed}, stream::gumbel, static_cast<std::uint32_t>(t), 0xffff);
    for_each_index(
        "switchyard::model::choose_token", exec, batch_,
        model::detail::choose_token_kernel<acc, space>{logits_, prompt, t, static_cast<acc>(options.temperature), draw,
                                                       options.end_token, config_.pad_token, token_, ended_, result_});
    for_each_index("switchyard::model::count_running", exec, 1,
                   model::detail::count_running_kernel<space>{ended_, running_});
    std::int32_t running = 0;
    Kokkos::deep_copy(exec, Kokkos::View<std::int32_t*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(&running, 1),
                      running_);
    exec.fence("switchyard: the number of sequences that go on is read on the host");
    if (running == 0) break;
  }
  return result_;
}

/// Keys and values of the encoder's result, of every layer.
template <class E, precision P>
void text_generator<E, P>::project_memory(const E& exec, const packed_type& packed) {
  using engine = gemm::default_engine<E, value>;
  const std::int64_t wide = config_.d_heads();
  for (std::size_t i = 0; i < layers_.size(); ++i)
    for (std::size_t which = 0; which < 2; ++which)
      model::linear<engine>(exec, memory_rows_, encoding_.encoder.result,
                            packed.decoder.blocks[i].cross.memory.forward[which],
                            model::columns_of(layers_[i].memory, static_cast<std::int64_t>(which) * wide, wide));
}

/// token_ at position t of the decoder's input -> logits_ of what follows.
template <class E, precision P>
void text_generator<E, P>::step(const E& exec, const packed_type& packed, std::int64_t t) {
  using engine = gemm::default_engine<E, value>;
  using heads_view = model::head_rows<value, space>;
  const std::int64_t wide = config_.d_heads(), in_cache = 2 * wide * max_length_, keys = t + 1;
  const auto& weights = packed.decoder;
  const auto from = static_cast<std::size_t>(max_length_ - keys);
  const model::matrix<acc, space> bias(bias_.data(), static_cast<std::size_t>(config_.heads),
                                       static_cast<std::size_t>(keys));
  model::relative_bias(exec, weights.relative_bias,
                       Kokkos::subview(bucket_, Kokkos::pair<std::size_t, std::size_t>(from, bucket_.extent(0))), bias);
  model::embed(exec, packed.embedding, token_, model::dropout<acc>{}, x_);
  const auto attend = [&](const auto& of, std::int64_t key_count, const heads_view& k, const heads_view& v,
                          const model::attention_options<acc, space>& how) {
    model::attention<value>(exec, {batch_, 1, key_count, config_.heads, config_.d_kv, false, 0}, heads_view(query_, 1),
                            k, v, how, heads_view(heads_, 1), lse_);
    model::linear_residual<engine>(exec, rows_, heads_, of.out.forward[0], x_, model::dropout<acc>{}, x_);
  };
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto& block = weights.blocks[i];
    auto& layer = layers_[i];
    model::rms_norm(exec, x_, block.self.norm, config_.norm_epsilon, normed_, inverse_);
    model::linear<engine>(exec, rows_, normed_, block.self.in.forward[0], query_);
    for (std::int64_t which = 0; which < 2; ++which) { // row t of every sequence in the cache
      const model::columns<value, space> here(layer.cache.data() + t * 2 * wide + which * wide,
                                              Kokkos::LayoutStride(static_cast<std::size_t>(batch_),
                                                                   static_cast<std::size_t>(in_cache),
                                                                   static_cast<std::size_t>(wide), 1));
      model::linear<engine>(exec, rows_, normed_, block.self.in.forward[static_cast<std::size_t>(which + 1)], here);
    }
    model::attention_options<acc, space> biased;
    biased.bias = bias;
    attend(block.self, keys, heads_view(layer.cache.data(), in_cache, 2 * wide),
           heads_view(layer.cache.data() + wide, in_cache, 2 * wide), biased);
    if (config_.has_encoder()) {
      model::attention_options<acc, space> masked;
      masked.mask = encoding_.encoder.mask;
      model::rms_norm(exec, x_, block.cross.norm, config_.norm_epsilon, normed_, inverse_);
      model::linear<engine>(exec, rows_, normed_, block.cross.in.forward[0], query_);
      attend(block.cross, source_length_, heads_view(model::columns_of(layer.memory, 0, wide), source_length_),
             heads_view(model::columns_of(layer.memory, wide, wide), source_length_), masked);
    }
    forward_options<space> evaluation;
    evaluation.training = false;
    layer.ffn.drop = {};
    ffn(i).forward(exec, block.ffn, x_, y_, layer.ffn, scratch_, evaluation);
    std::swap(x_, y_);
  }
  model::rms_norm(exec, x_, weights.norm, config_.norm_epsilon, normed_, inverse_);
  const double scale = config_.tied ? 1 / std::sqrt(static_cast<double>(config_.d_model)) : 1.0;
  model::detail::logits_of<engine, value>(exec, scale, rows_, normed_, packed.head, logits_);
}

} // namespace switchyard

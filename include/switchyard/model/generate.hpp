// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/detail/generate_kernels.hpp>
#include <switchyard/model/transformer.hpp>

/// \file
/// Decoding with a cache of keys and values, one token of every sequence per step:
///
///   token_t = argmax_v z_v                      temperature 0, ties to the lowest token
///   token_t ~ softmax(z / temperature)          argmax of z / temperature + Gumbel noise, keyed by (seed, t, sequence,
///   v)
///
/// The keys and values of step t are written into the cache where attention reads them; those of the encoder's result
/// are made once. Nothing is dropped by capacity: what a sequence gets does not depend on those beside it.

namespace switchyard {

struct generation_options {
  double temperature = 0;     ///< 0: greedy
  std::int32_t end_token = 1; ///< after it, or after the padding token, a sequence is padding
  std::uint64_t seed = 0;     ///< of the draws
};

/// Writes text with a trained model. Owns the memory of a batch; one call at a time.
template <class Exec, precision P = selective<bfloat16>>
class text_generator {
 public:
  using model_type = transformer<Exec, P>;
  using space = typename model_type::space;
  using value = typename model_type::value;
  using acc = typename model_type::acc;
  using packed_type = typename model_type::packed_type;
  using tokens_view = typename model_type::tokens_view;
  using result_view = model::matrix<std::int32_t, space>;

  /// For up to `max_length` tokens of each of `batch` sequences. Allocates all memory. Throws invalid_argument for
  /// extents that cannot be, and for expert choice: experts that choose among tokens cannot wait for those to come.
  text_generator(const Exec& exec, const transformer_config& config, std::int64_t batch, std::int64_t source_length,
                 std::int64_t max_length);

  /// source [batch, source_length] (nothing without an encoder) -> tokens [batch, max_length], which begin with
  /// `prompt` [batch, any] where there is one. The view is this generator's and holds until the next call. Waits for
  /// exec at every step, to stop where all sequences have ended. Does not communicate; deterministic.
  result_view generate(const Exec& exec, const packed_type& packed, const tokens_view& source,
                       const tokens_view& prompt = {}, const generation_options& options = {});

 private:
  struct layer_state {
    model::matrix<value, space> cache;  // [batch * max_length, 2 H D] k, v
    model::matrix<value, space> memory; // [batch * source_length, 2 H D] k, v
    typename model::ffn_layer<Exec, P>::tape_type ffn;
  };
  /// Decoding takes every token to its expert.
  static transformer_config undropped(transformer_config c) {
    c.routing.dropless = true;
    c.sequences_per_group = 1;
    return c;
  }
  void project_memory(const Exec& exec, const packed_type& packed);
  void step(const Exec& exec, const packed_type& packed, std::int64_t t);
  const model::ffn_layer<Exec, P>& ffn(std::size_t i) const {
    return config_.is_sparse(static_cast<std::int64_t>(i), config_.decoder_layers) ? sparse_ffn_ : dense_ffn_;
  }

  transformer_config config_;
  model_type model_;
  std::int64_t batch_, source_length_, max_length_;
  model::ffn_layer<Exec, P> dense_ffn_, sparse_ffn_;
  typename model_type::tape_type encoding_; // of a forward whose target is one token of padding
  std::vector<layer_state> layers_;
  model::one_group<space> rows_, memory_rows_;
  model::matrix<value, space> x_, y_, normed_, query_, heads_; // [batch, M] three times, [batch, H D] twice
  model::vector<acc, space> inverse_;                          // [batch]
  model::stack<acc, space> lse_;                               // [batch, H, 1]
  model::vector<std::int32_t, space> bucket_;                  // [max_length], of distances 1 - max_length to 0
  model::vector<acc, space> bias_;                             // [H, keys so far]
  model::matrix<acc, space> logits_;                           // [batch, V]
  model::vector<std::int32_t, space> token_, ended_, running_; // [batch] twice, [1]
  result_view result_;                                         // [batch, max_length]
  model::backward_scratch<Exec, P> scratch_;
};

} // namespace switchyard

#include <switchyard/model/detail/generate_impl.hpp>

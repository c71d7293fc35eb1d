// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/config.hpp>
#include <switchyard/layer/dense_layer.hpp>
#include <switchyard/model/relative_position.hpp>

namespace switchyard {

/// Which FFNs of a stack are Switch layers.
enum class sparse_pattern : std::uint8_t {
  none,      ///< a dense T5
  every_nth, ///< of n layers the last one: with n = 2 layers 1, 3, 5, ..., with n = 1 all of them
  last_n     ///< the last n layers of each stack
};

/// How the auxiliary losses of the Switch layers add up.
enum class auxiliary_reduction : std::uint8_t {
  sum, ///< Mesh TensorFlow
  mean ///< over the Switch layers; T5X
};

/// A T5 encoder-decoder or, without encoder layers, a decoder. A plain aggregate for designated initializers; the order
/// of the fields is part of the API. presets.hpp has the published sizes.
struct transformer_config {
  // sizes
  std::int64_t vocabulary = 384;   ///< 256 bytes, 3 special tokens, 125 sentinels: ByT5's
  std::int64_t d_model = 0;        ///< M
  std::int64_t d_ff = 0;           ///< F, of dense layers and of each expert
  std::int64_t heads = 0;          ///< H
  std::int64_t d_kv = 64;          ///< width of a head
  std::int64_t encoder_layers = 0; ///< 0: a decoder alone
  std::int64_t decoder_layers = 0;

  // FFN
  activation_kind activation = activation_kind::relu;
  bool gated = false; ///< hidden = act(x wi_gate) * (x wi)
  sparse_pattern sparse = sparse_pattern::every_nth;
  std::int64_t sparse_n = 2;
  switch_config routing{}; ///< of the Switch layers; its sizes but for `experts`, activation, init_scale and seed are
                           ///< set from the fields here
  std::int64_t sequences_per_group = 1; ///< routing groups are this many sequences; must divide the batch
  auxiliary_reduction auxiliary = auxiliary_reduction::sum;

  // positions and embedding
  int relative_buckets = 32;
  std::int64_t relative_max_distance = 128;
  bool tied = true;           ///< one matrix embeds and projects; logits are then scaled by 1 / sqrt(d_model) (T5)
  std::int32_t pad_token = 0; ///< not attended to, not routed, not a target; also what the decoder starts from

  // regularization, training only; expert dropout is routing.expert_dropout
  double dropout = 0; ///< of embeddings, probabilities of attention, hidden layers of dense FFNs, sublayers, results

  // numbers
  double z_loss = 1e-4; ///< coefficient of lse^2 of the output logits
  double norm_epsilon = 1e-6;
  double init_scale = 0.1; ///< s of the truncated normal with sigma = sqrt(s / fan_in)
  std::uint64_t seed = 0;  ///< of dropout, jitter and random policies

  bool has_encoder() const { return encoder_layers > 0; }
  std::int64_t d_heads() const { return heads * d_kv; }
  /// Is the FFN of layer `i` of `layers` a Switch layer?
  bool is_sparse(std::int64_t i, std::int64_t layers) const {
    switch (sparse) {
    case sparse_pattern::every_nth:
      return i % sparse_n == sparse_n - 1;
    case sparse_pattern::last_n:
      return i >= layers - sparse_n;
    default:
      return false;
    }
  }
  std::int64_t sparse_layers() const {
    std::int64_t count = 0;
    for (const std::int64_t layers : {encoder_layers, decoder_layers})
      for (std::int64_t i = 0; i < layers; ++i) count += is_sparse(i, layers) ? 1 : 0;
    return count;
  }

  switch_config switch_layers() const {
    switch_config c = routing;
    c.d_model = d_model;
    c.d_ff = d_ff;
    c.activation = activation;
    c.gated = gated;
    c.bias = false;
    c.init_scale = init_scale;
    c.seed = seed;
    return c;
  }
  dense_config dense_layers() const { return {d_model, d_ff, activation, gated, dropout, init_scale, seed}; }
  model::relative_position positions(bool bidirectional) const {
    return {relative_buckets, relative_max_distance, bidirectional};
  }
};

/// Throws invalid_argument, naming the field, its value, what is allowed and what to do.
inline void validate(const transformer_config& c) {
  using detail::require;
  const auto within = [](const char* name, std::int64_t value, std::int64_t least) {
    require(value >= least && value <= std::numeric_limits<std::int32_t>::max(), name, " = ", value,
            ": must be at least ", least, " and below 2^31; set it in transformer_config");
  };
  within("vocabulary", c.vocabulary, 2);
  within("d_model", c.d_model, 1);
  within("d_ff", c.d_ff, 1);
  within("heads", c.heads, 1);
  within("d_kv", c.d_kv, 1);
  within("encoder_layers", c.encoder_layers, 0);
  within("decoder_layers", c.decoder_layers, 1);
  within("sequences_per_group", c.sequences_per_group, 1);
  require(c.encoder_layers + c.decoder_layers <= 10000,
          "encoder_layers + decoder_layers = ", c.encoder_layers + c.decoder_layers,
          ": at most 10000, their random draws are numbered in 16 bits");
  if (c.sparse != sparse_pattern::none) {
    within("sparse_n", c.sparse_n, 1);
    require(c.sparse_layers() > 0, "sparse_n = ", c.sparse_n,
            ": no stack has that many layers; lower it, or set sparse "
            "= none");
    require(!c.routing.bias, "routing.bias = true: the linear maps of this model have no biases; set it to false");
    validate(c.switch_layers());
  }
  validate(c.positions(true));
  require(c.pad_token >= 0 && c.pad_token < c.vocabulary, "pad_token = ", c.pad_token, ": must be in [0, vocabulary), ",
          c.vocabulary, " tokens");
  require(c.dropout >= 0 && c.dropout < 1, "dropout = ", c.dropout, ": must be in [0, 1)");
  require(std::isfinite(c.z_loss) && c.z_loss >= 0, "z_loss = ", c.z_loss, ": must be finite and at least 0");
  require(std::isfinite(c.norm_epsilon) && c.norm_epsilon > 0, "norm_epsilon = ", c.norm_epsilon, ": must be above 0");
  require(std::isfinite(c.init_scale) && c.init_scale > 0, "init_scale = ", c.init_scale, ": must be above 0");
}

/// Numbers that the model learns.
inline std::int64_t parameter_count(const transformer_config& c) {
  const std::int64_t m = c.d_model, attention = m + 4 * m * c.d_heads(), ffn = (c.gated ? 3 : 2) * m * c.d_ff;
  const auto stack = [&](std::int64_t layers, int attentions) {
    std::int64_t sum = layers > 0 ? c.relative_buckets * c.heads + m : 0; // positions and the last norm
    for (std::int64_t i = 0; i < layers; ++i)
      sum +=
          attentions * attention + m + (c.is_sparse(i, layers) ? m * c.routing.experts + c.routing.experts * ffn : ffn);
    return sum;
  };
  return (c.tied ? 1 : 2) * c.vocabulary * m + stack(c.encoder_layers, 1) +
         stack(c.decoder_layers, c.has_encoder() ? 2 : 1);
}

} // namespace switchyard

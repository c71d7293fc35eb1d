// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/config.hpp>

/// \file
/// The sizes of the paper's table 9 (d_model, d_ff, heads, layers per stack, experts, how often a layer is sparse) with
/// T5's vocabulary of 32128 pieces and tied embeddings, which its parameter counts imply, and small ones for small
/// machines. The table gives Switch-XXL 64 experts, but 395 billion parameters need 128, which its released checkpoint
/// has.

namespace switchyard::presets {

namespace detail {
inline transformer_config t5(std::int64_t d_model, std::int64_t d_ff, std::int64_t heads, std::int64_t layers,
                             std::int64_t experts = 0, std::int64_t sparse_n = 2) {
  transformer_config c;
  c.vocabulary = 32128;
  c.d_model = d_model;
  c.d_ff = d_ff;
  c.heads = heads;
  c.encoder_layers = c.decoder_layers = layers;
  c.activation = activation_kind::gelu_tanh;
  c.gated = true;
  c.sparse = experts > 0 ? sparse_pattern::every_nth : sparse_pattern::none;
  c.sparse_n = sparse_n;
  c.routing.experts = experts;
  return c;
}
} // namespace detail

inline transformer_config t5_base() {
  return detail::t5(768, 2048, 12, 12);
}
inline transformer_config t5_large() {
  return detail::t5(1024, 2816, 16, 24);
}
inline transformer_config t5_xxl() {
  return detail::t5(4096, 10240, 64, 24);
}
inline transformer_config switch_base(std::int64_t experts = 128) {
  return detail::t5(768, 2048, 12, 12, experts);
}
inline transformer_config switch_large() {
  return detail::t5(1024, 2816, 16, 24, 128);
}
inline transformer_config switch_xxl() {
  return detail::t5(4096, 10240, 64, 24, 128);
}
inline transformer_config switch_c() {
  transformer_config c = detail::t5(2080, 6144, 32, 15, 2048, 1);
  c.gated = false;
  c.activation = activation_kind::relu;
  return c;
}

/// A byte-level encoder-decoder that trains within a minute on one core.
inline transformer_config switch_tiny(std::int64_t experts = 4) {
  transformer_config c;
  c.d_model = 64;
  c.d_ff = 128;
  c.heads = 4;
  c.d_kv = 16;
  c.encoder_layers = c.decoder_layers = 2;
  c.sparse = experts > 0 ? sparse_pattern::every_nth : sparse_pattern::none;
  c.routing.experts = experts;
  return c;
}
/// The dense model of the same work per token.
inline transformer_config t5_tiny() {
  return switch_tiny(0);
}

/// A byte-level encoder-decoder for a few minutes on a few cores.
inline transformer_config switch_small(std::int64_t experts = 8) {
  transformer_config c = switch_tiny(experts);
  c.d_model = 128;
  c.d_ff = 512;
  c.d_kv = 32;
  c.encoder_layers = c.decoder_layers = 4;
  return c;
}
inline transformer_config t5_small() {
  return switch_small(0);
}

/// The decoder of switch_small alone.
inline transformer_config switch_small_decoder(std::int64_t experts = 8) {
  transformer_config c = switch_small(experts);
  c.encoder_layers = 0;
  return c;
}

} // namespace switchyard::presets

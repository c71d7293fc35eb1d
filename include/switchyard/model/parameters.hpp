// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string>
#include <switchyard/model/config.hpp>

/// \file
/// The parameters of a transformer and their names: weights as stored, gradients, and whatever an optimizer keeps
/// beside them are sets of the same shape. Views share ownership; a copy of a set is the same parameters.
///
///   embedding                                [vocabulary, M]
///   head                                     [vocabulary, M]                   where not tied
///   {encoder,decoder}.relative_bias          [buckets, H]                      shared by the layers of the stack
///   {encoder,decoder}.I.{self,cross}_attention.{norm,q,k,v,o}
///                                            [M], [M, H D] three times, [H D, M]
///   {encoder,decoder}.I.ffn.norm             [M]
///   {encoder,decoder}.I.ffn.{wi,wi_gate,wo}  [M, F], the same, [F, M]; Switch: [E, M, F], the same, [E, F, M]
///   {encoder,decoder}.I.ffn.router           [M, E]                            Switch
///   {encoder,decoder}.norm                   [M]

namespace switchyard {

template <class T, class Space>
struct attention_parameters {
  model::vector<T, Space> norm;
  model::matrix<T, Space> q, k, v, o;
};

template <class T, class Space>
struct ffn_parameters {
  model::vector<T, Space> norm;
  dense_parameters<T, Space> dense;   // one of the two
  switch_parameters<T, Space> sparse; // is empty
};

template <class T, class Space>
struct block_parameters {
  attention_parameters<T, Space> self, cross; // cross: decoders of an encoder only
  ffn_parameters<T, Space> ffn;
};

template <class T, class Space>
struct stack_parameters {
  model::matrix<T, Space> relative_bias;
  std::vector<block_parameters<T, Space>> blocks;
  model::vector<T, Space> norm;
};

template <class T, class Space>
struct transformer_parameters {
  model::matrix<T, Space> embedding, head;
  stack_parameters<T, Space> encoder, decoder;

  transformer_parameters() = default;
  /// Zeros, of these experts of each Switch layer. Allocates.
  transformer_parameters(const transformer_config& c, part experts);
  /// The same with all experts.
  explicit transformer_parameters(const transformer_config& c)
      : transformer_parameters(c, part{0, c.routing.experts}) {}
};

namespace detail {

template <class F, class View, class... More>
void visit_parameter(const F& f, const std::string& name, const View& first, const More&... more) {
  // Absent parameters are views of nothing. Experts of whom none is here are still matrices.
  if (first.extent(View::rank - 1) > 0) f(name, first, more...);
}

template <class F, class... Set>
void visit_attention(const F& f, const std::string& name, const Set&... set) {
  visit_parameter(f, name + "norm", set.norm...);
  visit_parameter(f, name + "q", set.q...);
  visit_parameter(f, name + "k", set.k...);
  visit_parameter(f, name + "v", set.v...);
  visit_parameter(f, name + "o", set.o...);
}

template <class F, class... Set>
void visit_ffn(const F& f, const std::string& name, const Set&... set) {
  visit_parameter(f, name + "norm", set.norm...);
  visit_parameter(f, name + "router", set.sparse.router...);
  visit_parameter(f, name + "wi", set.sparse.wi...);
  visit_parameter(f, name + "wi_gate", set.sparse.wi_gate...);
  visit_parameter(f, name + "wo", set.sparse.wo...);
  visit_parameter(f, name + "wi", set.dense.wi...);
  visit_parameter(f, name + "wi_gate", set.dense.wi_gate...);
  visit_parameter(f, name + "wo", set.dense.wo...);
}

template <class F, class First, class... More>
void visit_stack(const F& f, const std::string& name, const First& first, const More&... more) {
  visit_parameter(f, name + "relative_bias", first.relative_bias, more.relative_bias...);
  for (std::size_t i = 0; i < first.blocks.size(); ++i) {
    const std::string here = name + std::to_string(i) + ".";
    visit_attention(f, here + "self_attention.", first.blocks[i].self, more.blocks[i].self...);
    visit_attention(f, here + "cross_attention.", first.blocks[i].cross, more.blocks[i].cross...);
    visit_ffn(f, here + "ffn.", first.blocks[i].ffn, more.blocks[i].ffn...);
  }
  visit_parameter(f, name + "norm", first.norm, more.norm...);
}

} // namespace detail

/// f(name, view of the first set, view of the second, ...) for every parameter, always in the same order. Sets of
/// different number types may be walked together: weights, gradients and the state of an optimizer. Views have rank 1,
/// 2 or 3, so f is generic.
template <class F, class... Set>
void for_each_parameter(const F& f, const Set&... set) {
  detail::visit_parameter(f, "embedding", set.embedding...);
  detail::visit_parameter(f, "head", set.head...);
  detail::visit_stack(f, "encoder.", set.encoder...);
  detail::visit_stack(f, "decoder.", set.decoder...);
}

template <class T, class Space>
transformer_parameters<T, Space>::transformer_parameters(const transformer_config& c, part experts) {
  using vector = model::vector<T, Space>;
  using matrix = model::matrix<T, Space>;
  const std::int64_t m = c.d_model, wide = c.d_heads();
  const auto vec = [](const char* what, std::int64_t n) {
    return detail::make_zeros<vector>(std::string("switchyard::") + what, n);
  };
  const auto mat = [](const char* what, std::int64_t rows, std::int64_t columns) {
    return detail::make_zeros<matrix>(std::string("switchyard::") + what, rows, columns);
  };
  const auto attention = [&] {
    return attention_parameters<T, Space>{vec("norm", m), mat("q", m, wide), mat("k", m, wide), mat("v", m, wide),
                                          mat("o", wide, m)};
  };
  const auto stack = [&](std::int64_t layers, bool cross) {
    stack_parameters<T, Space> s;
    if (layers == 0) return s;
    s.relative_bias = mat("relative_bias", c.relative_buckets, c.heads);
    s.norm = vec("norm", m);
    for (std::int64_t i = 0; i < layers; ++i) {
      block_parameters<T, Space> b;
      b.self = attention();
      if (cross) b.cross = attention();
      b.ffn.norm = vec("norm", m);
      if (c.is_sparse(i, layers))
        b.ffn.sparse = switch_parameters<T, Space>(c.switch_layers(), experts);
      else
        b.ffn.dense = dense_parameters<T, Space>(c.dense_layers());
      s.blocks.push_back(b);
    }
    return s;
  };
  embedding = mat("embedding", c.vocabulary, m);
  if (!c.tied) head = mat("head", c.vocabulary, m);
  encoder = stack(c.encoder_layers, false);
  decoder = stack(c.decoder_layers, c.has_encoder());
}

/// The seed of one parameter: its draws depend on its name alone, not on what else the model has, so that a dense and a
/// Switch model of one seed begin with the same attention.
inline seed seed_of(seed s, const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325u ^ s.value; // FNV-1a, then mixed as in SplitMix64
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return {hash ^ (hash >> 31)};
}

/// Truncated normal with sigma = sqrt(s / fan_in) (paper, section 2.4), cut at 2 sigma. fan_in is the number of rows of
/// a product's weight, times d_kv for q, which stands in for the division of scores by sqrt(d_kv) (T5); the embedding
/// has sigma 1 (T5), norms are 1. Keyed by name and global element: the same numbers under every layout. `experts` are
/// those that w has.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const transformer_config& c, part experts, seed s,
                const transformer_parameters<T, Space>& w) {
  for_each_parameter(
      [&](const std::string& name, const auto& view) {
        using View = std::decay_t<decltype(view)>;
        const auto ends = [&](const char* what) { return name.ends_with(what); };
        const std::int64_t first = View::rank == 3 ? experts.begin * c.d_model * c.d_ff : 0;
        const auto here = static_cast<std::int64_t>(view.size());
        const auto fill = [&](double scale, std::int64_t fan_in) {
          detail::fill_truncated_normal(exec, view, seed_of(s, name), stream::model_weights, scale, fan_in,
                                        {first, here, here});
        };
        if constexpr (View::rank == 1)
          Kokkos::deep_copy(exec, view, T(1.0f));
        else if (name == "embedding")
          fill(1, 1);
        else if (name == "head" || ends("relative_bias"))
          fill(c.init_scale, c.d_model);
        else
          fill(c.init_scale, static_cast<std::int64_t>(view.extent(View::rank - 2)) * (ends(".q") ? c.d_kv : 1));
      },
      w);
}
/// The same with all experts.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const transformer_config& c, seed s, const transformer_parameters<T, Space>& w) {
  initialize(exec, c, part{0, c.routing.experts}, s, w);
}

} // namespace switchyard

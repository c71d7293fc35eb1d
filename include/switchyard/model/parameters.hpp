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
///
/// Ranks of a mesh may share experts E, heads H, the hidden layer F and the vocabulary: each has a part (model_parts).

namespace switchyard {

/// The parts of a model's dimensions that a rank has.
struct model_parts {
  part experts, heads, d_ff, vocabulary;

  /// All of them.
  explicit model_parts(const transformer_config& c)
      : experts{0, c.routing.experts}, heads{0, c.heads}, d_ff{0, c.d_ff}, vocabulary{0, c.vocabulary} {}
};

/// Which elements of a parameter are here. Optimizers' norms count, and checkpoints write, what is `owned`.
struct parameter_slice {
  std::vector<std::int64_t> shape;          ///< of the whole parameter
  std::vector<std::int64_t> offset, extent; ///< of the part here, a box
  bool owned = true;                        ///< of all ranks that have this part, exactly one owns it
  int split_axis = -1; ///< number of the mesh axis whose ranks share the rows or columns of its matrices; -1: none
};

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
  /// Zeros, of these parts. Allocates.
  transformer_parameters(const transformer_config& c, const model_parts& here);
  /// The same of the whole model.
  explicit transformer_parameters(const transformer_config& c) : transformer_parameters(c, model_parts(c)) {}
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
transformer_parameters<T, Space>::transformer_parameters(const transformer_config& c, const model_parts& here) {
  using vector = model::vector<T, Space>;
  using matrix = model::matrix<T, Space>;
  const std::int64_t m = c.d_model, wide = here.heads.count * c.d_kv;
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
    s.relative_bias = mat("relative_bias", c.relative_buckets, here.heads.count);
    s.norm = vec("norm", m);
    for (std::int64_t i = 0; i < layers; ++i) {
      block_parameters<T, Space> b;
      b.self = attention();
      if (cross) b.cross = attention();
      b.ffn.norm = vec("norm", m);
      if (c.is_sparse(i, layers))
        b.ffn.sparse = switch_parameters<T, Space>(c.switch_layers(), here.experts, here.d_ff);
      else
        b.ffn.dense = dense_parameters<T, Space>(c.dense_layers(), here.d_ff);
      s.blocks.push_back(b);
    }
    return s;
  };
  embedding = mat("embedding", here.vocabulary.count, m);
  if (!c.tied) head = mat("head", here.vocabulary.count, m);
  encoder = stack(c.encoder_layers, false);
  decoder = stack(c.decoder_layers, c.has_encoder());
}

/// What splits the rows or columns of a parameter's matrices over ranks, where the rules of a mesh say so.
enum class weight_dimension : std::uint8_t { none, heads, d_ff, vocabulary };
inline weight_dimension split_dimension_of(const std::string& name, std::size_t rank) {
  const auto ends = [&](const char* what) { return name.ends_with(what); };
  if (rank == 1 || ends(".router")) return weight_dimension::none;
  if (name == "embedding" || name == "head") return weight_dimension::vocabulary;
  return name.find(".ffn.") != std::string::npos ? weight_dimension::d_ff : weight_dimension::heads;
}

/// Where the part here of the parameter `name`, whose views have that rank, lies in the whole.
inline parameter_slice slice_of(const transformer_config& c, const model_parts& here, const std::string& name,
                                std::size_t rank) {
  parameter_slice s;
  const auto dimension = [&s](std::int64_t whole, part in) {
    s.shape.push_back(whole);
    s.offset.push_back(in.begin);
    s.extent.push_back(in.count);
  };
  const auto whole = [&](std::int64_t n) { dimension(n, {0, n}); };
  const auto ends = [&](const char* what) { return name.ends_with(what); };
  const auto matrix = [&](std::int64_t other, std::int64_t n, part in, bool rows) { // [other, n], or [n, other]
    if (!rows) whole(other);
    dimension(n, in);
    if (rows) whole(other);
  };
  if (rank == 3) dimension(c.routing.experts, here.experts);
  if (rank == 1)
    whole(c.d_model);
  else if (ends(".router"))
    matrix(c.d_model, c.routing.experts, {0, c.routing.experts}, false);
  else if (ends("relative_bias"))
    matrix(c.relative_buckets, c.heads, here.heads, false);
  else
    switch (split_dimension_of(name, rank)) {
    case weight_dimension::vocabulary:
      matrix(c.d_model, c.vocabulary, here.vocabulary, true);
      break;
    case weight_dimension::d_ff:
      matrix(c.d_model, c.d_ff, here.d_ff, ends(".wo"));
      break;
    default:
      matrix(c.d_model, c.d_heads(), {here.heads.begin * c.d_kv, here.heads.count * c.d_kv}, ends(".o"));
    }
  return s;
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

namespace detail {
/// Where the elements of a box lie in the whole: of its dimensions the first one, and one more, may be parts.
inline element_numbers numbers_of(const parameter_slice& s) {
  std::size_t cut = 0; // the innermost dimension of which a part is here
  for (std::size_t d = 0; d < s.shape.size(); ++d)
    if (s.extent[d] != s.shape[d]) cut = d;
  element_numbers n{0, 1, 1};
  std::int64_t stride = 1;
  for (std::size_t d = s.shape.size(); d-- > 0;) {
    n.begin += s.offset[d] * stride;
    stride *= s.shape[d];
    if (d < cut) continue;
    n.here *= s.extent[d];
    n.whole *= s.shape[d];
  }
  return n;
}
} // namespace detail

/// Truncated normal with sigma = sqrt(s / fan_in) (paper, section 2.4), cut at 2 sigma. fan_in is the number of rows of
/// a product's weight, times d_kv for q, which stands in for the division of scores by sqrt(d_kv) (T5); the embedding
/// has sigma 1 (T5), norms are 1. Keyed by name and global element: the same numbers under every layout. `here` are the
/// parts that w has.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const transformer_config& c, const model_parts& here, seed s,
                const transformer_parameters<T, Space>& w) {
  for_each_parameter(
      [&](const std::string& name, const auto& view) {
        using View = std::decay_t<decltype(view)>;
        const auto ends = [&](const char* what) { return name.ends_with(what); };
        const parameter_slice slice = slice_of(c, here, name, View::rank);
        const auto fill = [&](double scale, std::int64_t fan_in) {
          detail::fill_truncated_normal(exec, view, seed_of(s, name), stream::model_weights, scale, fan_in,
                                        detail::numbers_of(slice));
        };
        if constexpr (View::rank == 1)
          Kokkos::deep_copy(exec, view, T(1.0f));
        else if (name == "embedding")
          fill(1, 1);
        else if (name == "head" || ends("relative_bias"))
          fill(c.init_scale, c.d_model);
        else
          fill(c.init_scale, slice.shape[View::rank - 2] * (ends(".q") ? c.d_kv : 1));
      },
      w);
}
/// The same of the whole model.
template <class Exec, class T, class Space>
void initialize(const Exec& exec, const transformer_config& c, seed s, const transformer_parameters<T, Space>& w) {
  initialize(exec, c, model_parts(c), s, w);
}

} // namespace switchyard

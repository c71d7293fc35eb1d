// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/collectives.hpp>
#include <switchyard/model/axis_sum.hpp>
#include <switchyard/model/embedding.hpp>
#include <switchyard/model/ffn_layer.hpp>
#include <switchyard/model/shared_cross_entropy.hpp>

/// \file
/// What a transformer keeps: weights as the products want them, and of a pass all that its backward needs. Ffn is the
/// ffn_layer of its mesh.

namespace switchyard::model {

template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct block_packed {
  typename attention_layer<Exec, P>::packed_type self, cross;
  typename Ffn::packed_type ffn;
};

template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct stack_packed {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<value_of<P>>;
  matrix<acc, space> relative_bias; // [buckets, H]
  std::vector<block_packed<Exec, P, Ffn>> blocks;
  vector<acc, space> norm; // [M]
};

/// Made by transformer::pack. Forward and backward take nothing else, so stale weights are a type error.
template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct transformer_packed {
  using space = typename Exec::memory_space;
  using value = value_of<P>;
  matrix<value, space> embedding; // [vocabulary here, M]
  packed_linear<gemm::default_engine<Exec, value>, Exec, value> head;
  stack_packed<Exec, P, Ffn> encoder, decoder;
};

template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct block_tape {
  typename attention_layer<Exec, P>::tape_type self, cross;
  typename Ffn::tape_type ffn;
};

/// Of one stack. The residual stream is kept before every sublayer and after the last one.
template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct stack_tape {
  using space = typename Exec::memory_space;
  using value = value_of<P>;
  using acc = accumulate_t<value>;

  std::int64_t batch = 0, length = 0; // sequences here
  std::int64_t first = 0;             // global number of the first of them
  one_group<space> rows;
  vector<std::int32_t, space> tokens;       // [rows], what the stack reads
  matrix<float, space> mask;                // [batch, length], 1 for tokens, 0 for padding
  vector<std::int32_t, space> bucket;       // [2 length - 1]
  matrix<acc, space> bias;                  // [H, 2 length - 1]
  std::vector<matrix<value, space>> stream; // [rows, M] each
  std::vector<block_tape<Exec, P, Ffn>> blocks;
  vector<acc, space> inverse;  // [rows] of the last norm
  matrix<value, space> result; // [rows, M] h
  matrix<value, space> d;      // [rows, M] gradient of the stream
  backward_scratch<Exec, P> scratch;
  row_sum_memory<value, space> sums;        // [rows M] where ranks share weights
  dropout<acc> embedding_drop, result_drop; // of the pass in flight
};

/// Made by transformer::make_tape; one per pass in flight.
template <class Exec, precision P, class Ffn = ffn_layer<Exec, P>>
struct transformer_tape {
  using space = typename Exec::memory_space;
  using value = value_of<P>;
  using gradient = typename P::gradient_type;
  stack_tape<Exec, P, Ffn> encoder, decoder;
  matrix<value, space> d_memory;       // [source rows, M] gradient of the encoder's result
  vector<std::int32_t, space> targets; // [rows]
  cross_entropy_tape<value, space> loss;
  bool forward_done = false;

  // On a mesh that splits the batch: the rows of loss.block_sums that the ranks along one axis share, and how many of
  // them each has, the innermost axis first; and what gradients are summed in, piece by piece where they are many.
  struct shared_sums {
    std::size_t axis = 0;
    staged<matrix<double, space>> rows;
    std::vector<std::int64_t> counts;
  };
  std::vector<shared_sums> loss_sums;
  shared_rows<accumulate_t<value>, space> row_parts; // of the loss, where ranks share the vocabulary
  staged<vector<gradient, space>> reduced, reduce_scratch;
};

namespace detail {

/// tokens, mask [batch, length] of one stack's input; shifted: what a decoder reads while it predicts them.
template <class Space>
struct read_tokens_kernel {
  matrix<const std::int32_t, Space> from; // [batch, length]
  bool shifted;
  std::int32_t pad;
  std::int64_t vocabulary;
  vector<std::int32_t, Space> tokens, targets; // targets: or empty
  matrix<float, Space> mask;

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const auto length = static_cast<std::int64_t>(from.extent(1));
    const std::int64_t sequence = t / length, i = t % length;
    const std::int32_t here = from(sequence, i);
    mask(sequence, i) = here != pad && here >= 0 && here < vocabulary ? 1.0f : 0.0f;
    tokens(t) = !shifted ? here : (i == 0 ? pad : from(sequence, i - 1));
    if (targets.data() != nullptr) targets(t) = here;
  }
};

} // namespace detail
} // namespace switchyard::model

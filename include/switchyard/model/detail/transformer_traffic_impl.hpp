// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/transformer.hpp>

// What a model sends, without sending it. Definitions of transformer's members.

namespace switchyard {

/// Where ranks share weights: the sums of rows, and what the loss of a split vocabulary takes.
template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::add_sums_of_rows(const tape_type& t, model_traffic<M::rank>& all) const {
  if constexpr (layout::weights_split) {
    const auto add = [&](auto& to, std::size_t axis, std::int64_t rows, std::int64_t times) {
      const std::int64_t elements = rows * config_.d_model, ranks = mesh_.extent(axis);
      const std::int64_t mine = part_of(elements, ranks, mesh_.coordinate(axis)).count;
      to[axis][static_cast<std::size_t>(collective::all_reduce)] +=
          times * (elements - mine + mine * (ranks - 1)) * static_cast<std::int64_t>(sizeof(value));
    };
    for (const auto* stack : {&t.encoder, &t.decoder}) {
      const auto layers = static_cast<std::int64_t>(stack->blocks.size());
      if (layers == 0) continue;
      std::int64_t attentions = 0, dense = 0;
      for (std::int64_t i = 0; i < layers; ++i) {
        attentions += stack->blocks[static_cast<std::size_t>(i)].cross.shape.heads > 0 ? 2 : 1;
        dense += config_.is_sparse(i, layers) ? 0 : 1;
      }
      for (auto* way : {&all.forward, &all.backward}) {
        if constexpr (layout::heads_split) add(*way, layout::heads_axis_index, stack->rows.count, attentions);
        if constexpr (layout::d_ff_split) add(*way, layout::d_ff_axis_index, stack->rows.count, dense);
      }
      if constexpr (layout::vocab_split) add(all.forward, layout::vocab_axis_index, stack->rows.count, 1);
    }
    if constexpr (layout::heads_split) // the gradient of the encoder's result
      if (config_.has_encoder()) add(all.backward, layout::heads_axis_index, t.encoder.rows.count, 1);
    if constexpr (layout::vocab_split) {
      const std::size_t axis = layout::vocab_axis_index;
      add(all.backward, axis, t.decoder.rows.count, 1);
      all.forward[axis][static_cast<std::size_t>(collective::all_gather)] +=
          t.decoder.rows.count * model::detail::row_parts * (mesh_.extent(axis) - 1) *
          static_cast<std::int64_t>(sizeof(acc));
    }
  }
}

template <class E, precision P, class M, class R>
model_traffic<M::rank> transformer<E, P, M, R>::traffic(const tape_type& t, bool training) const {
  model_traffic<M::rank> all;
  for_each_sparse(t, [&](const auto& layer) {
    const auto one = sparse_ffn_.sparse().traffic(layer, training);
    for (std::size_t a = 0; a != M::rank; ++a)
      for (std::size_t kind = 0; kind < collectives; ++kind) {
        all.forward[a][kind] += one.forward[a][kind];
        all.backward[a][kind] += one.backward[a][kind];
      }
  });
  for (const auto& shared : t.loss_sums) {
    const std::int64_t mine = shared.counts[static_cast<std::size_t>(mesh_.coordinate(shared.axis))];
    all.forward[shared.axis][static_cast<std::size_t>(collective::all_gather)] +=
        mine * (mesh_.extent(shared.axis) - 1) * model::detail::loss_terms * static_cast<std::int64_t>(sizeof(double));
  }
  const auto elements = summed_elements();
  const auto room = static_cast<std::int64_t>(t.reduced.view().extent(0));
  for (std::size_t a = 0; a != M::rank; ++a) {
    if (!layout::axis_splits_groups[a]) continue;
    const std::int64_t last = elements[a == layout::expert_axis_index ? 0 : 1];
    for (std::int64_t begin = 0; begin < last; begin += room) {
      const std::int64_t count = std::min(room, last - begin);
      const std::int64_t mine = part_of(count, mesh_.extent(a), mesh_.coordinate(a)).count;
      all.reduce[a][static_cast<std::size_t>(collective::all_reduce)] +=
          (count - mine + mine * (mesh_.extent(a) - 1)) * static_cast<std::int64_t>(sizeof(typename P::gradient_type));
    }
  }
  add_sums_of_rows(t, all);
  return all;
}

} // namespace switchyard

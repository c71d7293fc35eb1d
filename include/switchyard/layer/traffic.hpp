// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/layer/layout.hpp>
#include <switchyard/router/losses.hpp>

/// \file
/// What a layer sends, known before it runs: bytes that one rank addresses to others, per axis and collective, in one
/// forward and one backward. Everything is constexpr: with the extents in the program, so are the bytes. What the
/// tensors say (layout.hpp) is priced by bytes_sent (mesh/plan.hpp); a counting communicator counts the same.

namespace switchyard {

/// The sizes of a layer and of its batch, all of them global.
struct layer_extents {
  std::int64_t groups = 0, tokens = 0;             ///< G routing groups of S tokens
  std::int64_t d_model = 0, d_ff = 0, experts = 0; ///< M, F, E
  std::int64_t choices = 1;                        ///< K per token
  std::int64_t capacity = 0;                       ///< slots per expert and group: switch_config::capacity(tokens)
  bool gated = false, bias = false;
};

/// Rows that a dropless exchange moves, which only the pass itself knows.
struct exchanged_rows {
  std::int64_t sent = 0;     ///< to other ranks
  std::int64_t returned = 0; ///< back to other ranks
  std::int64_t held = 0;     ///< of experts here, from all ranks
};

/// Bytes per axis of the mesh and collective.
template <std::size_t Axes>
struct layer_traffic {
  using pass = std::array<std::array<std::int64_t, collectives>, Axes>;
  pass forward{}, backward{};

  static constexpr std::int64_t total(const pass& p) {
    std::int64_t sum = 0;
    for (const auto& axis : p)
      for (const std::int64_t bytes : axis) sum += bytes;
    return sum;
  }
  constexpr std::int64_t bytes(std::size_t axis, collective kind) const {
    const auto k = static_cast<std::size_t>(kind);
    return forward[axis][k] + backward[axis][k];
  }
  constexpr bool operator==(const layer_traffic&) const = default;
};

namespace detail {

template <class Mesh, class Rules, precision P>
class traffic_prediction {
  static constexpr std::size_t axes = Mesh::rank;
  using layout = switch_layout<Mesh, Rules>;
  using value = typename P::value_type;
  using pass = typename layer_traffic<axes>::pass;
  using numbers = std::array<std::int64_t, axes>;
  template <class Placements>
  using slots = typename layout::template slots_tensor<value, Placements>;
  template <class Placements>
  using tokens = typename layout::template tokens_tensor<value, Placements>;

 public:
  constexpr traffic_prediction(const layer_extents& n, const numbers& extents, const numbers& coordinates,
                               const exchanged_rows* rows)
      : n_(n), extents_(extents), coordinates_(coordinates), rows_(rows) {}

  constexpr layer_traffic<axes> run() const {
    layer_traffic<axes> t;
    constexpr auto real = static_cast<std::int64_t>(sizeof(typename P::router_type));
    const std::int64_t columns = 4 * n_.experts + router::statistics_scalars;
    for (std::size_t a = 0; a != axes; ++a) {
      if (!layout::axis_splits_groups[a]) continue;
      at(t.forward, a, collective::all_gather) += groups_within(a + 1) * columns * (extents_[a] - 1) * real;
      const bool router_only = a == layout::expert_axis_index || !layout::experts_summed;
      all_reduce(t.backward, a, parameters(router_only), sizeof(typename P::gradient_type));
    }
    if constexpr (layout::experts_split) {
      const std::size_t a = layout::expert_axis_index;
      const std::int64_t away = n_.experts - part_of(n_.experts, extents_[a], coordinates_[a]).count;
      at(t.forward, a, collective::all_to_all) +=
          away * groups_within(axes) * static_cast<std::int64_t>(sizeof(std::int32_t));
      there_and_back(t.forward);
      there_and_back(t.backward);
      if constexpr (layout::d_ff_split)
        if (extents_[layout::d_ff_axis_index] > 1)
          all_reduce(t.backward, layout::d_ff_axis_index, groups_within(axes) * n_.tokens * n_.choices,
                     sizeof(typename P::router_type));
    } else if constexpr (layout::d_ff_split) {
      const std::int64_t here = groups_within(axes);
      const std::int64_t most = n_.experts * here * n_.capacity, all = here * n_.tokens * n_.choices;
      for (pass* p : {&t.forward, &t.backward})
        all_reduce(*p, layout::d_ff_axis_index, (all < most ? all : most) * n_.d_model, sizeof(value));
    }
    return t;
  }

 private:
  static constexpr std::int64_t& at(pass& p, std::size_t axis, collective kind) {
    return p[axis][static_cast<std::size_t>(kind)];
  }
  static constexpr collective paid(movement kind) {
    return kind == movement::reduce_scatter ? collective::reduce_scatter
           : kind == movement::all_to_all   ? collective::all_to_all
           : kind == movement::all_reduce   ? collective::all_reduce
                                            : collective::all_gather;
  }

  /// A reshard of a whole tensor.
  template <class From, class To>
  constexpr void reshard(pass& p, const std::array<std::int64_t, From::rank>& extents) const {
    constexpr auto steps = plan_of<From, To>;
    const auto bytes = bytes_sent<From, To>(extents, extents_, coordinates_);
    for (std::size_t i = 0; i < steps.count; ++i) {
      const auto a = static_cast<std::size_t>(steps.steps[i].axis);
      at(p, a, paid(steps.steps[i].kind)) += bytes[a];
    }
  }
  constexpr void all_reduce(pass& p, std::size_t a, std::int64_t elements, std::size_t each) const {
    const std::int64_t mine = part_of(elements, extents_[a], coordinates_[a]).count;
    at(p, a, collective::all_reduce) += (elements - mine + mine * (extents_[a] - 1)) * static_cast<std::int64_t>(each);
  }

  /// Slots to the experts and back, and the tokens' columns together again; the same for their gradients.
  constexpr void there_and_back(pass& p) const {
    reshard<tokens<typename layout::token_columns>, tokens<typename layout::tokens>>(
        p, {n_.groups, n_.tokens, n_.d_model});
    if (rows_ == nullptr) {
      const std::array<std::int64_t, 4> all{n_.experts, n_.groups, n_.capacity, n_.d_model};
      reshard<slots<typename layout::token_slots>, slots<typename layout::sent_slots>>(p, all);
      reshard<slots<typename layout::sent_slots>, slots<typename layout::arrived_slots>>(p, all);
      reshard<slots<typename layout::arrived_slots>, slots<typename layout::expert_slots>>(p, all);
      reshard<slots<typename layout::expert_sums>, slots<typename layout::sent_slots>>(p, all);
      return;
    }
    std::int64_t ranks = 1;
    if constexpr (layout::d_ff_split) ranks = extents_[layout::d_ff_axis_index];
    const std::int64_t row = n_.d_model / ranks * static_cast<std::int64_t>(sizeof(value));
    at(p, layout::expert_axis_index, collective::all_to_all) += (rows_->sent + rows_->returned) * row;
    if constexpr (layout::d_ff_split)
      for (const collective kind : {collective::all_gather, collective::reduce_scatter})
        at(p, layout::d_ff_axis_index, kind) += rows_->held * row * (ranks - 1);
  }

  constexpr std::int64_t groups_within(std::size_t count) const {
    std::int64_t here = n_.groups;
    for (std::size_t a = 0; a < count; ++a)
      if (layout::axis_splits_groups[a]) here = part_of(here, extents_[a], coordinates_[a]).count;
    return here;
  }
  /// Elements of the gradients here: the router's, or all.
  constexpr std::int64_t parameters(bool router_only) const {
    std::int64_t f = n_.d_ff, e = n_.experts;
    if constexpr (layout::d_ff_split) f /= extents_[layout::d_ff_axis_index];
    if constexpr (layout::experts_split)
      e = part_of(e, extents_[layout::expert_axis_index], coordinates_[layout::expert_axis_index]).count;
    const std::int64_t inner = n_.gated ? 2 : 1;
    const std::int64_t each = n_.d_model * f * (inner + 1) + (n_.bias ? f * inner + n_.d_model : 0);
    return n_.d_model * n_.experts + (router_only ? 0 : e * each);
  }

  layer_extents n_;
  numbers extents_, coordinates_;
  const exchanged_rows* rows_;
};

} // namespace detail

/// What the rank at `coordinates` sends in capacity mode, and dropless where experts are whole (capacity = tokens).
template <class Mesh, class Rules, precision P>
constexpr layer_traffic<Mesh::rank> predict_traffic(const layer_extents& n,
                                                    const std::array<std::int64_t, Mesh::rank>& mesh_extents,
                                                    const std::array<std::int64_t, Mesh::rank>& coordinates) {
  return detail::traffic_prediction<Mesh, Rules, P>(n, mesh_extents, coordinates, nullptr).run();
}

/// The same for a dropless layer whose experts are split, given the rows of a pass.
template <class Mesh, class Rules, precision P>
constexpr layer_traffic<Mesh::rank>
predict_traffic(const layer_extents& n, const std::array<std::int64_t, Mesh::rank>& mesh_extents,
                const std::array<std::int64_t, Mesh::rank>& coordinates, const exchanged_rows& rows) {
  return detail::traffic_prediction<Mesh, Rules, P>(n, mesh_extents, coordinates, &rows).run();
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/layer/switch_layer.hpp>

// What canonical sums (layer/canonical.hpp) do instead of one product or one sum over ranks. Members of switch_layer.

namespace switchyard {

/// The weights of piece i of the hidden layers here, copied. Allocates.
template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::piece_of(const E& exec, const weights_type& w, std::int64_t i) const -> weights_type {
  const std::int64_t f = d_ff_here().count / hidden_pieces().count;
  const auto columns = std::pair(static_cast<std::size_t>(i * f), static_cast<std::size_t>((i + 1) * f));
  weights_type piece(config_, experts_here(), {0, f});
  const auto copy = [&](const auto& to, const auto& from) {
    if (to.data() != nullptr) Kokkos::deep_copy(exec, to, from);
  };
  if (w.wi.data() != nullptr) {
    copy(piece.wi, Kokkos::subview(w.wi, Kokkos::ALL, Kokkos::ALL, columns));
    copy(piece.wo, Kokkos::subview(w.wo, Kokkos::ALL, columns, Kokkos::ALL));
  }
  if (w.wi_gate.data() != nullptr) copy(piece.wi_gate, Kokkos::subview(w.wi_gate, Kokkos::ALL, Kokkos::ALL, columns));
  if (w.bi.data() != nullptr) copy(piece.bi, Kokkos::subview(w.bi, Kokkos::ALL, columns));
  if (w.bi_gate.data() != nullptr) copy(piece.bi_gate, Kokkos::subview(w.bi_gate, Kokkos::ALL, columns));
  copy(piece.bo, w.bo);
  return piece;
}

/// Memory, beside that of any tape.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::make_canonical(const E& exec, tape_type& t, std::int64_t groups) const {
  auto& c = t.canonical;
  const std::int64_t pieces = config_.canonical, m = config_.d_model;
  std::int64_t ranks = 1; // that share a sum over groups
  for (std::size_t a = 0; a != M::rank; ++a) ranks *= layout::axis_splits_groups[a] ? mesh_.extent(a) : 1;
  detail::require(groups <= pieces || groups % pieces == 0, "canonical = ", pieces, ": cannot cut ", groups,
                  " groups; make them a multiple, or no more than that");
  detail::require(pieces % ranks == 0, "canonical = ", pieces, ": must be a multiple of the ", ranks,
                  " ranks that share the groups");
  detail::require(t.sums == gradient_sums::by_layer, "canonical = ", pieces,
                  ": the layer makes canonical sums itself; use gradient_sums::by_layer, or canonical = 0");
  c.groups_each = groups <= pieces ? 1 : groups / pieces;
  c.columns = by_columns() ? cut({0, pieces}, layout::d_ff_axis_index) : part{0, pieces};
  c.tokens = c.arrived = c.in_pieces(groups_here(groups));
  if constexpr (layout::experts_split) c.arrived = c.in_pieces(groups_within(groups, layout::expert_axis_index));

  using list = typename std::remove_cvref_t<decltype(c)>::list;
  const auto experts = experts_here();
  const auto inner = static_cast<std::int64_t>(config_.gated ? 2 : 1);
  const std::int64_t f = d_ff_here().count / hidden_pieces().count;
  const std::int64_t each = m * f * (inner + 1) + (config_.bias ? f * inner + m : 0);
  const std::int64_t all = groups / c.groups_each;
  c.dq = ordered_sum<real, space>(pieces, t.tokens() * t.choices, mesh_.world());
  c.gradients = ordered_sum<gradient, space>(all, std::max(m * config_.experts, experts.count * m * f), mesh_.world());
  c.made = Kokkos::View<gradient*, space>("switchyard::made",
                                          static_cast<std::size_t>(experts.count * c.arrived.count * each));
  c.row_offset = list("switchyard::row_offset", static_cast<std::size_t>(experts.count * c.arrived.count + 1));
  c.token_offset = list("switchyard::token_offset", static_cast<std::size_t>(c.tokens.count + 1));
  const auto offsets = Kokkos::create_mirror_view(c.token_offset);
  for (std::int64_t p = 0; p <= c.tokens.count; ++p)
    offsets(static_cast<std::size_t>(p)) = p * c.groups_each * t.size.tokens;
  Kokkos::deep_copy(exec, c.token_offset, offsets);
}

/// The tape's hidden layers and, canonical, the pieces of o and dX, for that many rows.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::make_hidden(tape_type& t, std::int64_t rows) const {
  const std::int64_t pieces = hidden_pieces().count;
  t.hidden.clear();
  for (std::int64_t i = 0; i < pieces; ++i) t.hidden.emplace_back(rows, d_ff_here().count / pieces, t.ffn);
  if (canonical())
    t.canonical.rows = ordered_sum<value, space>(config_.canonical, rows * config_.d_model, mesh_.world());
}

/// f(piece i of the hidden layers here, its settings, rows [rows, M] for what it makes) for all of them, and `to` (=)
/// the sum over all pieces of all ranks.
template <class E, precision P, class M, class R, class G>
template <class F>
void switch_layer<E, P, M, R, G>::sum_pieces(const E& exec, const tape_type& t,
                                             const typename tape_type::template matrix<value>& to, const F& f) const {
  const part here = hidden_pieces();
  const std::int64_t count = rows(t).groups.max_rows, size = count * config_.d_model;
  for (std::int64_t i = 0; i < here.count; ++i) {
    const typename tape_type::template matrix<value> made(t.canonical.rows.piece(here.begin + i, size),
                                                          static_cast<std::size_t>(count), to.extent(1));
    f(static_cast<std::size_t>(i), piece_of(t.ffn, i), made);
  }
  if constexpr (layout::d_ff_split) t.canonical.rows.gather(exec, model(), size);
  t.canonical.rows.add(exec, size, {to.data(), size, size});
}

/// As experts::forward on all rows here, and summed over the ranks that split d_ff.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::forward_in_pieces(const E& exec, const packed_type& packed, const tape_type& t,
                                                    const typename tape_type::template matrix<const value>& x,
                                                    const typename tape_type::template matrix<value>& o) const {
  sum_pieces(exec, t, o, [&](std::size_t i, const experts::ffn_settings& set, const auto& made) {
    experts::forward<G, E, value, space>(exec, set, packed.ffn[i], rows(t), x, t.hidden[i], made);
  });
}

/// As experts::backward, dX summed over the ranks that split d_ff, gradients over those that split groups.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::backward_in_pieces(const E& exec, const packed_type& packed, tape_type& t,
                                                     const typename tape_type::template matrix<const value>& x,
                                                     const typename tape_type::template matrix<const value>& d_o,
                                                     const typename tape_type::template matrix<value>& dx,
                                                     const gradients_type& to, bool accumulate) const {
  sum_pieces(exec, t, dx, [&](std::size_t i, const experts::ffn_settings& set, const auto& made) {
    experts::backward_rows<G, E, value, space>(exec, set, packed.ffn[i], rows(t), t.hidden[i], d_o, made);
  });

  auto& c = t.canonical;
  const std::int64_t m = config_.d_model, experts = experts_here().count, pieces = c.arrived.count;
  const std::int64_t whole = d_ff_here().count, f = whole / hidden_pieces().count;
  gemm::index_view<space> group_offset = t.assignment.group_offset;
  if constexpr (layout::experts_split) group_offset = t.exchange.group_offset();
  for_each_index(
      "switchyard::piece_offset", exec, pieces == 0 ? 0 : experts * pieces + 1,
      detail::piece_offset_kernel<space>{group_offset, c.row_offset, pieces * c.groups_each, pieces, c.groups_each});
  experts::ffn_rows<space> of_pieces = rows(t);
  of_pieces.groups.offset = c.row_offset;

  struct summand {
    const gradient* made;
    std::int64_t each; // elements of one expert
    runs<gradient> sum;
  };
  std::vector<summand> all;
  for (std::int64_t i = 0; i < hidden_pieces().count; ++i) {
    experts::ffn_gradients<gradient, space> made;
    gradient* next = c.made.data();
    all.clear();
    const auto take = [&](auto& view, const auto& target, std::int64_t run, std::int64_t stride, auto... extents) {
      if (target.data() == nullptr) return; // not of this configuration
      const std::int64_t each = (... * extents);
      view = std::remove_reference_t<decltype(view)>(next, static_cast<std::size_t>(experts * pieces),
                                                     static_cast<std::size_t>(extents)...);
      all.push_back({next, each, {target.data() + i * run, run, stride}});
      next += experts * pieces * each;
    };
    take(made.wi, to.wi, f, whole, m, f);
    take(made.wi_gate, to.wi_gate, f, whole, m, f);
    take(made.wo, to.wo, f * m, whole * m, f, m);
    take(made.bi, to.bi, f, whole, f);
    take(made.bi_gate, to.bi_gate, f, whole, f);
    if (i == 0) take(made.bo, to.bo, m, m, m);
    const auto at = static_cast<std::size_t>(i);
    experts::backward_weights<G, E, value, gradient, space>(exec, piece_of(t.ffn, i), packed.ffn[at], of_pieces, x,
                                                            t.hidden[at], d_o, made, false);
    for (const summand& s : all) {
      const std::int64_t size = experts * s.each;
      for_each_index("switchyard::piece_order", exec, pieces * size,
                     detail::piece_order_kernel<gradient>{s.made, c.gradients.piece(c.arrived.begin, size), experts,
                                                          pieces, s.each});
      add_group_pieces(exec, t, size, layout::expert_axis_index, s.sum, accumulate);
    }
  }
}

/// dq (=) the sum of its pieces, of which the ranks that split the columns of slots have some each.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::sum_dq(const E& exec, const tape_type& t) const {
  const auto size = static_cast<std::int64_t>(t.dq.size());
  if (by_columns()) t.canonical.dq.gather(exec, over_model(), size);
  t.canonical.dq.add(exec, size, {t.dq.data(), size, size});
}

/// Where this rank's pieces of dq go: [pieces T, K].
template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::dq_pieces(const tape_type& t) const -> typename tape_type::template matrix<real> {
  const auto& c = t.canonical;
  return typename tape_type::template matrix<real>(c.dq.piece(c.columns.begin, static_cast<std::int64_t>(t.dq.size())),
                                                   static_cast<std::size_t>(c.columns.count) * t.dq.extent(0),
                                                   t.dq.extent(1));
}

/// dW_r, each piece of the groups by itself.
template <class E, precision P, class M, class R, class G>
template <class Rows>
void switch_layer<E, P, M, R, G>::router_gradient_in_pieces(const E& exec, const packed_type& packed,
                                                            const tape_type& t, const Rows& x,
                                                            const gradients_type& gradients, bool accumulate) const {
  const auto& c = t.canonical;
  const auto size = static_cast<std::int64_t>(gradients.router.size());
  const Kokkos::View<gradient***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged> made(
      c.gradients.piece(c.tokens.begin, size), static_cast<std::size_t>(c.tokens.count), gradients.router.extent(0),
      gradients.router.extent(1));
  gemm::grouped_weight_gradient<router_engine>(exec, {c.token_offset, t.tokens()}, x, gemm::rows<real, space>(t.dh),
                                               packed.router, made, false);
  add_group_pieces(exec, t, size, M::rank, {gradients.router.data(), size, size}, accumulate);
}

/// to (=|+=) the sum over all pieces of the groups, of which the ranks along the axes that split groups have some each;
/// those along axis number `but` have the same.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::add_group_pieces(const E& exec, const tape_type& t, std::int64_t size,
                                                   std::size_t but, const runs<gradient>& to, bool accumulate) const {
  const auto& c = t.canonical;
  for (std::size_t a = M::rank; a-- > 0;) {
    if (!layout::axis_splits_groups[a] || a == but) continue;
    const part shared = groups_within(t.size.groups_total, a);
    std::vector<std::int64_t> counts;
    for (int r = 0; r < mesh_.extent(a); ++r)
      counts.push_back(part_of(shared.count, mesh_.extent(a), r).count / c.groups_each);
    c.gradients.gather(exec, mesh_.along(a), c.in_pieces(shared), counts, size);
  }
  c.gradients.add(exec, size, to, accumulate);
}

/// Bytes of canonical sums in the place of those of ordinary ones; of rows, in the last pass.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::count_canonical(const tape_type& t, layer_traffic<M::rank>& all) const {
  constexpr auto reduce = static_cast<std::size_t>(collective::all_reduce),
                 scatter = static_cast<std::size_t>(collective::reduce_scatter);
  const std::int64_t m = config_.d_model, hidden = hidden_pieces().count;
  const auto bytes = [](std::int64_t elements, const auto& of) {
    return elements * static_cast<std::int64_t>(sizeof(typename std::remove_cvref_t<decltype(of)>::value_type));
  };
  if constexpr (layout::d_ff_split) {
    const std::size_t a = layout::d_ff_axis_index;
    const std::int64_t away = mesh_.extent(a) - 1;
    for (auto* pass : {&all.forward, &all.backward}) {
      (*pass)[a][scatter] = 0;
      (*pass)[a][reduce] = bytes(hidden * rows(t).groups.max_rows * m * away, t.output);
    }
    if (by_columns())
      all.backward[a][reduce] += bytes(t.canonical.columns.count * static_cast<std::int64_t>(t.dq.size()) * away, t.dq);
  }
  if constexpr (layout::groups_split) {
    const std::int64_t inner = config_.gated ? 2 : 1, f = d_ff_here().count;
    const std::int64_t ffn = experts_here().count * (m * f * (inner + 1) + (config_.bias ? f * inner + m : 0)),
                       router = m * config_.experts;
    for (std::size_t a = 0; a != M::rank; ++a) {
      if (!layout::axis_splits_groups[a]) continue;
      const std::int64_t mine = t.canonical.in_pieces(groups_within(t.size.groups_total, a + 1)).count;
      all.backward[a][reduce] =
          bytes(mine * (router + (a == layout::expert_axis_index ? 0 : ffn)) * (mesh_.extent(a) - 1), t.canonical.made);
    }
  }
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Profiling_ScopedRegion.hpp>
#include <switchyard/layer/detail/reduced.hpp>
#include <switchyard/layer/switch_layer.hpp>

// The way of the data, one call after another. Definitions of switch_layer's members.

namespace switchyard {

template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::begin(tape_type& t, const forward_options<space>& o) const {
  const bool training = o.training;
  const auto draw = [&](stream what) { return generator(seed{config_.seed}, what, o.step, o.layer); };
  t.set = {config_.routing,
           config_.renormalize,
           config_.second_expert,
           config_.order,
           config_.load_balance_form,
           config_.load_balance_scope,
           t.choices,
           config_.capacity(t.size.tokens, training),
           config_.threshold,
           training ? config_.sample_temperature : 0.0,
           config_.logit_softcap,
           config_.routing == routing_policy::expert_choice ? 0.0 : config_.load_balance,
           config_.router_z,
           config_.importance,
           config_.load,
           draw(stream::gumbel),
           draw(stream::second_expert)};
  t.noise = {training ? config_.jitter : 0.0, training ? config_.input_dropout : 0.0, draw(stream::jitter),
             draw(stream::input_dropout)};
  t.ffn.dropout = training ? config_.expert_dropout : 0.0;
  t.ffn.draw = draw(stream::expert_dropout);
  t.pad.mask = o.mask;
}

template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::route(const E& exec, const packed_type& packed, tape_type& t) const {
  Kokkos::Profiling::ScopedRegion region("switchyard::router");
  using storage = typename P::router_storage;
  const gemm::row_groups<space> all{t.all_tokens, t.tokens(), t.tokens()};
  if (t.noise.active()) {
    router::scale_input(exec, t.size, t.noise, t.x, t.scaled_input);
    router::score<router_engine, storage, E, real, decltype(packed.router), real, space>(
        exec, t.size, t.set, t.pad, all, t.scaled_input, packed.router, packed.router_pieces, t.decision, t.statistics);
  } else {
    router::score<router_engine, storage, E, value, decltype(packed.router), real, space>(
        exec, t.size, t.set, t.pad, all, t.x, packed.router, packed.router_pieces, t.decision, t.statistics);
  }
  router::assign_slots(exec, t.size, t.set, t.pad, t.decision, t.slots);
  router::gates<storage>(exec, t.set, t.decision);

  router::sum_groups(exec, t.size, t.set, t.pad, t.decision, t.statistics);
  for (const auto& shared : t.group_sums)
    all_gather(exec, mesh_.along(shared.axis), shared.rows, shared.counts,
               static_cast<std::int64_t>(t.statistics.sums.extent(1)));
  router::losses(exec, t.size, t.set, t.statistics);
}

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::rows(const tape_type& t) const -> experts::ffn_rows<space> {
  if constexpr (layout::experts_split)
    return {t.exchange.groups(), t.exchange.place(), t.exchange.place(), t.exchange.slot()};
  else
    return {t.assignment.groups(), t.assignment.row_token, {}, t.assignment.row_slot};
}

template <class E, precision P, class M, class R, class G>
template <class X, class Y>
void switch_layer<E, P, M, R, G>::forward(const E& exec, const packed_type& packed, const X& x, const Y& y,
                                          tape_type& t, const forward_options<space>& options) const {
  Kokkos::Profiling::ScopedRegion region("switchyard::switch_layer::forward");
  in_phase("router", [&] {
    check_made_here(packed, t);
    detail::check_tokens<value, space>("x", x, t.size, config_.d_model);
    detail::check_tokens<value, space>("y", y, t.size, config_.d_model);
    detail::require(!detail::overlap(x, y), "forward(x, y): the views overlap; y must be memory of its own");
    detail::check_mask(options.mask, t.size);
    begin(t, options);
    t.x = detail::as_rows(x);
    route(exec, packed, t);
  });
  in_phase("dispatch", [&] { send(exec, t); });
  in_phase("experts", [&] {
    if constexpr (layout::experts_split) {
      const auto multiply = [&](const experts::ffn_rows<space>& some, const experts::ffn_tape<value, space>& hidden) {
        experts::forward<G, E, value, space>(exec, t.ffn, packed.ffn.front(), some, t.exchange.expert_input(), hidden,
                                             t.exchange.expert_scratch());
      };
      if (canonical())
        forward_in_pieces(exec, packed, t, t.exchange.expert_input(), t.exchange.expert_scratch());
      else if (t.exchange.in_chunks())
        t.exchange.tokens_through(exec, [&](const dispatch::exchange_chunk& c) {
          multiply(rows(t).part(t.exchange.groups(c), c.rows.begin), t.hidden.front().part(c.rows.begin, c.rows.count));
        });
      else
        multiply(rows(t), t.hidden.front());
    } else if (canonical()) {
      forward_in_pieces(exec, packed, t, t.x, t.output);
    } else {
      experts::token_output<value, space> tokens;
      if constexpr (std::same_as<real, accumulate_t<value>>)
        if (one_writer()) tokens = {detail::as_rows(y), t.decision.gate, t.assignment.row_token};
      experts::forward<G, E, value, space>(exec, t.ffn, packed.ffn.front(), rows(t), t.x, t.hidden.front(), t.output,
                                           tokens);
      if constexpr (layout::d_ff_split) sum_rows(exec, t, t.output_sum);
    }
  });
  in_phase("combine", [&] {
    if constexpr (layout::experts_split)
      if (!t.exchange.in_chunks()) t.exchange.return_outputs(exec, canonical());
    const auto out = detail::as_rows(y);
    if (one_writer()) {
      combine::zero_dropped<E, value, real, space>(exec, t.size, t.decision, out);
    } else if (by_columns()) {
      const auto mine = t.columns.mine_as_matrix(t.tokens());
      combine::forward<E, value, real, space>(exec, t.size, t.set, t.decision, t.map(), t.combined_rows(), mine);
      t.columns.gather(exec, t.tokens(), out);
    } else {
      combine::forward<E, value, real, space>(exec, t.size, t.set, t.decision, t.map(), t.combined_rows(), out);
    }
  });
  t.forward_done = true;
}

/// Row lists; where experts are split, the tokens go to them, unless they do so in chunks.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::send(const E& exec, tape_type& t) const {
  if (!layout::experts_split || t.compact) dispatch::list_rows(exec, t.size, t.set, t.decision, t.assignment);
  if constexpr (layout::experts_split) {
    dispatch::fill_blocks(exec, t.size, t.set, t.decision, t.map(), t.x, t.exchange.token_scratch(),
                          t.exchange.first_column());
    t.exchange.list_rows(exec, t.decision.filled, t.set.capacity);
    if (t.exchange.reserved() > static_cast<std::int64_t>(t.hidden.front().hidden.extent(0)))
      make_hidden(t, t.exchange.reserved());
    if (!t.exchange.in_chunks()) t.exchange.send_tokens(exec);
  }
}

template <class E, precision P, class M, class R, class G>
template <class DY, class DX>
void switch_layer<E, P, M, R, G>::backward(const E& exec, const packed_type& packed, const DY& dy, const DX& dx,
                                           tape_type& t, const gradients_type& gradients,
                                           const backward_options& options) const {
  Kokkos::Profiling::ScopedRegion region("switchyard::switch_layer::backward");
  in_phase("backward", [&] {
    detail::require(t.forward_done, "backward(tape): no forward has filled this tape; call forward with it first");
    check_made_here(packed, t);
    detail::check_parameters("gradients", gradients, config_, experts_here(), d_ff_here());
    detail::check_tokens<value, space>("dy", dy, t.size, config_.d_model);
    detail::check_tokens<value, space>("dx", dx, t.size, config_.d_model);
    detail::require(!detail::overlap(dy, dx) && !detail::overlap(t.x, dx),
                    "backward(dy, dx): dx overlaps dy or the x of the forward; it must be memory of its own");
    // Sums over ranks are made of this pass alone, in a buffer of their own, before anything is accumulated.
    // Canonical sums go straight to the gradients.
    const bool summed = layout::groups_split && t.sums == gradient_sums::by_layer && !canonical();
    const gradients_type local =
        summed ? detail::reduced_parameters(t.reduced.view(), gradients, layout::experts_summed) : gradients;
    const auto row_input_gradient = experts_backward(exec, packed, detail::as_rows(dy), t, local,
                                                     options.accumulate && !(summed && layout::experts_summed));

    router::backward<E, real, space>(exec, t.size, t.set, t.pad, t.decision, t.statistics, options.loss_scale, t.dq,
                                     t.dh);
    const gemm::row_groups<space> all{t.all_tokens, t.tokens(), t.tokens()};
    const typename tape_type::template matrix<value> out = detail::as_rows(dx);
    gemm::grouped_product<router_engine>(
        exec, all, gemm::rows<real, space>(t.dh), packed.router_transposed,
        detail::dx_epilogue<value, real, space>{t.size, t.set, t.decision, t.map(), t.noise, row_input_gradient,
                                                by_columns() ? t.columns.mine_as_matrix(t.tokens()) : out,
                                                config_.d_model, by_columns() ? t.columns.first() : 0});
    if (by_columns()) t.columns.gather(exec, t.tokens(), out);
    router_gradient(exec, packed, t, local, !summed && options.accumulate);

    if constexpr (layout::groups_split) {
      if (!summed) return;
      for (const auto& shared : t.group_sums)
        all_reduce_sum(exec, mesh_.along(shared.axis),
                       shared.axis == layout::expert_axis_index ? router_part(t.reduced) : t.reduced, t.reduce_scratch);
      detail::unpack_reduced(exec, t.reduced.view(), gradients, layout::experts_summed, options.accumulate);
    }
  });
}

/// Rows of the experts, whole on every rank, (=) their sum over the ranks that split d_ff. As many as there can be in
/// this pass: how many there are, the host does not know.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::sum_rows(const E& exec, const tape_type& t,
                                           const staged<Kokkos::View<value*, space>>& rows) const {
  const std::int64_t most =
      std::min(t.tokens() * t.choices, config_.experts * t.size.groups * t.set.capacity) * config_.d_model;
  all_reduce_sum(exec, model(), rows.part(0, most), t.row_scratch);
}

/// dy -> dX rows, dq and the gradients of the experts. Where d_ff is split, the ranks hold parts of the sums dX and, of
/// columns, dq; the weights' gradients are whole on each.
template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::experts_backward(const E& exec, const packed_type& packed,
                                                   const typename tape_type::template matrix<const value>& dy,
                                                   tape_type& t, const gradients_type& to, bool accumulate) const ->
    typename tape_type::template matrix<value> {
  const experts::ffn_gradients<gradient, space> ffn{to.wi, to.wi_gate, to.wo, to.bi, to.bi_gate, to.bo};
  if constexpr (layout::experts_split) {
    combine::backward<E, value, real, space>(exec, t.size, t.set, t.decision, t.map(), dy, t.combined_rows(),
                                             t.exchange.token_scratch(), canonical() ? dq_pieces(t) : t.dq,
                                             t.exchange.first_column(), t.canonical.columns.count);
    if (canonical())
      sum_dq(exec, t);
    else if (by_columns())
      all_reduce_sum(exec, over_model(), t.dq_sum, t.dq_scratch);
    const auto back = [&](const experts::ffn_rows<space>& some, const experts::ffn_tape<value, space>& hidden) {
      experts::backward_rows<G, E, value, space>(exec, t.ffn, packed.ffn.front(), some, hidden,
                                                 t.exchange.expert_gradient(), t.exchange.expert_scratch());
    };
    const auto weigh = [&] {
      experts::backward_weights<G, E, value, gradient, space>(exec, t.ffn, packed.ffn.front(), rows(t),
                                                              t.exchange.expert_input(), t.hidden.front(),
                                                              t.exchange.expert_gradient(), ffn, accumulate);
    };
    if (canonical()) {
      t.exchange.send_gradients(exec);
      backward_in_pieces(exec, packed, t, t.exchange.expert_input(), t.exchange.expert_gradient(),
                         t.exchange.expert_scratch(), to, accumulate);
      t.exchange.return_gradients(exec, true);
    } else if (t.exchange.in_chunks()) {
      t.exchange.gradients_through(
          exec,
          [&](const dispatch::exchange_chunk& c) {
            back(rows(t).part(t.exchange.groups(c), c.rows.begin), t.hidden.front().part(c.rows.begin, c.rows.count));
          },
          weigh);
    } else {
      t.exchange.send_gradients(exec);
      back(rows(t), t.hidden.front());
      weigh();
      t.exchange.return_gradients(exec);
    }
    return t.exchange.token_scratch();
  } else {
    combine::backward<E, value, real, space>(exec, t.size, t.set, t.decision, t.map(), dy, t.combined_rows(),
                                             t.row_gradient, canonical() ? dq_pieces(t) : t.dq, 0,
                                             t.canonical.columns.count);
    if (canonical()) {
      sum_dq(exec, t);
      backward_in_pieces(exec, packed, t, t.x, t.row_gradient, t.row_input_gradient, to, accumulate);
      return t.row_input_gradient;
    }
    experts::backward<G, E, value, gradient, space>(exec, t.ffn, packed.ffn.front(), rows(t), t.x, t.hidden.front(),
                                                    t.row_gradient, t.row_input_gradient, ffn, accumulate);
    if constexpr (layout::d_ff_split) sum_rows(exec, t, t.input_gradient_sum);
    return t.row_input_gradient;
  }
}

/// dW_r [M, E] = sum_t x~_t^T dh_t. Padding has dh = 0.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::router_gradient(const E& exec, const packed_type& packed, tape_type& t,
                                                  const gradients_type& gradients, bool accumulate) const {
  const gemm::row_groups<space> all{t.all_tokens, t.tokens(), t.tokens()};
  const gemm::rows<real, space> dh(t.dh);
  const Kokkos::View<gradient***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged> out(
      gradients.router.data(), 1, gradients.router.extent(0), gradients.router.extent(1));
  const auto multiply = [&](const auto& x) {
    if (canonical())
      router_gradient_in_pieces(exec, packed, t, x, gradients, accumulate);
    else
      gemm::grouped_weight_gradient<router_engine>(exec, all, x, dh, packed.router, out, accumulate);
  };
  if (t.noise.active())
    multiply(gemm::rows<real, space>(t.scaled_input));
  else
    multiply(gemm::rows<value, space>(t.x));
}

} // namespace switchyard

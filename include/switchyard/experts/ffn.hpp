// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/large_pages.hpp>
#include <switchyard/experts/detail/ffn_kernels.hpp>
#include <switchyard/gemm/grouped_product.hpp>

/// \file
/// The expert FFN on ragged rows, forward and backward. Row r of expert e:
///
///   a = x W1_e + b1_e                  h = T(D ∘ act(a))          plain
///   u = x Wg_e + bg_e, v = x W1_e + b1_e,  h = T(D ∘ act(u) ∘ v)  gated
///   o = T(h W2_e + b2_e)
///
///   dh = do W2_e^T,   da = T(dh ∘ D ∘ act'(a))                    plain
///   du = T(dh ∘ D ∘ v ∘ act'(u)),  dv = T(dh ∘ D ∘ act(u))        gated
///   dx = T(da W1_e^T)  [+ du Wg_e^T, one sum],  dW2_e = h^T do,  dW1_e = x^T da,  dWg_e = x^T du,  db = column sums
///
/// D is expert dropout, keyed by the slot: 0 or 1 / (1 - rate). The backward reads the pre-activations rounded to T;
/// plain ReLU needs none, the sign of h says it all.

namespace switchyard::experts {

/// What one expert FFN is, beside its weights.
struct ffn_settings {
  activation_kind activation = activation_kind::relu;
  bool gated = false;
  double dropout = 0; ///< 0 outside training
  generator draw;     ///< of this pass

  // Where several ranks hold a part of every hidden layer, o and dx are partial sums, to be added over the ranks.
  std::int64_t d_ff = 0, d_ff_begin = 0; ///< of the whole layer, and its first column here
  bool adds_bias = true;                 ///< b2, which must enter the sum once

  bool keeps_pre_activation() const { return gated || activation != activation_kind::relu; }
};

template <class T>
detail::hidden_dropout<accumulate_t<T>> hidden_dropout(const ffn_settings& set) {
  return {static_cast<accumulate_t<T>>(set.dropout), set.draw, set.d_ff, set.d_ff_begin};
}

/// Packed once per update, in the orders that forward and backward want.
template <class Engine, class Exec, class T>
struct packed_ffn {
  using matrix = typename Engine::template packed<Exec, T>;
  using bias = Kokkos::View<accumulate_t<T>**, Kokkos::LayoutRight, typename Exec::memory_space>;
  matrix wi;            // [E, M, F]; gated: Wg and W1 in pairs
  matrix wo;            // [E, F, M]
  matrix wi_transposed; // [E, F, M]; gated: [E, 2F, M], Wg^T above W1^T
  matrix wo_transposed; // [E, M, F]
  bias bi, bi_gate, bo; // [E, F], [E, F], [E, M] or empty
};

/// Rows and what the backward needs of them. The rows of `pre` are (u | v) for gated experts.
template <class T, class Space>
struct ffn_tape {
  Kokkos::View<T**, Kokkos::LayoutRight, Space> hidden; // [rows, F] h
  Kokkos::View<T**, Kokkos::LayoutRight, Space> pre;    // [rows, F or 2F], or empty where not kept
  Kokkos::View<T**, Kokkos::LayoutRight, Space> d_pre;  // [rows, F or 2F]

  ffn_tape() = default;
  /// Allocates.
  ffn_tape(std::int64_t rows, std::int64_t d_ff, const ffn_settings& set)
      : hidden(make("hidden", rows, d_ff)), d_pre(make("d_pre", rows, set.gated ? 2 * d_ff : d_ff)) {
    if (set.keeps_pre_activation()) pre = make("pre", rows, set.gated ? 2 * d_ff : d_ff);
  }

  /// Rows [begin, begin + count), sharing the memory.
  ffn_tape part(std::int64_t begin, std::int64_t count) const {
    const auto rows = [&](const auto& all) {
      if (all.data() == nullptr) return all;
      return std::remove_cvref_t<decltype(all)>(all.data() + static_cast<std::size_t>(begin) * all.extent(1),
                                                static_cast<std::size_t>(count), all.extent(1));
    };
    ffn_tape some;
    some.hidden = rows(hidden);
    some.pre = rows(pre);
    some.d_pre = rows(d_pre);
    return some;
  }

 private:
  static auto make(const char* what, std::int64_t rows, std::int64_t columns) {
    return switchyard::detail::make_raw<Kokkos::View<T**, Kokkos::LayoutRight, Space>>(
        std::string("switchyard::experts::") + what, rows, columns);
  }
};

/// The rows of all experts here: where each is read from, where its result goes, and its global slot.
template <class Space>
struct ffn_rows {
  gemm::row_groups<Space> groups; // [E here + 1]
  gemm::index_view<Space> in;     // row -> row of x
  gemm::index_view<Space> out;    // row -> row of o; empty: the row itself
  gemm::index_view<Space> slot;   // row -> global slot, keys dropout

  /// Rows from `begin` on, in groups of their own. `out` must be given.
  ffn_rows part(const gemm::row_groups<Space>& some, std::int64_t begin) const {
    const std::pair range(static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + some.max_rows));
    return {some, Kokkos::subview(in, range), Kokkos::subview(out, range), Kokkos::subview(slot, range)};
  }
};

/// Where the outputs of tokens with one row each go, weighted by their gates; by default nowhere.
template <class T, class Space>
using token_output = detail::token_output<T, Space>;

/// x rows -> o rows, and where `outputs` says so the outputs of their tokens. Does not communicate, allocate
/// or fence; deterministic.
template <class Engine, class Exec, class T, class Space>
void forward(const Exec& exec, const ffn_settings& set, const packed_ffn<Engine, Exec, T>& weights,
             const ffn_rows<Space>& rows, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
             const ffn_tape<T, Space>& tape, const Kokkos::View<T**, Kokkos::LayoutRight, Space>& o,
             const token_output<T, Space>& outputs = {}) {
  const gemm::rows<T, Space> tokens(x, rows.in);
  if (set.gated)
    gemm::grouped_product<Engine>(exec, rows.groups, tokens, weights.wi,
                                  detail::gated_epilogue<T, Space>{set.activation, hidden_dropout<T>(set), tape.hidden,
                                                                   tape.pre, weights.bi_gate, weights.bi, rows.slot});
  else
    gemm::grouped_product<Engine>(exec, rows.groups, tokens, weights.wi,
                                  detail::hidden_epilogue<T, Space>{set.activation, hidden_dropout<T>(set), tape.hidden,
                                                                    tape.pre, weights.bi, rows.slot});
  gemm::grouped_product<Engine>(
      exec, rows.groups, gemm::rows<T, Space>(tape.hidden), weights.wo,
      detail::store_epilogue<T, Space>{o, set.adds_bias ? weights.bo : decltype(weights.bo)(), rows.out, outputs});
}

/// Weight gradients of one layer's experts here, in the gradient type.
template <class G, class Space>
struct ffn_gradients {
  Kokkos::View<G***, Kokkos::LayoutRight, Space> wi, wi_gate, wo; // [E, M, F], same or empty, [E, F, M]
  Kokkos::View<G**, Kokkos::LayoutRight, Space> bi, bi_gate, bo;  // [E, F], [E, F], [E, M] or empty
};

/// do rows -> dx rows, both at the places of `out`. As forward.
template <class Engine, class Exec, class T, class Space>
void backward_rows(const Exec& exec, const ffn_settings& set, const packed_ffn<Engine, Exec, T>& weights,
                   const ffn_rows<Space>& rows, const ffn_tape<T, Space>& tape,
                   const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& d_o,
                   const Kokkos::View<T**, Kokkos::LayoutRight, Space>& dx) {
  const gemm::rows<T, Space> outer(d_o, rows.out);
  gemm::grouped_product<Engine>(exec, rows.groups, outer, weights.wo_transposed,
                                detail::d_pre_epilogue<T, Space>{set.activation, set.gated, hidden_dropout<T>(set),
                                                                 tape.hidden, tape.pre, tape.d_pre, rows.slot});
  gemm::grouped_product<Engine>(exec, rows.groups, gemm::rows<T, Space>(tape.d_pre), weights.wi_transposed,
                                detail::store_epilogue<T, Space>{dx, {}, rows.out, {}});
}

/// do rows, and what backward_rows left on the tape -> weight gradients (=|+=). As forward.
template <class Engine, class Exec, class T, class G, class Space>
void backward_weights(const Exec& exec, const ffn_settings& set, const packed_ffn<Engine, Exec, T>& weights,
                      const ffn_rows<Space>& rows, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
                      const ffn_tape<T, Space>& tape, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& d_o,
                      const ffn_gradients<G, Space>& gradients, bool accumulate) {
  const std::int64_t d_ff = static_cast<std::int64_t>(tape.hidden.extent(1));
  const gemm::rows<T, Space> tokens(x, rows.in);
  const gemm::rows<T, Space> outer(d_o, rows.out);
  gemm::grouped_weight_gradient<Engine>(exec, rows.groups, gemm::rows<T, Space>(tape.hidden), outer, weights.wo,
                                        gradients.wo, accumulate);
  const auto columns = [&](std::int64_t begin) { // of d_pre: du | dv
    return gemm::rows<T, Space>(
        Kokkos::subview(tape.d_pre, Kokkos::ALL,
                        Kokkos::pair<std::size_t, std::size_t>(static_cast<std::size_t>(begin),
                                                               static_cast<std::size_t>(begin + d_ff))));
  };
  if (set.gated)
    gemm::grouped_weight_gradient<Engine>(exec, rows.groups, tokens, columns(0), weights.wi, gradients.wi_gate,
                                          accumulate);
  gemm::grouped_weight_gradient<Engine>(exec, rows.groups, tokens, columns(set.gated ? d_ff : 0), weights.wi,
                                        gradients.wi, accumulate);

  const auto bias = [&](const gemm::rows<T, Space>& of, const auto& gradient) {
    if (gradient.data() != nullptr) detail::column_sums(exec, rows.groups, of, gradient, accumulate);
  };
  bias(outer, gradients.bo);
  bias(columns(set.gated ? d_ff : 0), gradients.bi);
  bias(columns(0), gradients.bi_gate);
}

/// Both.
template <class Engine, class Exec, class T, class G, class Space>
void backward(const Exec& exec, const ffn_settings& set, const packed_ffn<Engine, Exec, T>& weights,
              const ffn_rows<Space>& rows, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
              const ffn_tape<T, Space>& tape, const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& d_o,
              const Kokkos::View<T**, Kokkos::LayoutRight, Space>& dx, const ffn_gradients<G, Space>& gradients,
              bool accumulate) {
  backward_rows<Engine, Exec, T, Space>(exec, set, weights, rows, tape, d_o, dx);
  backward_weights<Engine, Exec, T, G, Space>(exec, set, weights, rows, x, tape, d_o, gradients, accumulate);
}

} // namespace switchyard::experts

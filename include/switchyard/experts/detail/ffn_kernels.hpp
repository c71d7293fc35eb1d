// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/pack.hpp>
#include <switchyard/core/random.hpp>
#include <switchyard/experts/activation.hpp>
#include <switchyard/gemm/rows.hpp>

namespace switchyard::experts::detail {

template <class T, class Space>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;
template <class T, class Space>
using bias_view = Kokkos::View<const accumulate_t<T>**, Kokkos::LayoutRight, Space>;

/// Dropout of the hidden layer: element (slot, column) of the global [E, G, C, F] tensor, of whose F columns those from
/// `begin` are here.
template <class Acc>
struct hidden_dropout {
  Acc rate = 0;
  generator draw;
  std::int64_t d_ff = 0, begin = 0;
  KOKKOS_FUNCTION Acc factor(std::int64_t slot, std::int64_t column) const {
    const auto element = static_cast<std::uint64_t>(slot * d_ff + begin + column);
    return draw.template uniform<Acc>(element) < rate ? Acc(0) : Acc(1) / (Acc(1) - rate);
  }
  /// values[j] times the factor of column + j.
  KOKKOS_FUNCTION void apply(std::int64_t slot, std::int64_t column, int n, Acc* values) const {
    for (int j = 0; j < n; ++j) values[j] *= factor(slot, column + j);
  }
};

// The epilogues work in place on the sums they are handed, one plain loop after another over values that are in the
// first-level cache: what a call decides is decided outside of the loops, so that each of them becomes vector code.

template <class Acc>
KOKKOS_INLINE_FUNCTION void add(const Acc* KOKKOS_RESTRICT from, int n, Acc* KOKKOS_RESTRICT values) {
  for (int j = 0; j < n; ++j) values[j] += from[j];
}

template <class T, class Acc>
KOKKOS_INLINE_FUNCTION void store(const Acc* KOKKOS_RESTRICT values, int n, T* KOKKOS_RESTRICT to) {
  if (gpu::one_piece<T>(n) && gpu::aligned(to)) return gpu::store_piece(values, to);
  for (int j = 0; j < n; ++j) to[j] = T(values[j]);
}

/// h = T(D act(a)), and a itself where the backward will want it.
template <class T, class Space>
struct hidden_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  activation_kind activation;
  hidden_dropout<acc> dropout;
  matrix<T, Space> hidden, pre;
  bias_view<T, Space> bias;
  gemm::index_view<Space> slot;

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n, acc* a) const {
    if (bias.data()) add(&bias(expert, column), n, a);
    if (pre.data()) store(a, n, &pre(row, column));
    with_activation(activation, [&](auto act) {
      for (int j = 0; j < n; ++j) a[j] = act.value(a[j]);
    });
    if (dropout.rate > 0) dropout.apply(slot(row), column, n, a);
    store(a, n, &hidden(row, column));
  }
};

/// h = T(D act(u) v); pre = (u | v).
template <class T, class Space>
struct gated_epilogue {
  static constexpr bool paired = true;
  using acc = accumulate_t<T>;
  activation_kind activation;
  hidden_dropout<acc> dropout;
  matrix<T, Space> hidden, pre;
  bias_view<T, Space> bias_gate, bias;
  gemm::index_view<Space> slot;

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n,
                                  acc* KOKKOS_RESTRICT u, acc* KOKKOS_RESTRICT v) const {
    const auto d_ff = static_cast<std::int64_t>(hidden.extent(1));
    if (bias.data()) {
      add(&bias_gate(expert, column), n, u);
      add(&bias(expert, column), n, v);
    }
    store(u, n, &pre(row, column));
    store(v, n, &pre(row, d_ff + column));
    with_activation(activation, [&](auto act) {
      for (int j = 0; j < n; ++j) u[j] = act.value(u[j]);
    });
    if (dropout.rate > 0) dropout.apply(slot(row), column, n, u);
    for (int j = 0; j < n; ++j) u[j] *= v[j];
    store(u, n, &hidden(row, column));
  }
};

/// Where the outputs of tokens with one row each go, weighted:  y_t = T(gate_t o_row). Empty: nowhere.
template <class T, class Space>
struct token_output {
  using acc = accumulate_t<T>;
  matrix<T, Space> y;                                         // [T, M]
  Kokkos::View<const acc**, Kokkos::LayoutRight, Space> gate; // [T, 1]
  gemm::index_view<Space> token;                              // row -> token

  /// The columns from `column` on of one row of o, before it was rounded.
  KOKKOS_FUNCTION void operator()(std::int64_t row, std::int64_t column, int n, acc* o) const {
    const std::int64_t t = token(row);
    const acc q = gate(t, 0);
    for (int j = 0; j < n; ++j) o[j] = acc(0) + q * static_cast<acc>(T(o[j])); // as combine adds them: no -0
    store(o, n, &y(t, column));
  }
};

/// out(place(row)) = T(sum + bias), and the tokens' outputs where they are asked for.
template <class T, class Space>
struct store_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  matrix<T, Space> out;
  bias_view<T, Space> bias;
  gemm::index_view<Space> place;
  token_output<T, Space> tokens;

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n, acc* sum) const {
    if (bias.data()) add(&bias(expert, column), n, sum);
    store(sum, n, &out(place.data() ? place(row) : row, column));
    if (tokens.y.data()) tokens(row, column, n, sum);
  }
};

/// dh -> da, or (du | dv) for gated experts.
template <class T, class Space>
struct d_pre_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  activation_kind activation;
  bool gated;
  hidden_dropout<acc> dropout;
  matrix<T, Space> hidden, pre, d_pre;
  gemm::index_view<Space> slot;

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  acc* KOKKOS_RESTRICT dh) const {
    const auto d_ff = static_cast<std::int64_t>(hidden.extent(1));
    if (dropout.rate > 0) dropout.apply(slot(row), column, n, dh);
    if (gpu::one_piece<T>(n) && gpu::aligned(&hidden(row, column)) && d_ff % gpu::wide<T> == 0)
      return one_piece(row, column, d_ff, dh);
    if (!pre.data()) { // plain ReLU: h > 0 exactly where a > 0 and D > 0
      const T* KOKKOS_RESTRICT h = &hidden(row, column);
      for (int j = 0; j < n; ++j) dh[j] = static_cast<acc>(h[j]) > acc(0) ? dh[j] : acc(0);
      store(dh, n, &d_pre(row, column));
      return;
    }
    with_activation(activation, [&](auto act) {
      const T* KOKKOS_RESTRICT u = &pre(row, column);
      T* KOKKOS_RESTRICT du = &d_pre(row, column);
      if (!gated) {
        for (int j = 0; j < n; ++j) du[j] = T(dh[j] * act.derivative(static_cast<acc>(u[j])));
        return;
      }
      const T* KOKKOS_RESTRICT v = &pre(row, d_ff + column);
      T* KOKKOS_RESTRICT dv = &d_pre(row, d_ff + column);
      for (int j = 0; j < n; ++j) {
        du[j] = T(dh[j] * static_cast<acc>(v[j]) * act.derivative(static_cast<acc>(u[j])));
        dv[j] = T(dh[j] * act.value(static_cast<acc>(u[j])));
      }
    });
  }

  /// The same for columns that are 16 bytes of every row.
  KOKKOS_FUNCTION void one_piece(std::int64_t row, std::int64_t column, std::int64_t d_ff, acc* dh) const {
    constexpr int n = gpu::wide<T>;
    if (!pre.data()) {
      const auto h = gpu::load<n>(&hidden(row, column));
      for (int j = 0; j < n; ++j) dh[j] = h.get(j) > acc(0) ? dh[j] : acc(0);
      return gpu::store_piece(dh, &d_pre(row, column));
    }
    const auto u = gpu::load<n>(&pre(row, column));
    const auto v = gated ? gpu::load<n>(&pre(row, d_ff + column)) : u;
    with_activation(activation, [&](auto act) {
      gpu::pack<T, n> du, dv;
      for (int j = 0; j < n; ++j) {
        du.set(j, gated ? dh[j] * v.get(j) * act.derivative(u.get(j)) : dh[j] * act.derivative(u.get(j)));
        dv.set(j, gated ? dh[j] * act.value(u.get(j)) : acc(0));
      }
      gpu::store(&d_pre(row, column), du);
      if (gated) gpu::store(&d_pre(row, d_ff + column), dv);
    });
  }
};

/// sums(e, c) (=|+=) sum over the rows of expert e of d(row, c), rows in order.
template <class T, class G, class Space>
struct column_sum_kernel {
  gemm::row_groups<Space> groups;
  gemm::rows<T, Space> d;
  Kokkos::View<G**, Kokkos::LayoutRight, Space> sums;
  bool accumulate;
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const std::int64_t expert = task / d.columns(), column = task % d.columns();
    accumulate_t<T> sum = 0;
    for (std::int64_t r = groups.offset(expert); r < groups.offset(expert + 1); ++r)
      sum += static_cast<accumulate_t<T>>(d(r)[column]);
    sums(expert, column) = static_cast<G>(accumulate ? static_cast<accumulate_t<T>>(sums(expert, column)) + sum : sum);
  }
};

template <class Exec, class T, class G, class Space>
void column_sums(const Exec& exec, const gemm::row_groups<Space>& groups, const gemm::rows<T, Space>& d,
                 const Kokkos::View<G**, Kokkos::LayoutRight, Space>& sums, bool accumulate) {
  for_each_index("switchyard::experts::column_sums", exec, groups.groups() * d.columns(),
                 column_sum_kernel<T, G, Space>{groups, d, sums, accumulate});
}

} // namespace switchyard::experts::detail

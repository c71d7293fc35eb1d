// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/precision.hpp>
#include <switchyard/core/random.hpp>
#include <switchyard/experts/activation.hpp>
#include <switchyard/gemm/rows.hpp>

namespace switchyard::experts::detail {

template <class T, class Space>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;
template <class T, class Space>
using bias_view = Kokkos::View<const accumulate_t<T>**, Kokkos::LayoutRight, Space>;

/// Dropout of the hidden layer: element (slot, column) of the global [E, G, C, F] tensor.
template <class Acc>
struct hidden_dropout {
  Acc rate = 0;
  generator draw;
  KOKKOS_FUNCTION Acc factor(std::int64_t slot, std::int64_t d_ff, std::int64_t column) const {
    if (rate <= 0) return 1;
    const auto element = static_cast<std::uint64_t>(slot * d_ff + column);
    return draw.template uniform<Acc>(element) < rate ? Acc(0) : Acc(1) / (Acc(1) - rate);
  }
};

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

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n,
                                  const acc* sum) const {
    const auto d_ff = static_cast<std::int64_t>(hidden.extent(1));
    for (int j = 0; j < n; ++j) {
      const acc a = bias.data() ? sum[j] + bias(expert, column + j) : sum[j];
      if (pre.data()) pre(row, column + j) = T(a);
      const acc keep = dropout.rate > 0 ? dropout.factor(slot(row), d_ff, column + j) : acc(1);
      hidden(row, column + j) = T(keep * activate(activation, a));
    }
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

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n, const acc* gate,
                                  const acc* sum) const {
    const auto d_ff = static_cast<std::int64_t>(hidden.extent(1));
    for (int j = 0; j < n; ++j) {
      const acc u = bias.data() ? gate[j] + bias_gate(expert, column + j) : gate[j];
      const acc v = bias.data() ? sum[j] + bias(expert, column + j) : sum[j];
      pre(row, column + j) = T(u);
      pre(row, d_ff + column + j) = T(v);
      const acc keep = dropout.rate > 0 ? dropout.factor(slot(row), d_ff, column + j) : acc(1);
      hidden(row, column + j) = T(keep * activate(activation, u) * v);
    }
  }
};

/// out(place(row)) = T(sum + bias)
template <class T, class Space>
struct store_epilogue {
  static constexpr bool paired = false;
  using acc = accumulate_t<T>;
  matrix<T, Space> out;
  bias_view<T, Space> bias;
  gemm::index_view<Space> place;

  KOKKOS_FUNCTION void operator()(std::int64_t expert, std::int64_t row, std::int64_t column, int n,
                                  const acc* sum) const {
    T* to = &out(place.data() ? place(row) : row, column);
    for (int j = 0; j < n; ++j) to[j] = T(bias.data() ? sum[j] + bias(expert, column + j) : sum[j]);
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

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n, const acc* sum) const {
    const auto d_ff = static_cast<std::int64_t>(hidden.extent(1));
    for (int j = 0; j < n; ++j) {
      const std::int64_t f = column + j;
      const acc keep = dropout.rate > 0 ? dropout.factor(slot(row), d_ff, f) : acc(1);
      const acc dh = sum[j] * keep;
      if (gated) {
        const acc u = static_cast<acc>(pre(row, f)), v = static_cast<acc>(pre(row, d_ff + f));
        d_pre(row, f) = T(dh * v * activate_derivative(activation, u));
        d_pre(row, d_ff + f) = T(dh * activate(activation, u));
      } else if (pre.data()) {
        d_pre(row, f) = T(dh * activate_derivative(activation, static_cast<acc>(pre(row, f))));
      } else { // plain ReLU: h > 0 exactly where a > 0 and D > 0
        d_pre(row, f) = T(static_cast<acc>(hidden(row, f)) > acc(0) ? dh : acc(0));
      }
    }
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
  Kokkos::parallel_for(
      "switchyard::experts::column_sums",
      Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, groups.groups() * d.columns()),
      column_sum_kernel<T, G, Space>{groups, d, sums, accumulate});
}

} // namespace switchyard::experts::detail

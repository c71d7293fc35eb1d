// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/dropout.hpp>

namespace switchyard::model::detail {

/// One token.
template <class T, class W, class Space>
struct embed_kernel {
  using acc = accumulate_t<T>;
  matrix<const W, Space> table; // [V, M]
  vector<const std::int32_t, Space> tokens;
  dropout<acc> drop;
  matrix<T, Space> x;       // [rows, M]
  std::int64_t first_token; // that of row 0 of the table

  KOKKOS_FUNCTION void operator()(std::int64_t t) const {
    const auto n = static_cast<std::int64_t>(x.extent(1));
    const std::int64_t v = tokens(t) - first_token;
    T* KOKKOS_RESTRICT to = x.data() + t * n;
    if (v < 0 || v >= static_cast<std::int64_t>(table.extent(0))) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = T(0.0f);
      return;
    }
    const W* KOKKOS_RESTRICT from = table.data() + v * n;
    if (drop.rate > 0)
      for (std::int64_t i = 0; i < n; ++i) to[i] = T(static_cast<acc>(from[i]) * drop.factor(t * n + i));
    else
      for (std::int64_t i = 0; i < n; ++i) to[i] = T(static_cast<acc>(from[i]));
  }
};

/// Some columns of a range of the vocabulary.
template <class T, class G, class Space>
struct embed_gradient_kernel {
  using acc = accumulate_t<T>;
  static constexpr std::int64_t Width = 32, Ranges = 8;
  vector<const std::int32_t, Space> tokens;
  matrix<const T, Space> dx; // [rows, M]
  dropout<acc> drop;
  matrix<G, Space> gradient; // [V, M]
  bool accumulate;
  std::int64_t pieces, first_token;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    const auto n = static_cast<std::int64_t>(dx.extent(1)), rows = static_cast<std::int64_t>(dx.extent(0));
    const auto vocabulary = static_cast<std::int64_t>(gradient.extent(0));
    const std::int64_t range = task / pieces, first = vocabulary * range / Ranges,
                       last = vocabulary * (range + 1) / Ranges;
    const std::int64_t begin = task % pieces * Width, end = begin + Width < n ? begin + Width : n;
    for (std::int64_t v = first; v < last && !accumulate; ++v)
      for (std::int64_t i = begin; i < end; ++i) gradient(v, i) = G(0);
    for (std::int64_t t = 0; t < rows; ++t) {
      const std::int64_t v = tokens(t) - first_token;
      if (v < first || v >= last) continue;
      const T* KOKKOS_RESTRICT from = dx.data() + t * n;
      G* KOKKOS_RESTRICT to = gradient.data() + v * n;
      if (drop.rate > 0)
        for (std::int64_t i = begin; i < end; ++i)
          to[i] += static_cast<G>(static_cast<acc>(from[i]) * drop.factor(t * n + i));
      else
        for (std::int64_t i = begin; i < end; ++i) to[i] += static_cast<G>(from[i]);
    }
  }
};

} // namespace switchyard::model::detail

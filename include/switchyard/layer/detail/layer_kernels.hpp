// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/layer/tape.hpp>

namespace switchyard::detail {

/// dx = T(sum_j dX[row(t, j)] + J ∘ (dh W_r^T)): the epilogue of the router's backward product.
template <class T, class Real, class Space>
struct dx_epilogue {
  static constexpr bool paired = false;
  router::problem size;
  router::settings set;
  router::decision<Real, Space> d;
  dispatch::slot_map<Space> map;
  router::input_noise noise;
  Kokkos::View<const T**, Kokkos::LayoutRight, Space> rows; // [rows, M here] dX
  Kokkos::View<T**, Kokkos::LayoutRight, Space> dx;         // [T, M here]
  std::int64_t d_model, first;                              // M, and the column that is column 0 here

  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t t, std::int64_t column, int n,
                                  Real* KOKKOS_RESTRICT router) const {
    using acc = accumulate_t<T>;
    if (noise.active()) {
      const auto element = static_cast<std::uint64_t>((size.group_begin * size.tokens + t) * d_model + column);
      for (int i = 0; i < n; ++i) router[i] *= noise.template factor<Real>(element + static_cast<std::uint64_t>(i));
    }
    const std::int64_t last = first + static_cast<std::int64_t>(dx.extent(1));
    if (gpu::one_piece<T>(n)) return one_piece(t, column, last, router);
    int begin = column < first ? static_cast<int>(first - column < n ? first - column : n) : 0;
    const int end = column + n > last ? static_cast<int>(last > column ? last - column : 0) : n;
    for (; begin < end; begin += chunk) {
      const int count = end - begin < chunk ? end - begin : chunk;
      acc sum[chunk];
      for (int i = 0; i < count; ++i) sum[i] = 0;
      for (int j = 0; j < set.choices; ++j) {
        const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
        if (row < 0) continue;
        const T* KOKKOS_RESTRICT from = &rows(row, column - first + begin);
        for (int i = 0; i < count; ++i) sum[i] += static_cast<acc>(from[i]);
      }
      T* KOKKOS_RESTRICT to = &dx(t, column - first + begin);
      for (int i = 0; i < count; ++i) to[i] = T(sum[i] + static_cast<acc>(router[begin + i]));
    }
  }

  /// The same for as many columns as 16 bytes hold, number by number where a row does not begin and end at 16 bytes.
  KOKKOS_FUNCTION void one_piece(std::int64_t t, std::int64_t column, std::int64_t last, const Real* router) const {
    using acc = accumulate_t<T>;
    constexpr int n = gpu::wide<T>;
    const bool whole = column >= first && column + n <= last && gpu::aligned(&dx(t, column - first)) &&
                       gpu::aligned(rows.data()) && rows.extent(1) % n == 0;
    acc sum[n];
    for (int i = 0; i < n; ++i) sum[i] = 0;
    for (int j = 0; j < set.choices; ++j) {
      const std::int64_t row = map(d.choice(t, j), t / size.tokens, d.slot(t, j));
      if (row < 0) continue;
      const T* from = rows.data() + row * static_cast<std::int64_t>(rows.extent(1)) + (column - first);
      if (whole) {
        const auto piece = gpu::load<n>(from);
        for (int i = 0; i < n; ++i) sum[i] += piece.get(i);
      } else {
        for (int i = 0; i < n; ++i)
          if (column + i >= first && column + i < last) sum[i] += static_cast<acc>(from[i]);
      }
    }
    for (int i = 0; i < n; ++i) sum[i] += static_cast<acc>(router[i]);
    if (whole) return gpu::store_piece(sum, &dx(t, column - first));
    for (int i = 0; i < n; ++i)
      if (column + i >= first && column + i < last) dx(t, column - first + i) = T(sum[i]);
  }

  static constexpr int chunk = 64;
};

template <class From, class To>
struct convert_kernel {
  From from;
  To to;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    to.data()[i] = static_cast<typename To::value_type>(from.data()[i]);
  }
};

/// to = from, element by element, between types.
template <class Exec, class From, class To>
void convert(const Exec& exec, const From& from, const To& to) {
  for_each_index("switchyard::convert", exec, static_cast<std::int64_t>(to.size()), convert_kernel<From, To>{from, to});
}

/// Any view of a rank-2 or rank-3 LayoutRight tensor as [rows, last extent], sharing its memory.
template <class View>
auto as_rows(const View& v) {
  using T = typename View::value_type;
  const std::size_t columns = v.extent(View::rank - 1);
  return Kokkos::View<T**, Kokkos::LayoutRight, typename View::memory_space, Kokkos::MemoryUnmanaged>(
      v.data(), columns == 0 ? 0 : v.size() / columns, columns);
}

} // namespace switchyard::detail

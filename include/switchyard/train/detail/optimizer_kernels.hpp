// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/lanes.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/model/types.hpp>

namespace switchyard::train::detail {

inline constexpr std::int64_t element_block = 2048; // elements that one task updates
inline constexpr int column_block = 32;             // columns whose means one task makes

/// A parameter as a stack of matrices: rank 3 is one, rank 2 is one matrix, rank 1 a matrix of one row.
struct matrices {
  std::int64_t count = 0, rows = 0, columns = 0;
  std::int64_t row_count() const { return count * rows; }
  std::int64_t size() const { return count * rows * columns; }
};
template <class View>
matrices matrices_of(const View& v) {
  const auto extent = [&](unsigned i) { return static_cast<std::int64_t>(v.extent(i)); };
  if constexpr (View::rank == 1)
    return {1, 1, extent(0)};
  else if constexpr (View::rank == 2)
    return {1, extent(0), extent(1)};
  else
    return {extent(0), extent(1), extent(2)};
}

/// One step of AdamW for a block of elements; S is the type of the state and of the arithmetic.
template <class W, class G, class S>
struct adamw_kernel {
  W* weight;
  const G* gradient;
  S* first;
  S* second;
  std::int64_t size;
  S scale, rate, beta1, beta2, correction1, correction2, epsilon, decay;

  KOKKOS_FUNCTION void operator()(std::int64_t block) const {
    in_vector_code([&] { run(block); });
  }
  KOKKOS_FUNCTION void run(std::int64_t block) const {
    const std::int64_t begin = block * element_block, end = begin + element_block < size ? begin + element_block : size;
    for (std::int64_t i = begin; i < end; ++i) {
      const S g = scale * static_cast<S>(gradient[i]), w = static_cast<S>(weight[i]);
      const S m = beta1 * first[i] + (S(1) - beta1) * g;
      const S v = beta2 * second[i] + (S(1) - beta2) * g * g;
      first[i] = m;
      second[i] = v;
      weight[i] = W(w - rate * (m / correction1 / (Kokkos::sqrt(v / correction2) + epsilon) + decay * w));
    }
  }
};

/// What the kernels of Adafactor share. Factored: the second moment of element (e, r, c) is
/// row(e, r) column(e, c) / mean(e), mean(e) that of the rows; else it is full(i).
template <class G, class S>
struct adafactor_state {
  matrices shape;
  const G* gradient;
  S* row;     // [count, rows], or nullptr
  S* column;  // [count, columns]
  S* full;    // [size], where not factored
  S* mean;    // [count] of the rows
  S* inverse; // [count, columns] 1 / sqrt(column)
  S scale, beta2, epsilon1;

  KOKKOS_FUNCTION S square(std::int64_t i) const {
    const S g = scale * static_cast<S>(gradient[i]);
    return g * g + epsilon1;
  }
};

/// row, or full: one task per row.
template <class G, class S>
struct adafactor_rows_kernel {
  adafactor_state<G, S> a;
  KOKKOS_FUNCTION void operator()(std::int64_t r) const {
    in_vector_code([&] { run(r); });
  }
  KOKKOS_FUNCTION void run(std::int64_t r) const {
    const std::int64_t n = a.shape.columns, begin = r * n;
    if (a.row == nullptr) {
      for (std::int64_t i = begin; i < begin + n; ++i) a.full[i] = a.beta2 * a.full[i] + (S(1) - a.beta2) * a.square(i);
      return;
    }
    const S sum = lane_sum<S>(n, [&](std::int64_t c) { return a.square(begin + c); });
    a.row[r] = a.beta2 * a.row[r] + (S(1) - a.beta2) * (sum / static_cast<S>(n));
  }
};

/// column and its inverse root: one task per block of columns of a matrix.
template <class G, class S>
struct adafactor_columns_kernel {
  adafactor_state<G, S> a;
  std::int64_t blocks; // of columns
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    in_vector_code([&] { run(task); });
  }
  KOKKOS_FUNCTION void run(std::int64_t task) const {
    const std::int64_t e = task / blocks, begin = task % blocks * column_block, n = a.shape.columns;
    const std::int64_t here = n - begin < column_block ? n - begin : column_block;
    const std::int64_t first = e * a.shape.rows * n + begin;
    S sum[column_block] = {};
    for (std::int64_t r = 0; r < a.shape.rows; ++r) {
      if (here == column_block) // a constant: the sums stay in registers
        for (int c = 0; c < column_block; ++c) sum[c] += a.square(first + r * n + c);
      else
        for (std::int64_t c = 0; c < here; ++c) sum[c] += a.square(first + r * n + c);
    }
    S *to = a.column + e * n + begin, *inverse = a.inverse + e * n + begin;
    for (std::int64_t c = 0; c < here; ++c) {
      to[c] = a.beta2 * to[c] + (S(1) - a.beta2) * (sum[c] / static_cast<S>(a.shape.rows));
      inverse[c] = S(1) / Kokkos::sqrt(to[c]);
    }
  }
};

/// mean: one task per matrix.
template <class G, class S>
struct adafactor_means_kernel {
  adafactor_state<G, S> a;
  KOKKOS_FUNCTION void operator()(std::int64_t e) const {
    const S* row = a.row + e * a.shape.rows;
    a.mean[e] = lane_sum<S>(a.shape.rows, [&](std::int64_t r) { return row[r]; }) / static_cast<S>(a.shape.rows);
  }
};

/// Calls f(u) for a row, u(column) the update of an element before clipping.
template <class G, class S, class F>
KOKKOS_INLINE_FUNCTION void adafactor_row(const adafactor_state<G, S>& a, std::int64_t r, const F& f) {
  const std::int64_t n = a.shape.columns;
  const G* g = a.gradient + r * n;
  if (a.row == nullptr) {
    const S* full = a.full + r * n;
    f([=](std::int64_t c) { return a.scale * static_cast<S>(g[c]) / Kokkos::sqrt(full[c]); });
    return;
  }
  const std::int64_t e = r / a.shape.rows;
  const S* inverse = a.inverse + e * n;
  const S along = a.scale / Kokkos::sqrt(a.row[r] / a.mean[e]);
  f([=](std::int64_t c) { return along * static_cast<S>(g[c]) * inverse[c]; });
}

/// Sums of squares of a row's updates and weights: one task per row.
template <class W, class G, class S>
struct adafactor_sums_kernel {
  adafactor_state<G, S> a;
  const W* weight;
  double* sums; // [count, rows, 2]
  KOKKOS_FUNCTION void operator()(std::int64_t r) const {
    in_vector_code([&] { run(r); });
  }
  KOKKOS_FUNCTION void run(std::int64_t r) const {
    const std::int64_t n = a.shape.columns;
    const W* w = weight + r * n;
    const auto square = [](S x) { return static_cast<double>(x) * static_cast<double>(x); };
    adafactor_row(a, r, [&](const auto& update) {
      sums[2 * r] = lane_sum<double>(n, [&](std::int64_t c) { return square(update(c)); });
    });
    sums[2 * r + 1] = lane_sum<double>(n, [&](std::int64_t c) { return square(static_cast<S>(w[c])); });
  }
};

/// What the updates of a matrix are multiplied with: one task per matrix.
template <class S>
struct adafactor_steps_kernel {
  matrices shape;
  const double* sums; // [count, rows, 2]
  S* step;            // [count]
  double rate, clip, epsilon2;
  bool parameter_scale;
  KOKKOS_FUNCTION void operator()(std::int64_t e) const {
    double updates = 0, weights = 0;
    for (std::int64_t r = e * shape.rows; r < (e + 1) * shape.rows; ++r) {
      updates += sums[2 * r];
      weights += sums[2 * r + 1];
    }
    const auto n = static_cast<double>(shape.rows * shape.columns);
    const double over = clip > 0 ? Kokkos::sqrt(updates / n) / clip : 0.0, size = Kokkos::sqrt(weights / n);
    const double alpha = parameter_scale ? rate * (size > epsilon2 ? size : epsilon2) : rate;
    step[e] = static_cast<S>(over > 1 ? alpha / over : alpha);
  }
};

/// The update itself: one task per row.
template <class W, class G, class S>
struct adafactor_apply_kernel {
  adafactor_state<G, S> a;
  W* weight;
  S* first;      // [size], or nullptr without momentum
  const S* step; // [count]
  S beta1, decay;
  KOKKOS_FUNCTION void operator()(std::int64_t r) const {
    in_vector_code([&] { run(r); });
  }
  KOKKOS_FUNCTION void run(std::int64_t r) const {
    const std::int64_t n = a.shape.columns;
    const S alpha = step[r / a.shape.rows];
    W* KOKKOS_RESTRICT w = weight + r * n;
    S* KOKKOS_RESTRICT m = first == nullptr ? nullptr : first + r * n;
    adafactor_row(a, r, [&](const auto& update) {
      for (std::int64_t c = 0; c < n; ++c) {
        const S here = static_cast<S>(w[c]);
        S change = alpha * update(c);
        if (m != nullptr) change = m[c] = beta1 * m[c] + (S(1) - beta1) * change;
        w[c] = W(here - change - decay * here);
      }
    });
  }
};

/// Sum of squares of a block of one matrix's elements.
template <class G>
struct squares_kernel {
  const G* gradient;
  std::int64_t each, blocks; // elements and blocks of a matrix
  double* sums;              // [count, blocks]
  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    in_vector_code([&] { run(task); });
  }
  KOKKOS_FUNCTION void run(std::int64_t task) const {
    const std::int64_t begin = task % blocks * element_block;
    const std::int64_t n = each - begin < element_block ? each - begin : element_block;
    const G* g = gradient + task / blocks * each + begin;
    sums[task] = lane_sum<double>(n, [&](std::int64_t i) {
      const auto value = static_cast<double>(g[i]);
      return value * value;
    });
  }
};

} // namespace switchyard::train::detail

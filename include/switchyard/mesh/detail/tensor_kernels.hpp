// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/core/precision.hpp>

namespace switchyard::detail {

/// The most dimensions that an operation of the algebra walks over.
inline constexpr int most_dimensions = 8;

struct walk {
  int rank = 0;
  std::int64_t extent[most_dimensions] = {};
  std::int64_t stride_a[most_dimensions] = {}, stride_b[most_dimensions] = {};
  std::int64_t count = 1;

  void add(std::int64_t n, std::int64_t a, std::int64_t b) {
    extent[rank] = n;
    stride_a[rank] = a;
    stride_b[rank] = b;
    ++rank;
    count *= n;
  }
  /// Where point i of the walk, the last dimension varying fastest, lies in both operands.
  KOKKOS_FUNCTION void at(std::int64_t i, std::int64_t& a, std::int64_t& b) const {
    for (int d = rank - 1; d >= 0; --d) {
      const std::int64_t c = i % extent[d];
      i /= extent[d];
      a += c * stride_a[d];
      b += c * stride_b[d];
    }
  }
};

/// out_i = sum_k a_ik b_ik over the walk k, in its order: the same bytes on every run. Sums in float for 16-bit types.
template <class Out, class A, class B, class Space>
struct contraction {
  using acc = std::common_type_t<accumulate_t<A>, accumulate_t<B>>;
  walk kept, summed;
  Kokkos::View<const A*, Space> a;
  Kokkos::View<const B*, Space> b;
  Kokkos::View<Out*, Space> out;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    std::int64_t at_a = 0, at_b = 0;
    kept.at(i, at_a, at_b);
    const int last = summed.rank - 1;
    const std::int64_t run = last < 0 ? 1 : summed.extent[last];
    const std::int64_t step_a = last < 0 ? 0 : summed.stride_a[last], step_b = last < 0 ? 0 : summed.stride_b[last];
    acc total = 0;
    for (std::int64_t k = 0; k < summed.count; k += run) {
      std::int64_t p = at_a, q = at_b;
      summed.at(k, p, q);
      for (std::int64_t j = 0; j < run; ++j, p += step_a, q += step_b)
        total +=
            static_cast<acc>(static_cast<accumulate_t<A>>(a(p))) * static_cast<acc>(static_cast<accumulate_t<B>>(b(q)));
    }
    out(i) = static_cast<Out>(total);
  }
};

/// y = f(x), value by value, in the type sums are carried out in.
template <class F, class T, class Space>
struct mapped {
  F f;
  Kokkos::View<const T*, Space> x;
  Kokkos::View<T*, Space> y;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    y(i) = static_cast<T>(f(static_cast<accumulate_t<T>>(x(i))));
  }
};

template <class F, class T, class Space>
struct mapped_pairs {
  F f;
  Kokkos::View<const T*, Space> a, b;
  Kokkos::View<T*, Space> y;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    y(i) = static_cast<T>(f(static_cast<accumulate_t<T>>(a(i)), static_cast<accumulate_t<T>>(b(i))));
  }
};

template <class T, class Space>
struct added {
  Kokkos::View<const T*, Space> a, b;
  Kokkos::View<T*, Space> y;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    y(i) = static_cast<T>(static_cast<accumulate_t<T>>(a(i)) + static_cast<accumulate_t<T>>(b(i)));
  }
};

/// Values that differ in one index only.
template <class T>
struct line {
  T* first;
  std::int64_t stride, count;
  KOKKOS_FUNCTION std::int64_t size() const { return count; }
  KOKKOS_FUNCTION T& operator[](std::int64_t i) const { return first[i * stride]; }
};

template <class F, class T, class Space>
struct along_lines {
  F f;
  std::int64_t count, inner;
  Kokkos::View<const T*, Space> x;
  Kokkos::View<T*, Space> y;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t first = i / inner * count * inner + i % inner;
    f(line<const T>{x.data() + first, inner, count}, line<T>{y.data() + first, inner, count});
  }
};

} // namespace switchyard::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/large_pages.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/rows.hpp>

/// \file
/// The views that the operations of a model work on. Activations are matrices of rows, one per token: [batch, length]
/// is one index, batch-major. Every operation takes the execution-space instance first, queues its work on it, fences
/// nothing, allocates nothing and does not communicate; its results do not depend on the number of threads.

namespace switchyard::model {

template <class T, class Space>
using vector = Kokkos::View<T*, Space>;
template <class T, class Space>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;
template <class T, class Space>
using stack = Kokkos::View<T***, Kokkos::LayoutRight, Space>;

/// Columns of a matrix: a row has unit stride, rows lie `stride(0)` apart.
template <class T, class Space>
using columns = Kokkos::View<T**, Kokkos::LayoutStride, Space>;

/// Columns [begin, begin + count) of a matrix.
template <class View>
auto columns_of(const View& from, std::int64_t begin, std::int64_t count) {
  return Kokkos::subview(
      from, Kokkos::ALL,
      Kokkos::pair<std::size_t, std::size_t>(static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + count)));
}

/// `count` rows as the one group of a grouped product.
template <class Space>
struct one_group {
  vector<std::int64_t, Space> offset; // {0, count}
  std::int64_t count = 0;

  one_group() = default;
  /// Allocates.
  explicit one_group(std::int64_t rows) : offset("switchyard::model::one_group", 2), count(rows) {
    Kokkos::deep_copy(Kokkos::subview(offset, 1), rows);
  }
  gemm::row_groups<Space> groups() const { return {offset, count, count}; }
};

namespace detail {

template <class View>
std::int64_t extent(const View& v, int i) {
  return static_cast<std::int64_t>(v.extent(static_cast<unsigned>(i)));
}

template <class From, class To>
struct convert_kernel {
  From from;
  To to;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    to.data()[i] = static_cast<typename To::value_type>(from.data()[i]);
  }
};

} // namespace detail

/// to = from, element by element, between number types.
template <class Exec, class From, class To>
void convert(const Exec& exec, const From& from, const To& to) {
  for_each_index("switchyard::model::convert", exec, static_cast<std::int64_t>(to.size()),
                 detail::convert_kernel<From, To>{from, to});
}

} // namespace switchyard::model

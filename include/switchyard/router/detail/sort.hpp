// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/router/decision.hpp>

namespace switchyard::router::detail {

/// A number whose ascending order is the falling order of scores in [0, 1]: real tokens by score, NaN after them,
/// padding last.
template <class Real>
struct sort_key {
  using type = std::conditional_t<sizeof(Real) == 8, std::uint64_t, std::uint32_t>;
  static constexpr type padding = ~type{0};
  KOKKOS_FUNCTION static type of(Real score) {
    return Kokkos::isnan(score) ? padding - 1
                                : ~(Kokkos::bit_cast<type>(score + Real(0)) | type{1} << (8 * sizeof(type) - 1));
  }
};

/// Buffers of a stable sort of `segments` lists of `length` keys each: least significant digit first, one counting sort
/// per digit. Counting sorts are stable and use no atomics, so equal keys stay in token order.
template <class Real, class Space>
struct sorter {
  using key = typename sort_key<Real>::type;
  static constexpr std::int64_t block = 1024; // items that one thread counts and scatters
  static constexpr int digits = 256;

  std::int64_t segments = 0, length = 0, blocks = 0;
  Kokkos::View<key*, Space> keys[2];            // [segments * length]
  Kokkos::View<std::int32_t*, Space> order[2];  // [segments * length] position within the segment
  Kokkos::View<std::int32_t*, Space> histogram; // [segments, blocks, digits]

  sorter() = default;
  sorter(std::int64_t segment_count, std::int64_t segment_length)
      : segments(segment_count), length(segment_length), blocks((segment_length + block - 1) / block) {
    const auto items = static_cast<std::size_t>(segments * length);
    for (int i = 0; i < 2; ++i) {
      keys[i] =
          Kokkos::View<key*, Space>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::keys"), items);
      order[i] = Kokkos::View<std::int32_t*, Space>(
          Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::order"), items);
    }
    histogram = Kokkos::View<std::int32_t*, Space>(
        Kokkos::view_alloc(Kokkos::WithoutInitializing, "switchyard::router::histogram"),
        static_cast<std::size_t>(segments * blocks * digits));
  }
};

/// One pass of the sort over (segment, block): count the digits, or move the items to their places.
template <class Real, class Space, bool Scatter>
struct digit_kernel {
  using key = typename sort_key<Real>::type;
  std::int64_t length, blocks;
  int shift;
  Kokkos::View<const key*, Space> keys_in;
  Kokkos::View<const std::int32_t*, Space> order_in;
  Kokkos::View<key*, Space> keys_out;
  Kokkos::View<std::int32_t*, Space> order_out, histogram;

  KOKKOS_FUNCTION void operator()(std::int64_t task) const {
    using sort = sorter<Real, Space>;
    std::int32_t* bin = histogram.data() + task * sort::digits;
    const std::int64_t segment = task / blocks;
    const std::int64_t begin = segment * length + task % blocks * sort::block;
    const std::int64_t end =
        begin + sort::block < (segment + 1) * length ? begin + sort::block : (segment + 1) * length;
    if constexpr (!Scatter)
      for (int d = 0; d < sort::digits; ++d) bin[d] = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int32_t place = bin[(keys_in(i) >> shift) & 255]++;
      if constexpr (Scatter) {
        keys_out(segment * length + place) = keys_in(i);
        order_out(segment * length + place) = order_in(i);
      }
    }
  }
};

/// Counts -> first place of each (digit, block) within its segment.
template <class Real, class Space>
struct digit_scan_kernel {
  std::int64_t blocks;
  Kokkos::View<std::int32_t*, Space> histogram;
  KOKKOS_FUNCTION void operator()(std::int64_t segment) const {
    using sort = sorter<Real, Space>;
    std::int32_t sum = 0;
    for (int d = 0; d < sort::digits; ++d)
      for (std::int64_t b = 0; b < blocks; ++b) {
        std::int32_t& bin = histogram((segment * blocks + b) * sort::digits + d);
        const std::int32_t count = bin;
        bin = sum;
        sum += count;
      }
  }
};

} // namespace switchyard::router::detail

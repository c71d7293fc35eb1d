// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/rows.hpp>

namespace switchyard::dispatch::detail {

/// Between [rows, ranks * width] and [ranks][rows, width]: the order in which columns travel.
template <class T, class Space, bool Cut>
struct column_kernel {
  Kokkos::View<T**, Kokkos::LayoutRight, Space> whole;
  Kokkos::View<T*, Space> parts;
  std::int64_t rows, width;
  gemm::index_view<Space> offset, place; // row i < offset(last) is row place(i) of both; empty: all rows

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    if (place.data() != nullptr && i >= offset(offset.extent(0) - 1)) return;
    const std::int64_t row = place.data() != nullptr ? place(i) : i;
    const auto columns = static_cast<std::int64_t>(whole.extent(1));
    for (std::int64_t begin = 0; begin < columns; begin += width) {
      T* KOKKOS_RESTRICT here = &whole(row, begin);
      T* KOKKOS_RESTRICT away = &parts(begin * rows + row * width);
      for (std::int64_t c = 0; c < width; ++c) {
        if constexpr (Cut)
          away[c] = here[c];
        else
          here[c] = away[c];
      }
    }
  }
};

} // namespace switchyard::dispatch::detail

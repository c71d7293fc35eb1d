// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <string>
#include <type_traits>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace switchyard::detail {

/// Asks the system to back a view in host memory by large pages: weights are streamed once per pass, and with pages of
/// 4 KiB a good part of that time goes into finding them. Call it before the first touch, so on a view allocated
/// WithoutInitializing. Only a hint, its failure changes nothing but speed; small views and other spaces are left
/// alone.
template <class View>
void prefer_large_pages(const View& view) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if constexpr (std::is_same_v<typename View::memory_space, Kokkos::HostSpace>) {
    constexpr std::uintptr_t large = std::uintptr_t{2} << 20;
    const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(view.data()) + large - 1) / large * large;
    const std::uintptr_t end =
        (reinterpret_cast<std::uintptr_t>(view.data()) + view.size() * sizeof(typename View::value_type)) / large *
        large;
    if (view.data() != nullptr && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
#else
  (void)view;
#endif
}

/// A view in large pages where it is large, holding whatever the memory held. Allocates.
template <class View, class... Extent>
View make_raw(const std::string& label, Extent... n) {
  View view(Kokkos::view_alloc(Kokkos::WithoutInitializing, label), static_cast<std::size_t>(n)...);
  prefer_large_pages(view);
  return view;
}

/// The same of zeros.
template <class View, class... Extent>
View make_zeros(const std::string& label, Extent... n) {
  const View view = make_raw<View>(label, n...);
  Kokkos::deep_copy(view, typename View::value_type{});
  return view;
}

} // namespace switchyard::detail

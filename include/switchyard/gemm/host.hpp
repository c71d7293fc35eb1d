// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/large_pages.hpp>
#include <switchyard/gemm/detail/avx2_kernels.hpp>
#include <switchyard/gemm/detail/avx512_kernels.hpp>
#include <switchyard/gemm/detail/panel_gradient.hpp>
#include <switchyard/gemm/detail/panel_product.hpp>
#include <switchyard/gemm/portable.hpp>

/// \file
/// Products on host spaces. The schedule is ours: one parallel region per product, tasks over (group, row tile, range
/// of column panels), rows gathered and the epilogue applied inside the tile. The micro-kernels inside come from the
/// first of the engine's sources that has some for the CPU at hand, so no compile flag is asked of the user. Where none
/// has, the same calls run the portable kernels; packed.kernels is empty then.

namespace switchyard::gemm {

/// Weights of all groups in column panels of up to 64, and the kernels that read them.
template <class T, class Space>
struct host_packed {
  using value_type = T;
  Kokkos::View<T*, Space> panels; // [groups, panels, K, width], bfloat16: K in pairs; K and columns padded with zeros
  std::shared_ptr<const detail::micro_kernels<T>> kernels;
  std::int64_t groups = 0, rows = 0, columns = 0;
  bool paired = false;                // two matrices, their panels alternating
  portable_packed<T, Space> portable; // where there are no kernels
};

namespace detail {
template <class First, class... More>
constexpr const char* name_of_sources() {
  return sizeof...(More) == 0 ? First::name : "host";
}
} // namespace detail

template <class... Source>
struct host_engine {
  static constexpr const char* name = detail::name_of_sources<Source...>();

  /// The sources promise that a row gets the same bytes however many rows there are; oneDNN's are checked for it.
  static constexpr bool row_invariant = true;

  template <class Exec, class T>
  static constexpr bool supports = detail::host_space<Exec> && (Source::template supports<T> || ...);

  template <class Exec, class T>
  using packed = host_packed<T, typename Exec::memory_space>;

  /// As portable_engine. May generate kernels, and has exec keep the memory that they work in.
  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec& exec, std::int64_t groups, std::int64_t rows, std::int64_t columns,
                                  bool paired = false) {
    packed<Exec, T> to;
    to.groups = groups;
    to.rows = rows;
    to.columns = columns;
    to.paired = paired;
    to.kernels = make_kernels<T>(rows, columns);
    if (to.kernels && scratch_bytes<Exec>(*to.kernels) > scratch_limit) to.kernels.reset();
    if (!to.kernels) {
      to.portable = portable_engine::allocate<Exec, T>(exec, groups, rows, columns, paired);
      return to;
    }
    const auto& k = *to.kernels;
    to.panels = switchyard::detail::make_zeros<Kokkos::View<T*, typename Exec::memory_space>>( // the padding stays zero
        "switchyard::gemm::panels", groups * k.panels * (paired ? 2 : 1) * k.chunks * k.depth * k.width);
    detail::reserve_scratch(exec, scratch_bytes<Exec>(k));
    return to;
  }

  /// As portable_engine.
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, orientation how,
                   std::int64_t row_begin = 0, int half = 0) {
    if (!to.kernels) return portable_engine::pack<Exec, T>(exec, to.portable, weight, how, row_begin, half);
    using kernel = detail::panel_pack_kernel<T, typename View::non_const_value_type, typename Exec::memory_space>;
    const auto& k = *to.kernels;
    const bool transposed = how == orientation::transposed;
    const std::int64_t k_count = static_cast<std::int64_t>(weight.extent(transposed ? 2 : 1)), step = to.paired ? 2 : 1;
    for_each_index("switchyard::gemm::pack", exec, to.groups * k.panels * detail::ceil_div(k_count, kernel::Rows),
                   kernel{weight, to.panels, k.chunks * k.depth, row_begin, k_count, to.columns, k.width, k.panels,
                          step, half, k.panels * step, transposed});
  }

  /// See grouped_product. Rows of a type narrower than T are converted while they are gathered.
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                      const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    static_assert(sizeof(A) <= sizeof(T), "switchyard: rows wider than the packed weights would lose digits");
    if (!b.kernels) return portable_engine::product<Exec, A, T>(exec, groups, a, b.portable, epilogue);
    using kernel = detail::panel_product_kernel<A, T, Exec, Epilogue>;
    constexpr int tile = detail::micro_kernels<T>::tile;
    const std::int64_t parts = detail::parts_for(exec, groups.max_rows / tile, b.kernels->panels, 8);
    Kokkos::parallel_for(
        "switchyard::gemm::product",
        detail::make_scratch_policy(exec, detail::tile_bound(groups, tile) * parts, kernel::scratch_bytes(*b.kernels)),
        kernel{groups, a, b.panels, b.kernels, b.rows, b.columns, parts, epilogue});
  }

  /// See grouped_weight_gradient.
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const packed<Exec, T>& b,
                              const View& gradient, bool accumulate) {
    using G = typename View::value_type;
    static_assert(sizeof(A) <= sizeof(T) && sizeof(D) <= sizeof(T) && std::same_as<G, accumulate_t<T>>,
                  "switchyard: rows are no wider than the packed weights, gradients are of the accumulate type");
    if (!b.kernels) return portable_engine::weight_gradient(exec, groups, a, d, b.portable, gradient, accumulate);
    using kernel = detail::panel_gradient_kernel<A, D, T, G, Exec>;
    const std::int64_t tasks = groups.groups() * detail::ceil_div(a.columns(), kernel::Rows);
    const std::int64_t parts = detail::parts_for(exec, tasks, b.kernels->panels, 4);
    Kokkos::parallel_for(
        "switchyard::gemm::weight_gradient",
        detail::make_scratch_policy(exec, tasks * parts, kernel::scratch_bytes(*b.kernels)),
        kernel{groups, a, d, gradient, b.kernels, parts, accumulate, gradient.size() * sizeof(G) > cache_bytes});
  }

 private:
  static constexpr std::size_t scratch_limit = std::size_t{16} << 20; // Kokkos gives a team 20 MiB
  static constexpr std::size_t cache_bytes = std::size_t{32} << 20;   // a usual last-level cache

  /// Of the first source that is at its best on this CPU, else of the first that has any.
  template <class T>
  static std::shared_ptr<const detail::micro_kernels<T>> make_kernels(std::int64_t rows, std::int64_t columns) {
    std::shared_ptr<const detail::micro_kernels<T>> found;
    ((found = found || !Source::template best<T>() ? found : Source::template make<T>(rows, columns)), ...);
    ((found = found ? found : Source::template make<T>(rows, columns)), ...);
    return found;
  }

  struct any_epilogue {
    static constexpr bool paired = false;
  };
  template <class Exec, class T>
  static std::size_t scratch_bytes(const detail::micro_kernels<T>& k) {
    return std::max(detail::panel_product_kernel<T, T, Exec, any_epilogue>::scratch_bytes(k),
                    detail::panel_gradient_kernel<T, T, T, accumulate_t<T>, Exec>::scratch_bytes(k));
  }
};

/// Our own kernels for AVX-512, and for AVX2.
using avx512_engine = host_engine<detail::avx512_source>;
using avx2_engine = host_engine<detail::avx2_source>;

} // namespace switchyard::gemm

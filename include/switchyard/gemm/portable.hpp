// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/portable_kernels.hpp>

/// \file
/// The engine that runs anywhere Kokkos does, for any pair of types: the fallback, and the truth the others are held
/// to.

namespace switchyard::gemm {

/// Weights of all groups in column panels, ready for a · W.
template <class T, class Space>
struct portable_packed {
  using value_type = T;
  Kokkos::View<T*, Space> panels; // [groups, panels, K, width]
  std::int64_t groups = 0, rows = 0, columns = 0;
  bool paired = false; // two matrices, their panels alternating
};

struct portable_engine {
  static constexpr const char* name = "portable";

  /// A row's result does not depend on how many rows share the product.
  static constexpr bool row_invariant = true;

  template <class Exec, class T>
  static constexpr bool supports = true;

  template <class Exec, class T>
  using packed = portable_packed<T, typename Exec::memory_space>;

  /// An empty packed matrix for `groups` matrices of [rows, columns]. Allocates.
  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec& exec, std::int64_t groups, std::int64_t rows, std::int64_t columns,
                                  bool paired = false) {
    const std::int64_t panels = detail::ceil_div(columns, width<T>) * (paired ? 2 : 1);
    return {Kokkos::View<T*, typename Exec::memory_space>(
                Kokkos::view_alloc(exec, Kokkos::WithoutInitializing, "switchyard::gemm::panels"),
                static_cast<std::size_t>(groups * panels * rows * width<T>)),
            groups, rows, columns, paired};
  }

  /// Fill `to` from `weight` [groups, rows, columns] (transposed: [groups, columns, rows]), rounding to T.
  /// row_begin: where its rows start in `to` (matrices stacked along K); half: which of the two of a paired matrix.
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, orientation how,
                   std::int64_t row_begin = 0, int half = 0) {
    using kernel = detail::pack_kernel<T, typename View::non_const_value_type, typename Exec::memory_space, width<T>>;
    const bool transposed = how == orientation::transposed;
    const std::int64_t k_count = static_cast<std::int64_t>(weight.extent(transposed ? 2 : 1));
    const std::int64_t n_panels = detail::ceil_div(to.columns, width<T>);
    const std::int64_t step = to.paired ? 2 : 1;
    for_each_index("switchyard::gemm::pack", exec, to.groups * n_panels * k_count,
                   kernel{weight, to.panels, to.rows, row_begin, step, half, n_panels * step, transposed});
  }

  /// See grouped_product.
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                      const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    using acc = accumulate_t<T>;
    using kernel = detail::product_kernel<A, T, acc, typename Exec::memory_space, Epilogue>;
    const std::int64_t panels = detail::ceil_div(b.columns, width<T>);
    for_each_index("switchyard::gemm::product", exec, detail::tile_bound(groups, kernel::Rows) * panels,
                   kernel{groups, a, b.panels, b.rows, b.columns, panels, epilogue});
  }

  /// See grouped_weight_gradient.
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const packed<Exec, T>&,
                              const View& gradient, bool accumulate) {
    using acc = accumulate_t<D>;
    using kernel = detail::weight_gradient_kernel<A, D, typename View::value_type, acc, typename Exec::memory_space>;
    const std::int64_t tasks =
        groups.groups() * detail::ceil_div(a.columns(), kernel::Rows) * detail::ceil_div(d.columns(), kernel::Columns);
    for_each_index("switchyard::gemm::weight_gradient", exec, tasks, kernel{groups, a, d, gradient, accumulate});
  }

 private:
  template <class T>
  static constexpr int width = detail::tile_shape<accumulate_t<T>>::columns;
};

} // namespace switchyard::gemm

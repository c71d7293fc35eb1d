// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/config.hpp>
#include <switchyard/core/for_each_index.hpp>

#if SWITCHYARD_HAS_BLAS

#include <limits>
#include <switchyard/core/error.hpp>
#include <switchyard/gemm/detail/blas_kernels.hpp>

/// \file
/// double and float on host spaces through a BLAS, for who names it: portable_engine is the default for double. Its
/// calls are made from inside a parallel region, one tile each: a BLAS that is threaded with OpenMP runs them on the
/// calling thread; tell another one to use one thread.

namespace switchyard::gemm {

/// Weights of all groups, each a plain row-major matrix.
template <class T, class Space>
struct blas_packed {
  using value_type = T;
  Kokkos::View<T***, Kokkos::LayoutRight, Space> matrices; // [groups, K, N]; paired: [2 groups, K, N], alternating
  std::int64_t groups = 0, rows = 0, columns = 0;
  bool paired = false;
};

struct blas_engine {
  static constexpr const char* name = "blas";

  /// A BLAS may compute a row one way or another, depending on how many there are and on where it stands among them
  /// (OpenBLAS' AVX2 kernels do, even at a fixed height). So it is nobody's default.
  static constexpr bool row_invariant = false;

  template <class Exec, class T>
  static constexpr bool supports = detail::host_space<Exec> && (std::same_as<T, double> || std::same_as<T, float>);

  template <class Exec, class T>
  using packed = blas_packed<T, typename Exec::memory_space>;

  /// As portable_engine. Throws invalid_argument for columns >= 2^31: a BLAS counts in int.
  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec& exec, std::int64_t groups, std::int64_t rows, std::int64_t columns,
                                  bool paired = false) {
    switchyard::detail::require(columns <= std::numeric_limits<int>::max(), "columns = ", columns,
                                ": a BLAS counts in int; use portable_engine");
    detail::reserve_scratch(exec, std::max(detail::blas_product_kernel<T, T, Exec, any_epilogue>::scratch_bytes(),
                                           detail::blas_weight_gradient_kernel<T, T, T, Exec>::scratch_bytes()));
    const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    return {Kokkos::View<T***, Kokkos::LayoutRight, typename Exec::memory_space>(
                Kokkos::view_alloc(exec, Kokkos::WithoutInitializing, "switchyard::gemm::matrices"),
                extent(paired ? 2 * groups : groups), extent(rows), extent(columns)),
            groups, rows, columns, paired};
  }

  /// As portable_engine.
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, orientation how,
                   std::int64_t row_begin = 0, int half = 0) {
    using kernel = detail::blas_pack_kernel<T, typename View::non_const_value_type, typename Exec::memory_space>;
    const bool transposed = how == orientation::transposed;
    const std::int64_t k_count = static_cast<std::int64_t>(weight.extent(transposed ? 2 : 1));
    for_each_index("switchyard::gemm::pack", exec, to.groups * k_count,
                   kernel{weight, to.matrices, row_begin, k_count, to.paired ? 2 : 1, half, transposed});
  }

  /// See grouped_product.
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                      const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    static_assert(sizeof(A) <= sizeof(T), "switchyard: rows wider than the packed weights would lose digits");
    using kernel = detail::blas_product_kernel<A, T, Exec, Epilogue>;
    const std::int64_t tasks = detail::tile_bound(groups, kernel::Height) * detail::ceil_div(b.columns, kernel::Width);
    Kokkos::parallel_for("switchyard::gemm::product", detail::make_scratch_policy(exec, tasks, kernel::scratch_bytes()),
                         kernel{groups, a, b.matrices, epilogue});
  }

  /// See grouped_weight_gradient. The gradient is in T.
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const packed<Exec, T>&,
                              const View& gradient, bool accumulate) {
    static_assert(sizeof(A) <= sizeof(T) && sizeof(D) <= sizeof(T),
                  "switchyard: rows wider than the packed weights would lose digits");
    using kernel = detail::blas_weight_gradient_kernel<A, D, T, Exec>;
    const std::int64_t tasks =
        groups.groups() * detail::ceil_div(a.columns(), kernel::Tile) * detail::ceil_div(d.columns(), kernel::Tile);
    Kokkos::parallel_for("switchyard::gemm::weight_gradient",
                         detail::make_scratch_policy(exec, tasks, kernel::scratch_bytes()),
                         kernel{groups, a, d, gradient, accumulate});
  }

 private:
  struct any_epilogue {
    static constexpr bool paired = true;
  };
};

} // namespace switchyard::gemm

#endif

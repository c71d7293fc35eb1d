// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>

#if defined(KOKKOS_ENABLE_CUDA)

#include <switchyard/gemm/detail/cuda_launch.hpp>
#include <switchyard/gemm/detail/cuda_pack.hpp>
#include <switchyard/gemm/detail/tensor_gradient.hpp>
#include <switchyard/gemm/detail/tensor_product.hpp>
#include <switchyard/gemm/portable.hpp>

/// \file
/// Products on the tensor cores of NVIDIA GPUs by kernels of our own: bfloat16 and half, sums in float. One launch per
/// product, on the instance's stream. Blocks read from the offsets which rows there are, gather them while they load,
/// and call the epilogue on finished sums: no copy to the host, no workspace, nothing to capture but a kernel.

namespace switchyard::gemm {

/// Weights of all groups, each column of W by itself: [groups, N, K], paired: the gate's and the other one by turns.
template <class T, class Space>
struct cuda_packed {
  using value_type = T;
  Kokkos::View<T*, Space> columns_by_columns; // [groups (paired: * 2), N, k_stride], zeros behind K
  std::int64_t k_stride = 0;                  // a multiple of 16 bytes
  std::int64_t groups = 0, rows = 0, columns = 0;
  bool paired = false;
  portable_packed<T, Space> portable; // what no tensor core multiplies
};

/// Math: how a tile is multiplied.
template <template <class> class Math>
struct tensor_engine {
  static constexpr const char* name = Math<bfloat16>::in_flight > 0 ? "wgmma" : "mma";

  /// A row's sums are its own numbers in a fixed order of k, in the same instructions wherever it lies in a tile.
  static constexpr bool row_invariant = true;

  template <class Exec, class T>
  static constexpr bool supports = std::same_as<Exec, Kokkos::Cuda>;

  template <class Exec, class T>
  using packed = cuda_packed<T, typename Exec::memory_space>;

  /// As portable_engine. double and float are the portable kernels', and all types on a GPU that is older than sm_80 or
  /// whose blocks have too little shared memory.
  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec& exec, std::int64_t groups, std::int64_t rows, std::int64_t columns,
                                  bool paired = false) {
    packed<Exec, T> to;
    to.groups = groups;
    to.rows = rows;
    to.columns = columns;
    to.paired = paired;
    if (!runs<T>(exec)) {
      to.portable = portable_engine::allocate<Exec, T>(exec, groups, rows, columns, paired);
      return to;
    }
    to.k_stride = detail::ceil_div(rows, 8) * 8;
    to.columns_by_columns = Kokkos::View<T*, typename Exec::memory_space>(
        Kokkos::view_alloc(exec, "switchyard::gemm::columns"), // zeros
        static_cast<std::size_t>((paired ? 2 : 1) * groups * columns * to.k_stride));
    return to;
  }

  /// As portable_engine.
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, orientation how,
                   std::int64_t row_begin = 0, int half = 0) {
    if (to.portable.panels.data() != nullptr)
      return portable_engine::pack<Exec, T>(exec, to.portable, weight, how, row_begin, half);
    detail::pack_columns<T>(exec, weight, how, to.columns_by_columns, to.groups, to.columns, to.k_stride, row_begin,
                            to.paired ? 2 : 1, half);
  }

  /// See grouped_product.
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                      const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    static_assert(sizeof(A) <= sizeof(T), "switchyard: rows wider than the packed weights would lose digits");
    if constexpr (sizeof(T) == 2) {
      if (b.portable.panels.data() == nullptr) {
        if (std::same_as<A, T> && detail::copies_directly(a))
          return launch_product<Exec, A, T, Epilogue, std::same_as<A, T>>(exec, groups, a, b, epilogue);
        return launch_product<Exec, A, T, Epilogue, false>(exec, groups, a, b, epilogue);
      }
    }
    portable_engine::product<Exec, A, T>(exec, groups, a, b.portable, epilogue);
  }

  /// See grouped_weight_gradient.
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const packed<Exec, T>& b,
                              const View& gradient, bool accumulate) {
    if constexpr (sizeof(T) == 2) {
      static_assert(sizeof(A) == 2 && sizeof(D) == 2 && std::same_as<typename View::non_const_value_type, float>,
                    "switchyard: rows are no wider than the packed weights, gradients are of the accumulate type");
      if (b.portable.panels.data() == nullptr) {
        constexpr bool same = std::same_as<A, T> && std::same_as<D, T>;
        if (same && detail::copies_directly(a) && detail::copies_directly(d))
          return launch_gradient<Exec, A, D, T, same>(exec, groups, a, d, gradient, accumulate);
        return launch_gradient<Exec, A, D, T, false>(exec, groups, a, d, gradient, accumulate);
      }
    }
    portable_engine::weight_gradient(exec, groups, a, d, b.portable, gradient, accumulate);
  }

 private:
  struct any_epilogue {
    static constexpr bool paired = false;
  };
  template <class T>
  static bool runs(const Kokkos::Cuda& exec) {
    if constexpr (sizeof(T) == 2) {
      const auto& gpu = exec.cuda_device_prop();
      return gpu.major >= 8 &&
             detail::tensor_product<Math<T>, T, Kokkos::CudaSpace, any_epilogue, true>::shared_bytes + 1024 <=
                 gpu.sharedMemPerBlockOptin;
    }
    return false;
  }

  template <class Exec, class A, class T, class Epilogue, bool Direct>
  static void launch_product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                             const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                             const Epilogue& epilogue) {
    using math = std::conditional_t<Direct, Math<T>, detail::scalar_loads_math<T>>;
    using kernel = detail::tensor_product<math, A, typename Exec::memory_space, Epilogue, Direct>;
    const std::int64_t tiles = detail::tile_bound(groups, math::rows),
                       panels = detail::ceil_div(b.columns, kernel::Width);
    detail::launch(exec, "switchyard::gemm::product", tiles * panels,
                   kernel{groups, a, b.columns_by_columns, b.rows, b.columns, b.k_stride, tiles, panels, tiles * panels,
                          epilogue});
  }
  template <class Exec, class A, class D, class T, bool Direct, class View>
  static void launch_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const View& gradient, bool accumulate) {
    using math = std::conditional_t<Direct, Math<T>, detail::scalar_loads_math<T>>;
    using kernel = detail::tensor_gradient<math, A, D, typename Exec::memory_space, Direct>;
    const std::int64_t k_tiles = detail::ceil_div(a.columns(), math::rows),
                       n_tiles = detail::ceil_div(d.columns(), math::columns),
                       work = groups.groups() * k_tiles * n_tiles;
    detail::launch(exec, "switchyard::gemm::weight_gradient", work,
                   kernel{groups, a, d, gradient, a.columns(), d.columns(), k_tiles, n_tiles, work, accumulate});
  }
};

/// mma.sync: any GPU from sm_80 on.
using mma_engine = tensor_engine<detail::warp_math>;

/// wgmma: code for sm_90a only (H100, H200). Another target is a compile-time error that says so.
using wgmma_engine = tensor_engine<detail::warpgroup_math>;

} // namespace switchyard::gemm

#endif

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/config.hpp>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/gemm/cuda.hpp>

#if SWITCHYARD_HAS_CUBLAS && defined(KOKKOS_ENABLE_CUDA)

#include <switchyard/gemm/detail/between_kernels.hpp>
#include <switchyard/gemm/detail/cublas_handle.hpp>

/// \file
/// cuBLAS where the host knows the sizes (row_groups::each: equal groups, or one group); our own kernels where only the
/// GPU does, for cuBLAS' grouped call wants them on the host.

namespace switchyard::gemm {

template <class Ragged, class T, class Space>
struct cublas_packed {
  using value_type = T;
  typename Ragged::template packed<Kokkos::Cuda, T> ragged;
  Kokkos::View<T*, Space> columns_by_columns; // [groups (paired: * 2), N, k_stride], zeros behind K
  std::int64_t k_stride = 0;
  std::shared_ptr<detail::cublas_handle> handle; // of the instance that these were allocated with
  std::int64_t groups = 0, rows = 0, columns = 0;
  bool paired = false;
};

/// Ragged: our engine for groups whose sizes the GPU alone knows. Tf32: float products in TF32, 10 bits of mantissa.
template <class Ragged, bool Tf32 = false>
struct basic_cublas_engine {
  static constexpr const char* name = Tf32 ? "cublas, tf32" : "cublas";

  /// cuBLAS chooses its kernels by the number of rows.
  static constexpr bool row_invariant = false;

  template <class Exec, class T>
  static constexpr bool supports = std::same_as<Exec, Kokkos::Cuda>;

  template <class Exec, class T>
  using packed = cublas_packed<Ragged, T, typename Exec::memory_space>;

  /// As portable_engine. The first matrix packed for a stream makes the handle, its workspace of 32 MiB and room for
  /// the sums between a product and its epilogue, 64 MiB or more; those of the same stream share them.
  template <class Exec, class T>
  static packed<Exec, T> allocate(const Exec& exec, std::int64_t groups, std::int64_t rows, std::int64_t columns,
                                  bool paired = false) {
    packed<Exec, T> to;
    to.ragged = Ragged::template allocate<Exec, T>(exec, groups, rows, columns, paired);
    to.groups = groups;
    to.rows = rows;
    to.columns = columns;
    to.paired = paired;
    to.columns_by_columns = to.ragged.columns_by_columns;
    to.k_stride = to.ragged.k_stride;
    if (to.columns_by_columns.data() == nullptr) { // the ragged kernels keep theirs in another order
      to.k_stride = rows;
      to.columns_by_columns =
          decltype(to.columns_by_columns)(Kokkos::view_alloc(exec, "switchyard::gemm::columns"),
                                          static_cast<std::size_t>((paired ? 2 : 1) * groups * columns * rows));
    }
    to.handle = detail::handle_of(exec);
    const std::int64_t width = (paired ? 2 : 1) * columns;
    reserve<T>(*to.handle, rows + width, width); // of a product, and of the gradient of its weights
    return to;
  }

  /// As portable_engine.
  template <class Exec, class T, class View>
  static void pack(const Exec& exec, const packed<Exec, T>& to, const View& weight, orientation how,
                   std::int64_t row_begin = 0, int half = 0) {
    Ragged::template pack<Exec, T>(exec, to.ragged, weight, how, row_begin, half);
    if (to.columns_by_columns.data() != to.ragged.columns_by_columns.data())
      detail::pack_columns<T>(exec, weight, how, to.columns_by_columns, to.groups, to.columns, to.k_stride, row_begin,
                              to.paired ? 2 : 1, half);
  }

  /// See grouped_product. On another instance than the weights were allocated with, the first call may allocate.
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                      const rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    if (groups.each == 0) return Ragged::template product<Exec, A, T>(exec, groups, a, b.ragged, epilogue);
    using acc = accumulate_t<T>;
    constexpr std::int64_t matrices = Epilogue::paired ? 2 : 1;
    const std::int64_t width = matrices * b.columns;
    const auto handle = ready<T>(exec, b, b.rows, width);
    const bool in_place = std::same_as<A, T> && a.index.data() == nullptr;
    const std::int64_t room =
        std::min(handle->sum_bytes() / static_cast<std::int64_t>(sizeof(acc)) / width,
                 in_place || b.rows == 0 ? groups.max_rows
                                         : handle->row_bytes() / static_cast<std::int64_t>(sizeof(T)) / b.rows);
    detail::pieces_of_groups(groups.groups(), groups.each, room, 1).for_each([&](const auto& piece) {
      const lined_up<T> left = line_up<T>(exec, handle->template rows<T>(), groups.each, a, piece);
      handle->template multiply<T>(
          detail::product_call(piece.groups, piece.rows, width, b.rows, b.k_stride, left.pitch, left.stride),
          b.columns_by_columns.data() + piece.group * width * b.k_stride, left.data, handle->template sums<acc>(),
          false, Tf32);
      for_each_index("switchyard::gemm::epilogue", exec, piece.groups * piece.rows * detail::ceil_div(b.columns, 8),
                     detail::epilogue_kernel<acc, Epilogue>{handle->template sums<acc>(), groups.each, b.columns, piece,
                                                            epilogue});
    });
  }

  /// See grouped_weight_gradient.
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                              const rows<A, typename Exec::memory_space>& a,
                              const rows<D, typename Exec::memory_space>& d, const packed<Exec, T>& b,
                              const View& gradient, bool accumulate) {
    if (groups.each == 0)
      return Ragged::template weight_gradient<Exec, A, D, T>(exec, groups, a, d, b.ragged, gradient, accumulate);
    static_assert(std::same_as<typename View::non_const_value_type, accumulate_t<T>>,
                  "switchyard: gradients are of the accumulate type");
    const std::int64_t k = a.columns(), n = d.columns();
    const auto handle = ready<T>(exec, b, k + n, 1);
    const bool in_place =
        std::same_as<A, T> && std::same_as<D, T> && a.index.data() == nullptr && d.index.data() == nullptr;
    const std::int64_t room =
        in_place || k + n == 0 ? groups.max_rows : handle->row_bytes() / static_cast<std::int64_t>(sizeof(T)) / (k + n);
    detail::pieces_of_groups(groups.groups(), groups.each, room, 1).for_each([&](const auto& piece) {
      T* const memory = handle->template rows<T>();
      const lined_up<T> left = line_up<T>(exec, memory, groups.each, a, piece);
      const lined_up<T> right = line_up<T>(exec, memory + piece.groups * piece.rows * k, groups.each, d, piece);
      handle->template multiply<T>(
          detail::gradient_call(piece.groups, piece.rows, k, n, left.pitch, left.stride, right.pitch, right.stride),
          right.data, left.data, gradient.data() + piece.group * k * n, accumulate || piece.row > 0, Tf32);
    });
  }

 private:
  template <class T>
  struct lined_up {
    const T* data;
    std::int64_t pitch, stride;
  };

  template <class T>
  static void reserve(detail::cublas_handle& handle, std::int64_t row_numbers, std::int64_t sum_numbers) {
    constexpr std::int64_t least = std::int64_t{64} << 20, rows = 256;
    handle.reserve(
        static_cast<std::size_t>(
            std::max<std::int64_t>(least, rows * sum_numbers * std::int64_t{sizeof(accumulate_t<T>)})),
        static_cast<std::size_t>(std::max<std::int64_t>(least, rows * row_numbers * std::int64_t{sizeof(T)})));
  }
  template <class T, class Packed>
  static std::shared_ptr<detail::cublas_handle> ready(const Kokkos::Cuda& exec, const Packed& b,
                                                      std::int64_t row_numbers, std::int64_t sum_numbers) {
    const auto handle = b.handle->serves(exec) ? b.handle : detail::handle_of(exec);
    reserve<T>(*handle, row_numbers, sum_numbers);
    return handle;
  }

  /// The rows of a piece where they are, or in `memory`, gathered and converted.
  template <class T, class A, class Space>
  static lined_up<T> line_up(const Kokkos::Cuda& exec, T* memory, std::int64_t each, const rows<A, Space>& a,
                             const detail::pieces_of_groups::piece& piece) {
    if constexpr (std::same_as<A, T>) {
      const auto pitch = static_cast<std::int64_t>(a.values.stride(0));
      if (a.index.data() == nullptr)
        return {a.values.data() + (piece.group * each + piece.row) * pitch, pitch, each * pitch};
    }
    for_each_index("switchyard::gemm::line_up", exec, piece.groups * piece.rows * a.columns(),
                   detail::line_up_kernel<A, T, Space>{a, memory, each, piece});
    return {memory, a.columns(), piece.rows * a.columns()};
  }
};

#if SWITCHYARD_HAS_WGMMA
using cublas_engine = basic_cublas_engine<wgmma_engine>;
using cublas_tf32_engine = basic_cublas_engine<wgmma_engine, true>;
#else
using cublas_engine = basic_cublas_engine<mma_engine>;
using cublas_tf32_engine = basic_cublas_engine<mma_engine, true>;
#endif

} // namespace switchyard::gemm

#endif

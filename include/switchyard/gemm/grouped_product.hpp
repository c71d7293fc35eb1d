// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/config.hpp>
#include <switchyard/gemm/cublas.hpp>
#include <switchyard/gemm/host.hpp>
#include <switchyard/gemm/onednn.hpp>

/// \file
/// Grouped matrix products: the one door to every engine. All the time of a layer goes through here.
///
///   grouped_product          C(r, :) = A(index(r), :) B_g          for every row r of group g; C goes to the epilogue
///   grouped_weight_gradient  dB_g (=|+=) sum_r A(ia(r), :)^T D(id(r), :)
///
/// An engine is a type with: name, row_invariant, supports<Exec, T>, packed<Exec, T>, allocate, pack, product and
/// weight_gradient (portable.hpp shows them all). It is a template argument wherever weights are packed, so code built
/// with different engines has different names and can be linked together.

namespace switchyard::gemm {

namespace detail {
#if SWITCHYARD_HAS_ONEDNN
using best_host_engine = host_engine<avx512_source, onednn_source, avx2_source>;
#else
using best_host_engine = host_engine<avx512_source, avx2_source>;
#endif
#if defined(KOKKOS_ENABLE_CUDA)
#if SWITCHYARD_HAS_CUBLAS
using best_cuda_engine = cublas_engine;
#elif SWITCHYARD_HAS_WGMMA
using best_cuda_engine = wgmma_engine;
#else
using best_cuda_engine = mma_engine;
#endif
#endif
template <class Exec, class T>
struct choose_engine {
  using type = std::conditional_t<best_host_engine::template supports<Exec, T>, best_host_engine, portable_engine>;
};
#if defined(KOKKOS_ENABLE_CUDA)
template <class T>
struct choose_engine<Kokkos::Cuda, T> {
  using type = best_cuda_engine;
};
#endif
} // namespace detail

/// The engine used for products of T on Exec unless the user names another.
template <class Exec, class T>
using default_engine = typename detail::choose_engine<Exec, T>::type;

/// Every row of every group times its group's matrix.
///
/// a: [rows, K], read through its index. b: the packed [groups, K, N].
/// epilogue(group, row, column, n, values): called once for each n consecutive columns of each row, with the sums in
/// the accumulate type, which it may overwrite; epilogues with paired = true get (group, row, column, n, gate values,
/// values). Different calls may run at the same time, for different elements. Sums are in accumulate_t<T>, in an order
/// that does not depend on the number of threads. Does not communicate, allocate or fence.
template <class Engine, class Exec, class A, class Packed, class Epilogue>
void grouped_product(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                     const rows<A, typename Exec::memory_space>& a, const Packed& b, const Epilogue& epilogue) {
  if (groups.max_rows == 0 || b.columns == 0) return;
  Engine::template product<Exec, A, typename Packed::value_type>(exec, groups, a, b, epilogue);
}

/// gradient [groups, K, N] (=|+=) for every group, sum over its rows of a(row)^T d(row).
/// of: the packed [groups, K, N] that this is the gradient of; an engine keeps what it needs for both in there.
/// A group without rows gives exact zeros (or leaves the accumulated value). Deterministic as grouped_product.
template <class Engine, class Exec, class A, class D, class Packed, class View>
void grouped_weight_gradient(const Exec& exec, const row_groups<typename Exec::memory_space>& groups,
                             const rows<A, typename Exec::memory_space>& a,
                             const rows<D, typename Exec::memory_space>& d, const Packed& of, const View& gradient,
                             bool accumulate) {
  Engine::template weight_gradient<Exec, A, D>(exec, groups, a, d, of, gradient, accumulate);
}

} // namespace switchyard::gemm

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/experts/detail/ffn_kernels.hpp>

#include "gate.hpp"

// The products of a layer's experts, with cuBLAS beside the kernels of our own: wgmma in code for sm_90a, else
// mma.sync.

namespace gemm = sy::gemm;
using space = Kokkos::CudaSpace;
using value = sy::value_of<precision>;
using engine = gemm::cublas_engine;
template <class T>
using stack = Kokkos::View<T***, Kokkos::LayoutRight, space>;

void use_products(const Kokkos::Cuda& exec, const gemm::row_groups<space>& groups, const gemm::rows<value, space>& rows,
                  const stack<float>& weight, const stack<float>& gradient,
                  const sy::experts::detail::hidden_epilogue<value, space>& hidden,
                  const sy::experts::detail::gated_epilogue<value, space>& gated,
                  const sy::experts::detail::d_pre_epilogue<value, space>& d_pre,
                  const sy::experts::detail::store_epilogue<value, space>& store) {
  const auto packed = engine::allocate<Kokkos::Cuda, value>(exec, 1, 1, 1);
  engine::pack<Kokkos::Cuda, value>(exec, packed, weight, gemm::orientation::forward);
  gemm::grouped_product<engine>(exec, groups, rows, packed, hidden);
  gemm::grouped_product<engine>(exec, groups, rows, packed, gated);
  gemm::grouped_product<engine>(exec, groups, rows, packed, d_pre);
  gemm::grouped_product<engine>(exec, groups, rows, packed, store);
  gemm::grouped_weight_gradient<engine>(exec, groups, rows, rows, packed, gradient, false);
}

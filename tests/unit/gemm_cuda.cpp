// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gemm_checks.hpp"
#include <tuple>

// The default engine of a GPU: what every engine must do, rows that are copied 16 bytes at a time, and groups whose
// sizes the host knows. Compiled where Kokkos has CUDA.

using switchyard::bfloat16; // but not half: CUDA has a ::half
using exec_space = Kokkos::Cuda;
using engine = switchyard::gemm::default_engine<Kokkos::Cuda, bfloat16>;
using subjects =
    std::tuple<gemm_checks::subject<bfloat16, bfloat16>, gemm_checks::subject<switchyard::half, switchyard::half>,
               gemm_checks::subject<bfloat16, float>, gemm_checks::subject<double, double>>;
using exact = std::tuple<bfloat16, switchyard::half>;

#include "gemm_cases.hpp"

TEMPLATE_LIST_TEST_CASE("a GPU: whole chunks", "", exact) {
  using T = TestType;
  for (const extent k : {8, 44, 64, 400, 768})
    for (const extent n : {1, 40, 256, 300}) {
      CAPTURE(k, n);
      CHECK(product_error<engine, exec_space, T, T>(odd_groups, k, n, shape::plain, true, true, true) == 0);
      CHECK(product_error<engine, exec_space, T, T>({3, 0, 200}, k, n, shape::paired, true, false, true) < 16);
      CHECK(gradient_error<engine, exec_space, T, T, T>(odd_groups, k, n, false, true, true) == 0);
      CHECK(gradient_error<engine, exec_space, T, T, T>({3, 0, 700}, k, n, true, false, true) < 16);
    }
}

#if SWITCHYARD_HAS_CUBLAS
namespace {

/// cuBLAS as it is used where the host knows that all groups have as many rows.
struct the_host_knows : gemm::cublas_engine {
  template <class Space>
  static gemm::row_groups<Space> told(gemm::row_groups<Space> groups) {
    groups.each = host(groups.offset)(1);
    return groups;
  }
  template <class Exec, class A, class T, class Epilogue>
  static void product(const Exec& exec, const gemm::row_groups<typename Exec::memory_space>& groups,
                      const gemm::rows<A, typename Exec::memory_space>& a, const packed<Exec, T>& b,
                      const Epilogue& epilogue) {
    gemm::cublas_engine::product<Exec, A, T>(exec, told(groups), a, b, epilogue);
  }
  template <class Exec, class A, class D, class T, class View>
  static void weight_gradient(const Exec& exec, const gemm::row_groups<typename Exec::memory_space>& groups,
                              const gemm::rows<A, typename Exec::memory_space>& a,
                              const gemm::rows<D, typename Exec::memory_space>& d, const packed<Exec, T>& b,
                              const View& gradient, bool accumulate) {
    gemm::cublas_engine::weight_gradient<Exec, A, D, T>(exec, told(groups), a, d, b, gradient, accumulate);
  }
};

} // namespace

TEMPLATE_LIST_TEST_CASE("a GPU: equal groups through cuBLAS", "", subjects) {
  using A = typename TestType::rows_type;
  using T = typename TestType::type;
  using engine = the_host_knows;
  for (const std::vector<extent>& sizes : {std::vector<extent>{129}, {40, 40, 40}, {1, 1}})
    for (const bool aligned : {false, true}) {
      CAPTURE(sizes, aligned);
      CHECK(product_error<engine, exec_space, A, T>(sizes, 100, 70, shape::plain, true, true, aligned) == 0);
      CHECK(product_error<engine, exec_space, A, T>(sizes, 64, 72, shape::paired, false, true, aligned) == 0);
      CHECK(product_error<engine, exec_space, A, T>(sizes, 33, 17, shape::stacked, false, false, aligned) < 16);
      CHECK(gradient_error<engine, exec_space, A, T, T>(sizes, 40, 24, false, true, aligned) == 0);
      CHECK(gradient_error<engine, exec_space, A, T, T>(sizes, 33, 70, true, true, aligned) == 0);
    }
}
#endif

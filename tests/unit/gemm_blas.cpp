// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gemm_checks.hpp"
#include <switchyard/gemm/blas.hpp>
#include <tuple>

using switchyard::bfloat16;
using exec_space = Kokkos::DefaultHostExecutionSpace;
using engine = switchyard::gemm::blas_engine;
using subjects = std::tuple<gemm_checks::subject<double, double>, gemm_checks::subject<float, float>,
                            gemm_checks::subject<bfloat16, float>>;
using exact = std::tuple<double, float>;

#include "gemm_cases.hpp"

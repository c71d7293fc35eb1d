// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gemm_checks.hpp"
#include <tuple>

using switchyard::bfloat16; // but not half: CUDA has a ::half
using exec_space = Kokkos::DefaultHostExecutionSpace;
using engine = switchyard::gemm::avx2_engine; // on a CPU without these instructions: its fallback
using subjects =
    std::tuple<gemm_checks::subject<double, double>, gemm_checks::subject<float, double>,
               gemm_checks::subject<float, float>, gemm_checks::subject<bfloat16, bfloat16>,
               gemm_checks::subject<bfloat16, float>, gemm_checks::subject<switchyard::half, switchyard::half>,
               gemm_checks::subject<switchyard::half, float>>;
using exact = std::tuple<double, float, bfloat16, switchyard::half>;

#include "gemm_cases.hpp"

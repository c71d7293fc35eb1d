// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/config.hpp>

#if SWITCHYARD_HAS_ONEDNN

#include <switchyard/gemm/detail/onednn_kernels.hpp>
#include <switchyard/gemm/host.hpp>

namespace switchyard::gemm {

/// float and bfloat16 through oneDNN's micro-kernels, generated at run time for the CPU at hand: matrix registers,
/// AVX2, whatever it has.
using onednn_engine = host_engine<detail::onednn_source>;

} // namespace switchyard::gemm

#endif

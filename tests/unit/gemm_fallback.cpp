// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gemm_checks.hpp"
#include <memory>
#include <tuple>

// The host engine on a CPU that none of its sources has kernels for: the portable ones take over.

namespace {
struct no_source {
  static constexpr const char* name = "none";
  template <class T>
  static std::shared_ptr<const switchyard::gemm::detail::micro_kernels<T>> make(std::int64_t, std::int64_t) {
    return {};
  }
  template <class T>
  static bool best() {
    return true;
  }
  template <class T>
  static constexpr bool supports = true;
};
} // namespace

using exec_space = Kokkos::DefaultHostExecutionSpace;
using engine = switchyard::gemm::host_engine<no_source>;
using subjects = std::tuple<gemm_checks::subject<float, float>>;
using exact = std::tuple<float>;

#include "gemm_cases.hpp"

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// expect: engine_does_not_support<doubles_only.*, ?.*bfloat16>
// expect: switchyard: .*this engine has no product of that type
#include <switchyard/switchyard.hpp>

namespace sy = switchyard;
struct doubles_only : sy::gemm::portable_engine {
  template <class Exec, class T>
  static constexpr bool supports = std::is_same_v<T, double>;
};

#ifdef CONTROL
using precision = sy::uniform<double>;
#else
using precision = sy::selective<sy::bfloat16>;
#endif
using layer = sy::switch_layer<Kokkos::DefaultHostExecutionSpace, precision, sy::mesh<>, sy::rules<>, doubles_only>;
constexpr auto size = sizeof(layer);

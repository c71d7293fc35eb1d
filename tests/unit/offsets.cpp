// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_test_macros.hpp>
#include <switchyard/dispatch/assignment.hpp>
#include <switchyard/gemm/rows.hpp>

// Tensors of more elements than a 32-bit integer counts, without their memory: 448,000 tokens of 7168 values are found
// by their strides alone. tests/unit/large.cpp has real ones.

namespace sy = switchyard;
using space = Kokkos::HostSpace;

TEST_CASE("a row beyond 2^31 elements", "[core]") {
  using tokens =
      Kokkos::View<const sy::bfloat16**, Kokkos::LayoutRight, space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
  const auto* nowhere = reinterpret_cast<const sy::bfloat16*>(std::uintptr_t{4096});
  const sy::gemm::rows<sy::bfloat16, space> all(tokens(nowhere, 448000, 7168));
  CHECK(all(447999) - nowhere == 3211256832);

  const Kokkos::View<std::int64_t*, space> index("index", 1);
  index(0) = 447999;
  const sy::gemm::rows<sy::bfloat16, space> chosen(tokens(nowhere, 448000, 7168), index);
  CHECK(chosen(0) - nowhere == 3211256832);
}

TEST_CASE("a slot beyond 2^31", "[core]") {
  sy::dispatch::slot_map<space> map;
  map.groups = 3;
  map.capacity = 448000;
  map.padded = true;
  CHECK(map(2000, 1, 5) == (2000 * std::int64_t{3} + 1) * 448000 + 5);
}

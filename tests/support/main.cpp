// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <Kokkos_Core.hpp>
#include <catch2/catch_session.hpp>

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos;
  return Catch::Session().run(count, arguments);
}

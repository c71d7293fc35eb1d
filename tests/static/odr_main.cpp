// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <Kokkos_Core.hpp>
#include <cstdio>

double result_of_one();
double result_of_two();

int main(int count, char** arguments) {
  const Kokkos::ScopeGuard kokkos(count, arguments);
  const double one = result_of_one(), two = result_of_two();
  std::printf("%.17g %.17g\n", one, two);
  return one == two && one != 0 ? 0 : 1;
}

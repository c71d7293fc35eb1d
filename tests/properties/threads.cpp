// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include "policies.hpp"
#include <Kokkos_Core.hpp>
#include <cstdio>
#include <cstring>
#include <vector>

// Prints a digest of every subject's results, to be compared between runs of different numbers of threads.
// With --control it prints that of a sum whose order follows the threads, which must differ: the comparison can fail.

using namespace switchyard_test;

namespace {

/// A float sum of one partial per thread, as a library without an order of its own would make it.
float sum_by_threads() {
  const int threads = Kokkos::DefaultHostExecutionSpace().concurrency();
  float total = 0;
  for (int t = 0; t < threads; ++t) {
    float part = 0;
    for (int i = t; i < 100000; i += threads) part += 1.0f / static_cast<float>(i + 1);
    total += part;
  }
  return total;
}

} // namespace

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  if (count > 1 && std::strcmp(arguments[1], "--control") == 0) {
    std::printf("%a\n", static_cast<double>(sum_by_threads()));
    return 0;
  }
  for (const subject& s : subjects())
    for (const named_config& n : every_policy()) {
      job j = random_job(n.config, 3, 129, 51);
      j.training = n.training;
      std::printf("%s %s, %s: %016llx\n", s.space.c_str(), s.precision.c_str(), n.name.c_str(),
                  static_cast<unsigned long long>(s.run(j).digests[0]));
    }
}

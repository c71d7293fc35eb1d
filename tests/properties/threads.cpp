// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include "policies.hpp"
#include <Kokkos_Core.hpp>
#include <cstdio>
#include <cstring>
#include <vector>

// Prints a digest of every subject's results, to be compared between runs of different numbers of threads, and fails
// where replays on these threads differ or other tokens give the same. With --control it prints that of a sum whose
// order follows the threads, which must differ: the comparison can fail.

using namespace switchyard_test;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int times = 2; // many times as slow, and they look for something else
#else
constexpr int times = 20;
#endif

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

job problem(const named_config& n, std::int64_t groups, std::int64_t tokens, std::uint64_t seed) {
  job j = random_job(n.config, groups, tokens, seed);
  j.training = n.training;
  if (n.masked)
    for (std::int64_t t = 0; t < groups * tokens; ++t) j.mask.push_back((t * 7 + 1) % 3 == 0 ? 0.0 : 1.0);
  return j;
}

/// Prints the digest of some replays; is it that of each and, where there are several, of these tokens only?
bool same_every_time(const subject& s, const named_config& n, std::int64_t groups, std::int64_t tokens, int replays) {
  job j = problem(n, groups, tokens, 51);
  j.replays = replays;
  const auto digests = s.run(j).digests;
  std::printf("%s %s, %s, %d groups of %d: %016llx\n", s.space.c_str(), s.precision.c_str(), n.name.c_str(),
              static_cast<int>(groups), static_cast<int>(tokens), static_cast<unsigned long long>(digests.at(0)));
  bool same = digests.size() == static_cast<std::size_t>(replays);
  for (const std::uint64_t d : digests) same = same && d == digests[0];
  if (!same) std::printf("its replays differ\n");
  const bool other = replays == 1 || s.run(problem(n, groups, tokens, 52)).digests[0] != digests[0];
  if (!other) std::printf("other tokens give the same bytes\n");
  return same && other;
}

} // namespace

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  if (count > 1 && std::strcmp(arguments[1], "--control") == 0) {
    std::printf("%a\n", static_cast<double>(sum_by_threads()));
    return 0;
  }
  std::size_t turn = 0;
  for (const named_config& n : every_policy()) {
    for (const subject& s : subjects())
      if (!same_every_time(s, n, 3, 129, 1)) return 1;
    // Replays of every policy, each on another subject, of groups of several blocks: 256 tokens whose slots are
    // counted at once and, where tokens are sorted, 1024 of the sort.
    const bool sorts = n.config.order == switchyard::slot_order::batch_prioritized ||
                       n.config.routing == switchyard::routing_policy::expert_choice;
    if (!same_every_time(subjects()[turn++ % subjects().size()], n, 2, sorts ? 1100 : 300, times)) return 1;
  }
}

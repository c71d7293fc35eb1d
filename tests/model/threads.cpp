// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include <Kokkos_Core.hpp>
#include <cstdio>
#include <cstring>

// Prints a digest of the model's results and gradients in every precision, to be compared between numbers of threads.
// It fails where replays on these threads differ. With --control it prints one that follows the number of threads,
// which must differ.

using namespace switchyard_test;

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  if (count > 1 && std::strcmp(arguments[1], "--control") == 0) {
    std::printf("%d\n", Kokkos::DefaultExecutionSpace().concurrency());
    return 0;
  }
  for (const model_subject& s : model_subjects())
    for (const bool whole : {true, false}) {
      model_job j;
      j.config = switchyard::presets::switch_tiny();
      j.config.dropout = 0.1;
      if (!whole) j.config.encoder_layers = 0;
      j.batch = 3;
      j.source_length = 70;
      j.target_length = 67;
      for (int i = 0; i < 210; ++i) j.source.push_back(i * i % 256);
      for (int i = 0; i < 201; ++i) j.target.push_back(i % 67 < 60 ? i * 7 % 256 : 0);
      j.replays = 3;
      const auto digests = s.run(j).digests;
      std::printf("%s %d: %016llx\n", s.precision, whole ? 1 : 0, static_cast<unsigned long long>(digests.at(0)));
      bool same = digests.size() == 3;
      for (const std::uint64_t d : digests) same = same && d == digests[0];
      if (same) continue;
      std::printf("its replays differ\n");
      return 1;
    }
}

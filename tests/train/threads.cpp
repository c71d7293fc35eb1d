// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "files.hpp"
#include <cstdio>
#include <cstring>
#include <switchyard/model/presets.hpp>
#include <switchyard/train/trainer.hpp>

// Prints a digest of all that a run keeps after some steps, to be compared between numbers of threads. It fails where
// the same run, once more on these threads, differs. With --control it prints one that follows the number of threads,
// which must differ.

namespace sy = switchyard;
namespace train = switchyard::train;

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  using Exec = Kokkos::DefaultExecutionSpace;
  if (count > 1 && std::strcmp(arguments[1], "--control") == 0) {
    std::printf("%d\n", Exec().concurrency());
    return 0;
  }
  const switchyard_test::folder f("train_threads_" + std::to_string(Exec().concurrency()));
  std::string text;
  for (std::uint64_t i = 0; i < 20000; ++i) text += static_cast<char>('a' + train::permutation::mix(i) % 20);
  f.write("a", text);
  const train::example_maker<train::byte_tokenizer> maker(train::find_text({f.path("a")}), {}, {.length = 70},
                                                          sy::seed{1});
  using model_type = sy::transformer<Exec, sy::selective<sy::bfloat16>>;
  auto config = sy::presets::switch_tiny();
  config.dropout = 0.1;
  const model_type model(config);
  for (const auto kind : {train::optimizer_kind::adafactor, train::optimizer_kind::adamw}) {
    std::uint64_t first = 0;
    for (const bool again : {false, true}) {
      train::trainer<model_type> t(Exec(), model,
                                   {.batch = 6,
                                    .micro_batches = 2,
                                    .source_length = 70,
                                    .target_length = maker.goal().target_length(),
                                    .optimizer = {.kind = kind},
                                    .schedule = {.rate = 0.01}});
      train::batches all(maker, t.examples_here());
      for (int step = 0; step < 4; ++step) std::printf("%.17g\n", t.step(all).loss);
      std::uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
      t.for_each_state([&](const std::string&, const auto&, const auto& view) {
        const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
        const auto* bytes = reinterpret_cast<const unsigned char*>(host.data());
        for (std::size_t i = 0; i < host.size() * sizeof(*host.data()); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
      });
      std::printf("%016llx\n", static_cast<unsigned long long>(hash));
      if (again && hash != first) return 1;
      first = hash;
    }
  }
}

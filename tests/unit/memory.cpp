// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/allocations.hpp"
#include <catch2/catch_test_macros.hpp>
#include <switchyard/layer/memory.hpp>
#include <switchyard/layer/switch_layer.hpp>
#include <vector>

namespace sy = switchyard;
using Exec = Kokkos::DefaultHostExecutionSpace;

namespace {

template <class P>
void holds(const sy::switch_config& config, std::int64_t groups, std::int64_t tokens) {
  const Exec exec;
  const sy::switch_layer<Exec, P> layer(config);
  const auto said = sy::memory_of<P>(config, groups, tokens);
  const switchyard_test::allocation_watch watch(false);
  const auto weights = layer.init(exec, sy::seed{1});
  const std::int64_t after_weights = watch.bytes();
  const auto gradients = layer.zeros(exec);
  const std::int64_t after_gradients = watch.bytes(), arrays = watch.count();
  const auto tape = layer.make_tape(exec, groups, tokens);
  const std::int64_t allocated = watch.bytes() - after_gradients;
  CHECK(said.weights == after_weights);
  CHECK(said.gradients == after_gradients - after_weights);
  CHECK(said.tape <= allocated);
  CHECK(allocated < said.tape + 8 * (watch.count() - arrays)); // Kokkos rounds every array up to 8 bytes
}

std::vector<sy::switch_config> configurations() {
  const sy::switch_config plain{.d_model = 24, .d_ff = 40, .experts = 6};
  std::vector<sy::switch_config> all(9, plain);
  all[1].routing = sy::routing_policy::top_k;
  all[1].order = sy::slot_order::batch_prioritized;
  all[2].routing = sy::routing_policy::expert_choice;
  all[3].dropless = true;
  all[4].gated = all[4].bias = true;
  all[5].activation = sy::activation_kind::gelu;
  all[6].jitter = 0.1;
  all[7].routing = sy::routing_policy::no_token_left_behind;
  all[8].capacity_factor = 0.5;
  all[8].eval_capacity_factor = 2;
  return all;
}

} // namespace

TEST_CASE("a layer allocates the bytes that memory_of says", "[memory]") {
  for (const auto& config : configurations())
    for (const auto& [groups, tokens] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 300}, {3, 65}, {2, 1}}) {
      CAPTURE(config.routing, config.dropless, config.gated, groups, tokens);
      holds<sy::uniform<double>>(config, groups, tokens);
      holds<sy::selective<sy::bfloat16>>(config, groups, tokens);
    }
}

TEST_CASE("capacity costs nothing that tokens do not fill", "[memory]") {
  sy::switch_config c{.d_model = 64, .d_ff = 256, .experts = 128, .capacity_factor = 2};
  const auto twice = sy::memory_of<sy::selective<sy::bfloat16>>(c, 1, 4096);
  c.capacity_factor = 64;
  CHECK(sy::memory_of<sy::selective<sy::bfloat16>>(c, 1, 4096).tape == twice.tape);
}

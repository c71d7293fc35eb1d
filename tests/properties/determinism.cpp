// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include "policies.hpp"
#include <catch2/catch_test_macros.hpp>

// The same bytes on every replay, and no allocation after the tape is made.

using namespace switchyard_test;

TEST_CASE("10: twenty replays of forward and backward give the same bytes", "[determinism]") {
  for (const subject& s : subjects())
    for (const named_config& n : every_policy()) {
      INFO(s.space << " " << s.precision << ", " << n.name);
      job j = random_job(n.config, 2, 65, 31);
      j.training = n.training;
      j.replays = 20;
      const outcome o = s.run(j);
      for (const auto d : o.digests) CHECK(d == o.digests[0]);
      CHECK(o.late_allocations == 0);
      j.replays = 1;
      j.backwards = 2;
      CHECK(s.run(j).digests[0] == o.digests[0]);
      j.backwards = 1;
      // Memory that was never written holds other garbage now.
      j.poison = false;
      CHECK(s.run(j).digests[0] == o.digests[0]);
      // The negative control of this test: another seed, other bytes.
      CHECK(s.run(random_job(n.config, 2, 65, 32)).digests[0] != o.digests[0]);
    }
}

TEST_CASE("accumulated gradients are sums, auxiliary losses scale", "[determinism]") {
  for (const subject& s : built("uniform<double>")) {
    switchyard::switch_config c{.d_model = 5, .d_ff = 7, .experts = 4};
    c.gated = c.bias = true;
    job j = random_job(c, 2, 17, 33);
    const outcome once = s.run(j);
    j.replays = 3;
    j.accumulate = true;
    const outcome thrice = s.run(j);
    for (const auto member : {&switchyard::reference_weights::router, &switchyard::reference_weights::wi,
                              &switchyard::reference_weights::wi_gate, &switchyard::reference_weights::wo,
                              &switchyard::reference_weights::bi, &switchyard::reference_weights::bi_gate,
                              &switchyard::reference_weights::bo}) {
      std::vector<double> sum = once.gradient.*member;
      for (double& v : sum) v = v + v + v;
      CHECK(thrice.gradient.*member == sum);
    }
    j.replays = 1;
    j.dy.assign(j.dy.size(), 0);
    const outcome aux = s.run(j);
    j.loss_scale = 4;
    const outcome scaled = s.run(j);
    std::vector<double> four = aux.gradient.router;
    for (double& v : four) v *= 4;
    CHECK(error_ratio(scaled.gradient.router, four, 0x1p-53, 1e-3) < 16);
    CHECK(error_ratio(four, std::vector<double>(four.size(), 0.0), 1, 1) > 0);
  }
}

TEST_CASE("memory is linear in its parts: no term of tokens times experts times capacity", "[determinism]") {
  for (const subject& s : subjects()) {
    const auto bytes = [&](std::int64_t experts, std::int64_t tokens) {
      switchyard::switch_config c{.d_model = 8, .d_ff = 8, .experts = experts};
      return s.run(random_job(c, 1, tokens, 1)).peak_bytes;
    };
    for (const std::int64_t experts : {8, 64})
      for (const std::int64_t tokens : {1024, 4096}) {
        // per token and expert: logits, probs, dh (8 bytes each at most) and block sums; per token: rows of M and F
        const std::int64_t limit =
            tokens * experts * (3 * 8 + 2) + tokens * 8 * (8 * 6) + tokens * 160 + experts * 512 + 65536;
        INFO(s.precision << " E " << experts << " T " << tokens);
        CHECK(bytes(experts, tokens) < limit);
      }
  }
}

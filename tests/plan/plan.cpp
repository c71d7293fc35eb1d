// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/allocations.hpp"
#include "cost.hpp"
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <switchyard/model.hpp>

// Is a plan the truth? Its parameters and its activations against a model that is made here, its bytes against formulas
// that are written out.

namespace sy = switchyard;
using Catch::Approx;
using Exec = Kokkos::DefaultHostExecutionSpace;
using precision = sy::selective<sy::bfloat16>;

namespace {

plan::task small_task(bool encoder, bool gated) {
  plan::task t;
  t.model = {.d_model = 64, .d_ff = 256, .heads = 4, .d_kv = 16};
  t.model.encoder_layers = encoder ? 2 : 0;
  t.model.decoder_layers = 2;
  t.model.gated = gated;
  t.model.routing.experts = 4;
  t.model.sequences_per_group = 2;
  t.batch = 8;
  t.source_length = 96;
  t.target_length = 64;
  t.groups = 4;
  return t;
}

std::int64_t bytes_of(const plan::estimate& e, std::size_t axis, sy::collective kind, std::string_view what) {
  for (const plan::sent& s : e.traffic)
    if (s.axis == axis && s.kind == kind && s.what == what) return s.bytes;
  return 0;
}

} // namespace

TEST_CASE("one device holds the parameters and the activations of the model") {
  for (const bool encoder : {true, false})
    for (const bool gated : {true, false}) {
      CAPTURE(encoder, gated);
      const plan::task t = small_task(encoder, gated);
      const auto e = plan::evaluate(t, {}, {});
      REQUIRE(e.illegal.empty());
      const Exec exec;
      const sy::transformer<Exec, precision> model(t.model);
      CHECK(e.parameters == sy::parameter_count(t.model));
      const switchyard_test::allocation_watch watch(false);
      const auto tape = model.make_tape(exec, t.batch, t.source_length, t.target_length);
      // What the plan leaves out is small where models are large: masks, tokens, sums over blocks of rows.
      CHECK(e.activations == Approx(static_cast<double>(watch.bytes())).epsilon(0.03));
    }
}

TEST_CASE("a cut model has all of its parameters, once") {
  const plan::task t = small_task(true, true);
  const double whole = static_cast<double>(sy::parameter_count(t.model));
  CHECK(plan::evaluate(t, {}, {plan::layout::data, 1, 4, 1}).parameters == sy::parameter_count(t.model));
  const double experts = 2.0 * 4 * 3 * 64 * 256, routers = 2.0 * 64 * 4, norms = 64.0 * (2 * 2 + 1 + 2 * 3 + 1);
  const auto spread = plan::evaluate(t, {}, {plan::layout::expert_data, 1, 4, 1});
  CHECK(static_cast<double>(spread.parameters) == whole - experts + experts / 4);
  const auto cut = plan::evaluate(t, {}, {plan::layout::model, 1, 1, 4});
  CHECK(static_cast<double>(cut.parameters) == (whole - routers - norms) / 4 + routers + norms);
}

TEST_CASE("the bytes of Switch-C are those of the formulas", "[traffic]") {
  // One Switch layer, 2^20 tokens on 64 devices, capacity 10 per expert and device.
  plan::task t;
  t.model.d_model = 2080, t.model.d_ff = 6144, t.model.heads = 32, t.model.encoder_layers = 1;
  t.model.decoder_layers = 1, t.model.sparse_n = 1, t.model.routing.experts = 2048;
  t.batch = 2048, t.source_length = 512;
  const auto e = plan::evaluate_layer(t, {}, {plan::layout::expert_data, 1, 64, 1});
  REQUIRE(e.illegal.empty());
  const double n = 64, others = (n - 1) / n, slots = 2048.0 * 10 * 2080 * 2, counts = 2048.0 * 4;
  CHECK(static_cast<double>(bytes_of(e, 1, sy::collective::all_to_all, "tokens")) ==
        Approx(others * (4 * slots + counts)));
  CHECK(static_cast<double>(bytes_of(e, 1, sy::collective::all_reduce, "gradients")) ==
        Approx(2 * others * 2048.0 * 2080 * 4));

  // The same with a model axis of 8: an eighth of every block over data, the rest over model.
  t.model.d_model = 2048; // a multiple of 8 heads' columns
  const auto both = plan::evaluate_layer(t, {}, {plan::layout::expert_model_data, 1, 8, 8});
  REQUIRE(both.illegal.empty());
  const double c = 80, block = 2048 * c * 2048 * 2; // 2^17 tokens on a row of devices
  CHECK(static_cast<double>(bytes_of(both, 1, sy::collective::all_to_all, "tokens")) ==
        Approx(7.0 / 8 * (4 * block / 8 + counts)));
  CHECK(static_cast<double>(bytes_of(both, 2, sy::collective::reduce_scatter, "tokens")) ==
        Approx(2 * 7.0 / 8 * block));
}

TEST_CASE("a plan says what cannot be, and chooses what fits") {
  const plan::task t = small_task(true, false);
  plan::machine m;
  m.ranks = 8;
  const auto all = plan::evaluate_all(t, m);
  std::size_t illegal = 0;
  for (const auto& e : all) {
    illegal += e.illegal.empty() ? 0 : 1;
    CHECK(e.choice.ways() * e.choice.model == 8);
    if (e.choice.model == 8) CHECK(e.illegal.find("heads = 4") == 0); // 8 devices cannot share 4 heads
  }
  CHECK(illegal > 0);
  const plan::estimate* fastest = plan::best(all);
  REQUIRE(fastest != nullptr);
  for (const auto& e : all)
    if (e.illegal.empty() && e.fits) CHECK(fastest->seconds() <= e.seconds());

  m.memory = fastest->memory() - 1; // the same machine, a byte too small
  const plan::estimate* other = plan::best(plan::evaluate_all(t, m));
  if (other != nullptr) CHECK(other->memory() <= m.memory);
  m.memory = 1;
  CHECK(plan::best(plan::evaluate_all(t, m)) == nullptr);
}

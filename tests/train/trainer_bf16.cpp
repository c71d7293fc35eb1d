// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "trainer_checks.hpp"

using namespace switchyard_test;

TEST_CASE("trainer: runs, repeats and resumes, in bfloat16 with Adafactor", "[train]") {
  check_run<sy::selective<sy::bfloat16>>(folder("trainer_bf16"), {});
}

TEST_CASE("trainer: a decoder alone learns the next token", "[train]") {
  using model_type = sy::transformer<Exec, sy::selective<sy::bfloat16>>;
  const folder f("trainer_decoder");
  const auto maker = small_text(f, {.kind = train::objective_kind::next_token, .length = 48});
  auto m = small_model();
  m.encoder_layers = 0;
  train::trainer<model_type> t(Exec(), model_type(m), small_training(maker));
  train::batches all(maker, t.examples_here());
  const double before = t.evaluate(maker).all.bits_per_byte();
  CHECK(before > 6);
  for (int i = 0; i < 40; ++i) t.step(all);
  CHECK(t.evaluate(maker).all.bits_per_byte() < 0.75 * before);
}

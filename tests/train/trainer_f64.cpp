// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/worse.hpp"
#include "trainer_checks.hpp"
#include <catch2/matchers/catch_matchers_string.hpp>
#include <switchyard/train/upcycle.hpp>

using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;

namespace {
using model_type = sy::transformer<Exec, sy::uniform<double>>;
using trainer_type = train::trainer<model_type>;

/// Largest difference of the views of two sets over the largest value.
template <class Set>
double difference(const Set& a, const Set& b) {
  double worst = 0;
  sy::for_each_parameter(
      [&](const std::string&, const auto& left, const auto& right) {
        const auto x = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), left);
        const auto y = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), right);
        double size = 1e-300, off = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          size = std::max(size, std::abs(y.data()[i]));
          off = worse(off, std::abs(x.data()[i] - y.data()[i]));
        }
        worst = worse(worst, off / size);
      },
      a, b);
  return worst;
}

/// A batch's tokens, where the model reads them.
model_type::tokens_view there(const train::token_batch::tokens_view& tokens) {
  return Kokkos::create_mirror_view_and_copy(Exec::memory_space(), tokens);
}

/// One number of a view that may be in a device's memory.
template <class View, class... I>
double read(const View& view, I... i) {
  double value = 0;
  Kokkos::deep_copy(value, Kokkos::subview(view, i...));
  return value;
}
template <class View, class... I>
void write(double value, const View& view, I... i) {
  Kokkos::deep_copy(Kokkos::subview(view, i...), value);
}
} // namespace

TEST_CASE("trainer: runs, repeats and resumes, in double with AdamW", "[train]") {
  check_run<sy::uniform<double>>(folder("trainer_f64"), {.kind = train::optimizer_kind::adamw, .weight_decay = 0.01});
}

TEST_CASE("trainer: a step in several passes is the step in one", "[train]") {
  const folder f("trainer_passes");
  const auto maker = small_text(f);
  auto c = small_training(maker);
  const model_type model(small_model());
  train::batches all(maker, train::batch_part::whole(8));
  const auto& batch = all.next();
  trainer_type one(Exec(), model, c);
  const auto expected = one.step(batch);
  for (const std::int64_t passes : {2, 4, 8}) {
    c.micro_batches = passes;
    trainer_type several(Exec(), model, c);
    const auto r = several.step(batch);
    for (const auto& [a, b] : {std::pair{r.loss, expected.loss},
                               {r.cross_entropy, expected.cross_entropy},
                               {r.auxiliary, expected.auxiliary},
                               {r.accuracy, expected.accuracy},
                               {r.gradient_norm, expected.gradient_norm},
                               {r.targets, expected.targets}})
      CHECK(std::abs(a - b) <= 1e-12 * std::abs(b));
    CHECK(difference(several.gradients(), one.gradients()) < 1e-12);
    CHECK(difference(several.weights(), one.weights()) < 1e-12);
  }
}

TEST_CASE("trainer: the passes of a step draw their own dropout", "[train]") {
  const folder f("trainer_draws");
  const auto maker = small_text(f);
  auto c = small_training(maker);
  auto m = small_model();
  m.dropout = 0.2;
  train::token_batch once(4, c.source_length, c.target_length), twice(8, c.source_length, c.target_length);
  for (std::int64_t i = 0; i < 4; ++i) maker.make(train::portion::training, i, once, i);
  for (std::int64_t i = 0; i < 8; ++i) maker.make(train::portion::training, i % 4, twice, i);
  c.batch = 4;
  trainer_type one(Exec(), model_type(m), c);
  c.batch = 8;
  c.micro_batches = 2;
  trainer_type two(Exec(), model_type(m), c);
  const double first = one.step(once).loss, both = two.step(twice).loss;
  CHECK(std::abs(first - both) > 1e-4);
}

TEST_CASE("trainer: auxiliary losses off", "[train]") {
  const folder f("trainer_auxiliary");
  const auto maker = small_text(f);
  auto c = small_training(maker);
  auto without = small_model();
  without.routing.load_balance = 0;
  train::batches all(maker, train::batch_part::whole(8));
  const auto& batch = all.next();
  trainer_type on(Exec(), model_type(small_model()), c);
  CHECK(on.step(batch).auxiliary > 0);
  c.auxiliary = 0;
  trainer_type off(Exec(), model_type(small_model()), c), none(Exec(), model_type(without), c);
  CHECK(off.step(batch).auxiliary == 0);
  none.step(batch);
  CHECK(difference(off.gradients(), none.gradients()) == 0);
  CHECK(difference(off.gradients(), on.gradients()) > 1e-6);
}

namespace {
std::vector<std::string> regions;
void begins(const char* name) {
  if (std::string_view(name).starts_with("switchyard::trainer::") || std::string_view(name).ends_with("::next") ||
      std::string_view(name) == "switchyard::transformer::backward")
    regions.emplace_back(name);
}
} // namespace

TEST_CASE("trainer: the phases of a step are regions for Kokkos' tools", "[train]") {
  const folder f("trainer_regions");
  const auto maker = small_text(f);
  trainer_type t(Exec(), model_type(small_model()), small_training(maker));
  train::batches all(maker, t.examples_here());
  Kokkos::Tools::Experimental::set_push_region_callback(begins);
  regions.clear();
  t.step(all);
  const auto of_step = regions;
  t.evaluate(maker, 0, 1);
  Kokkos::Tools::Experimental::set_push_region_callback(nullptr);
  CHECK(of_step == std::vector<std::string>{"switchyard::batches::next", "switchyard::trainer::forward",
                                            "switchyard::transformer::backward", "switchyard::trainer::optimizer"});
  REQUIRE(regions.size() == 6);
  CHECK(regions[4] == "switchyard::trainer::evaluate");
}

TEST_CASE("trainer: a step with NaN changes nothing but its number", "[train]") {
  const folder f("trainer_nan");
  const auto maker = small_text(f);
  trainer_type t(Exec(), model_type(small_model()), small_training(maker));
  train::batches all(maker, t.examples_here());
  t.step(all);
  const auto before = bytes_of(t);
  const double good = read(t.weights().decoder.norm, 3);
  write(std::nan(""), t.weights().decoder.norm, 3);
  t.resume(t.state());
  const auto bad = bytes_of(t);
  const auto r = t.step(all);
  CHECK(r.skipped);
  CHECK(t.state().skipped == 1);
  CHECK(t.state().updates == 1);
  CHECK(t.state().step == 2);
  CHECK(t.state().position == 16);
  CHECK(bytes_of(t) == bad);
  write(good, t.weights().decoder.norm, 3);
  t.resume(t.state());
  CHECK(bytes_of(t) == before);
  CHECK(!t.step(all).skipped);
  CHECK(t.state().updates == 2);
}

TEST_CASE("trainer: evaluation is the loss of each held-out example, by language", "[train]") {
  const folder f("trainer_evaluate");
  const auto maker = small_text(f);
  const auto c = small_training(maker);
  const model_type model(small_model());
  trainer_type t(Exec(), model, c);
  train::batches all(maker, t.examples_here());
  for (int i = 0; i < 3; ++i) t.step(all);
  const auto before = bytes_of(t);
  const auto e = t.evaluate(maker);
  CHECK(bytes_of(t) == before);

  // One example at a time; routing groups are sequences, so none sees another.
  const std::int64_t n = maker.from().blocks(train::portion::held_out);
  REQUIRE(n % c.batch != 0); // the last pass is not full
  const auto packed = model.pack(Exec(), t.weights());
  auto tape = model.make_tape(Exec(), 1, c.source_length, c.target_length);
  double nats[2] = {}, targets[2] = {};
  std::int64_t bytes[2] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    train::token_batch b(1, c.source_length, c.target_length);
    maker.make(train::portion::held_out, i, b, 0);
    model.forward(Exec(), packed, there(b.source), there(b.target), tape, {.training = false});
    const auto s = model.summary(Exec(), tape);
    const auto language = static_cast<std::size_t>(b.sequences[0].language);
    nats[language] += s.cross_entropy * s.targets;
    targets[language] += s.targets;
    bytes[language] += b.sequences[0].bytes;
  }
  REQUIRE(e.languages.size() == 2);
  for (std::size_t l = 0; l < 2; ++l) {
    const auto& [language, loss] = e.languages[l];
    CHECK(language == (l == 0 ? "en" : "de"));
    CHECK(std::abs(loss.nats / nats[l] - 1) < 1e-12);
    CHECK(static_cast<double>(loss.targets) == targets[l]);
    CHECK(loss.bytes == bytes[l]);
  }
  CHECK(std::abs(e.all.negative_log_perplexity() / (-(nats[0] + nats[1]) / (targets[0] + targets[1])) - 1) < 1e-12);
  CHECK(std::abs(e.all.bits_per_byte() /
                     ((nats[0] + nats[1]) / static_cast<double>(bytes[0] + bytes[1]) / 0.693147180559945309) -
                 1) < 1e-12);
  const auto two = t.evaluate(maker, 1, 2);
  CHECK(two.all.targets < e.all.targets);
  const auto even = t.evaluate(maker, 0, 0, 2), odd = t.evaluate(maker, 1, 0, 2); // all of them, once
  CHECK(even.all.targets + odd.all.targets == e.all.targets);
  CHECK(std::abs((even.all.nats + odd.all.nats) / e.all.nats - 1) < 1e-12);
  CHECK(t.evaluate(maker, 1, 1, 2).all.targets < odd.all.targets);
  CHECK_THROWS_AS(t.evaluate(maker, 0, n + 1), sy::invalid_argument);
}

TEST_CASE("trainer: what cannot be", "[train]") {
  const folder f("trainer_errors");
  const auto maker = small_text(f);
  const model_type model(small_model());
  const auto error_of = [&](auto change) {
    auto c = small_training(maker);
    change(c);
    try {
      const trainer_type t(Exec(), model, c);
    } catch (const sy::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK_THAT(error_of([](auto& c) { c.batch = 0; }), ContainsSubstring("batch = 0"));
  CHECK_THAT(error_of([](auto& c) { c.micro_batches = 3; }), ContainsSubstring("micro_batches = 3"));
  CHECK_THAT(error_of([](auto& c) { c.source_length = 0; }), ContainsSubstring("source_length = 0"));
  CHECK_THAT(error_of([](auto& c) { c.target_length = 0; }), ContainsSubstring("target_length = 0"));
  CHECK_THAT(error_of([](auto& c) { c.clip = -1; }), ContainsSubstring("clip = -1"));
  CHECK_THAT(error_of([](auto& c) { c.schedule.rate = -1; }), ContainsSubstring("rate = -1"));
  CHECK_THAT(error_of([](auto& c) { c.optimizer.beta2 = 1; }), ContainsSubstring("beta2 = 1"));
  trainer_type t(Exec(), model, small_training(maker));
  CHECK_THROWS_AS(t.step(train::token_batch(7, 40, t.config().target_length)), sy::invalid_argument);
}

TEST_CASE("distillation: loss and gradient of a row, by hand", "[train]") {
  // Student (1, 0, -1), teacher (0, 2, 1), target 2.
  using space = Kokkos::HostSpace; // the kernels are called here
  const double z[2][3] = {{1, 0, -1}, {0, 2, 1}}, soft = 0.25, c_z = 0.01, weight = 0.5;
  double lse[2] = {}, p[2][3] = {}, hard = 0, wanted = 0;
  for (int who = 0; who < 2; ++who) {
    lse[who] = std::log(std::exp(z[who][0]) + std::exp(z[who][1]) + std::exp(z[who][2]));
    for (int v = 0; v < 3; ++v) p[who][v] = std::exp(z[who][v] - lse[who]);
  }
  hard = -std::log(p[0][2]);
  for (int v = 0; v < 3; ++v) wanted -= p[1][v] * std::log(p[0][v]);
  sy::model::matrix<double, space> logits[2], sums("sums", 1, 3), d_logits("d", 1, 3);
  sy::model::vector<double, space> log_sum[2], totals("totals", 3);
  for (std::size_t who = 0; who < 2; ++who) {
    logits[who] = sy::model::matrix<double, space>("logits", 1, 3);
    log_sum[who] = sy::model::vector<double, space>("lse", 1);
    for (std::size_t v = 0; v < 3; ++v) logits[who](0, v) = z[who][v];
    log_sum[who](0) = lse[who];
  }
  sy::model::vector<std::int32_t, space> targets("targets", 1);
  targets(0) = 2;
  sums(0, 0) = hard;
  sums(0, 1) = lse[0] * lse[0];
  sums(0, 2) = 1;
  const train::detail::two_logits<double, space> both{logits[0], logits[1], log_sum[0], log_sum[1], 0};
  train::detail::soft_loss_kernel<double, space>{both, soft, sums}(0);
  CHECK(std::abs(sums(0, 0) - (0.75 * hard + 0.25 * wanted)) < 1e-14);
  train::detail::soft_gradient_kernel<double, space>{both, soft, c_z, weight, targets, sums, totals, d_logits}(0);
  for (std::size_t v = 0; v < 3; ++v) {
    const double d = (1 + 2 * c_z * lse[0]) * p[0][v] - 0.75 * (v == 2 ? 1 : 0) - 0.25 * p[1][v];
    CHECK(std::abs(d_logits(0, v) - weight * d) < 1e-14);
  }
}

TEST_CASE("distillation: the loss of both, and its gradient", "[train]") {
  const folder f("trainer_distillation");
  const auto maker = small_text(f);
  const auto c = small_training(maker);
  auto dense = small_model();
  dense.sparse = sy::sparse_pattern::none;
  const model_type teacher_model(small_model()), student(dense);
  const Exec exec{};
  const auto teacher_weights = teacher_model.init(exec, sy::seed{8}), weights = student.init(exec, sy::seed{9});
  train::token_batch b(c.batch, c.source_length, c.target_length);
  for (std::int64_t i = 0; i < c.batch; ++i) maker.make(train::portion::training, i, b, i);
  auto tape = student.make_tape(exec, c.batch, c.source_length, c.target_length);
  const auto gradients = student.zeros(exec);
  const auto loss_with = [&](const auto* teacher) {
    const auto packed = student.pack(exec, weights);
    train::forget_teacher(tape);
    if (teacher != nullptr) (*teacher)(there(b.source), there(b.target), dense, tape);
    student.forward(exec, packed, there(b.source), there(b.target), tape, {.training = true});
    student.backward(exec, packed, tape, gradients);
    return student.summary(exec, tape).loss;
  };
  using teacher_type = train::teacher<model_type>;
  const auto asks = [&](const model_type& model, const auto& of, double soft) {
    return teacher_type(exec, model, of, c.batch, c.source_length, c.target_length, soft);
  };
  const teacher_type none = asks(teacher_model, teacher_weights, 0), some = asks(teacher_model, teacher_weights, 0.25),
                     all = asks(teacher_model, teacher_weights, 1);
  const teacher_type* nobody = nullptr;
  const double hard = loss_with(nobody);
  CHECK(std::abs(loss_with(&none) / hard - 1) < 1e-13);
  const double soft = loss_with(&all);
  CHECK(std::abs(loss_with(&some) / (0.75 * hard + 0.25 * soft) - 1) < 1e-13);
  CHECK(std::abs(soft / hard - 1) > 1e-3);
  // The gradient is that of the loss.
  const auto check_slopes = [&](const auto& weight, const auto& gradient, std::size_t first) {
    const Kokkos::View<double*, Exec::memory_space, Kokkos::MemoryUnmanaged> w(weight.data(), weight.size()),
        g(gradient.data(), gradient.size());
    for (const std::size_t i : {first + 3, first + 17}) {
      loss_with(&some);
      const double slope = read(g, i), here = read(w, i), step = 1e-5;
      write(here + step, w, i);
      const double up = loss_with(&some);
      write(here - step, w, i);
      const double down = loss_with(&some);
      write(here, w, i);
      CHECK(std::abs((up - down) / (2 * step) - slope) < 1e-8 + 1e-6 * std::abs(slope));
    }
  };
  check_slopes(weights.embedding, gradients.embedding, 100 * 32);
  check_slopes(weights.decoder.blocks[0].ffn.dense.wi, gradients.decoder.blocks[0].ffn.dense.wi, 0);
  check_slopes(weights.encoder.norm, gradients.encoder.norm, 0);
  check_slopes(weights.decoder.blocks[1].cross.v, gradients.decoder.blocks[1].cross.v, 0);
  // A model that has learned all there is to learn from itself: no gradient.
  auto plain = dense;
  plain.z_loss = 0;
  const model_type same(plain);
  const teacher_type itself = asks(same, weights, 1);
  const auto packed = same.pack(exec, weights);
  itself(there(b.source), there(b.target), plain, tape);
  same.forward(exec, packed, there(b.source), there(b.target), tape, {.training = true});
  same.backward(exec, packed, tape, gradients);
  train::norm_of_gradients<Exec, typename model_type::gradients_type> norm(gradients);
  CHECK(norm(exec, sy::self(), gradients, 0).norm < 1e-13);

  auto other = small_model();
  other.vocabulary = 400;
  CHECK_THROWS_AS(some(there(b.source), there(b.target), other, tape), sy::invalid_argument);
  CHECK_THROWS_AS(asks(teacher_model, teacher_weights, 1.5), sy::invalid_argument);
  // In a trainer, which forgets the teacher when it evaluates.
  trainer_type t(exec, student, c), alone(exec, student, c);
  t.learn_from(some);
  const auto r = t.step(b), r_alone = alone.step(b);
  CHECK(std::abs(r.loss - r_alone.loss) > 1e-4);
  CHECK(difference(t.gradients(), alone.gradients()) > 1e-3);
  const allocation_watch watch(false); // the first step has allocated all there is
  t.step(b);
  CHECK(watch.count() == 0);
  t.learn_from(nullptr);
  put_bytes(t, bytes_of(alone));
  t.resume(alone.state());
  CHECK(t.step(b).loss == alone.step(b).loss);
}

TEST_CASE("parameters of one model in another: dense from Switch, experts from dense", "[train]") {
  auto dense = small_model();
  dense.sparse = sy::sparse_pattern::none;
  const Exec exec{};
  const model_type many(small_model()), one(dense);
  const auto experts = many.init(exec, sy::seed{1}), student = one.init(exec, sy::seed{2});
  const auto before = read(student.decoder.blocks[1].ffn.dense.wi, 3, 5);
  const auto taken = train::copy_parameters(exec, experts, student);
  CHECK(taken.experts == 0);
  CHECK(taken.left == 4); // wi and wo of the two layers that are sparse in the teacher
  CHECK(read(student.embedding, 7, 3) == read(experts.embedding, 7, 3));
  CHECK(read(student.decoder.blocks[1].cross.v, 4, 2) == read(experts.decoder.blocks[1].cross.v, 4, 2));
  CHECK(read(student.decoder.blocks[0].ffn.dense.wi, 3, 5) == read(experts.decoder.blocks[0].ffn.dense.wi, 3, 5));
  CHECK(read(student.decoder.blocks[1].ffn.dense.wi, 3, 5) == before);

  const auto upcycled = many.init(exec, sy::seed{3});
  const auto router = read(upcycled.decoder.blocks[1].ffn.sparse.router, 2, 1);
  const auto made = train::copy_parameters(exec, student, upcycled);
  CHECK(made.experts == 4);
  CHECK(made.left == 2); // the routers
  CHECK(made.same == taken.same);
  for (std::size_t e = 0; e < 4; ++e) {
    CHECK(read(upcycled.decoder.blocks[1].ffn.sparse.wi, e, 3, 5) ==
          read(student.decoder.blocks[1].ffn.dense.wi, 3, 5));
    CHECK(read(upcycled.encoder.blocks[1].ffn.sparse.wo, e, 6, 1) ==
          read(student.encoder.blocks[1].ffn.dense.wo, 6, 1));
  }
  CHECK(read(upcycled.decoder.blocks[1].ffn.sparse.router, 2, 1) == router);
  CHECK(read(upcycled.encoder.norm, 3) == read(student.encoder.norm, 3));
}

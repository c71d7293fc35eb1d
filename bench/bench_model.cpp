// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/baselines.hpp"
#include "support/data.hpp"
#include "support/measure.hpp"
#include "support/stage_times.hpp"
#include <cmath>
#include <memory>
#include <switchyard/model.hpp>

// A training step of the model without its optimizer: pack, forward, backward. The dense T5 and the Switch Transformer
// of the same FLOPs per token run by turns with the largest product of the same number type. Before it is timed, the
// loss of a few steps of gradient descent must fall as the gradient says.

namespace {

using namespace bench;
namespace sy = switchyard;

struct sizes {
  std::int64_t d_model, d_kv, experts, batch, source_length = 256, target_length = 64;
  std::int64_t layers = 4, sparse_n = 2; // of each stack
  std::int64_t tokens() const { return batch * (source_length + target_length); }
};

sy::transformer_config config_of(const sizes& s, bool sparse) {
  sy::transformer_config c = sy::presets::switch_small(sparse ? s.experts : 0);
  c.d_model = s.d_model;
  c.d_ff = 4 * s.d_model;
  c.d_kv = s.d_kv;
  c.heads = s.d_model / s.d_kv;
  c.encoder_layers = c.decoder_layers = s.layers;
  c.sparse_n = s.sparse_n;
  c.sequences_per_group = s.batch / 2; // on two ranks: all of one rank
  c.routing.capacity_factor = 2;
  return c;
}

/// Multiplications and additions of the forward that any implementation needs, tokens that nothing drops: projections,
/// scores and their sums (causal: half), FFNs, logits.
double useful_forward(const sy::transformer_config& c, const sizes& s) {
  const auto m = static_cast<double>(c.d_model), f = static_cast<double>(c.d_ff), w = static_cast<double>(c.d_heads());
  const auto b = static_cast<double>(s.batch), n = static_cast<double>(s.source_length),
             k = static_cast<double>(s.target_length);
  const double encoder = b * n * (8 * m * w + 4 * m * f) + 4 * b * n * n * w;
  const double self = b * k * 8 * m * w + 2 * b * k * k * w;
  const double cross = b * k * 4 * m * w + b * n * 4 * m * w + 4 * b * k * n * w;
  const double head = 2 * b * k * m * static_cast<double>(c.vocabulary);
  return static_cast<double>(c.encoder_layers) * encoder +
         static_cast<double>(c.decoder_layers) * (self + cross + b * k * 4 * m * f) + head;
}

template <class P>
struct training {
  using model_type = sy::transformer<exec_space, P>;
  exec_space exec;
  model_type model;
  typename model_type::weights_type weights;
  typename model_type::packed_type packed;
  typename model_type::gradients_type gradients;
  typename model_type::tape_type tape;
  sy::model::matrix<std::int32_t, space> source, target;
  std::uint32_t steps = 0;

  training(const sizes& s, bool sparse)
      : model(config_of(s, sparse)), weights(model.init(exec, sy::seed{1})), packed(model.pack(exec, weights)),
        gradients(model.zeros(exec)), tape(model.make_tape(exec, s.batch, s.source_length, s.target_length)),
        source(text("bench::source", s.batch, s.source_length)),
        target(text("bench::target", s.batch, s.target_length)) {}

  static sy::model::matrix<std::int32_t, space> text(const char* name, std::int64_t batch, std::int64_t length) {
    sy::model::matrix<std::int32_t, space> tokens(name, size(batch), size(length));
    std::uint32_t x = 12345; // letters, some far more often than others
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      x = x * 1664525u + 1013904223u;
      const std::uint32_t u = x >> 16;
      tokens.data()[i] = 3 + static_cast<std::int32_t>(u % 256 * (u / 256 % 256) / 256);
    }
    return tokens;
  }

  void step() {
    model.pack(exec, weights, packed);
    model.forward(exec, packed, source, target, tape, {.training = true, .step = steps});
    model.backward(exec, packed, tape, gradients);
    exec.fence("bench: the step is done");
  }

  /// A small step against the gradient must lower the loss by what the gradient says, on the same draws.
  std::string check(bool spoiled) {
    step();
    const double before = model.summary(exec, tape).loss;
    double square = 0;
    for_each_parameter(
        [&](const std::string&, const auto& g) {
          for (std::size_t i = 0; i < g.size(); ++i) square += std::pow(static_cast<double>(g.data()[i]), 2);
        },
        gradients);
    const double distance = 0.02 / std::sqrt(square) * (spoiled ? -1 : 1);
    for_each_parameter(
        [&](const std::string&, const auto& w, const auto& g) {
          for (std::size_t i = 0; i < w.size(); ++i)
            w.data()[i] -= static_cast<float>(distance * static_cast<double>(g.data()[i]));
        },
        weights, gradients);
    step();
    const double fell = before - model.summary(exec, tape).loss, said = 0.02 * std::sqrt(square);
    if (fell > 0.5 * said && fell < 1.5 * said) return {};
    return "the loss fell by " + std::to_string(fell) + ", the gradient says " + std::to_string(said);
  }
};

/// What a kernel of a step belongs to.
std::string stage_of(const std::string& label, const std::string& region) {
  const auto in = [&](const char* part) { return region.find(part) != std::string::npos; };
  const std::string what = label.substr(label.rfind(':') + 1);
  const bool product = label.find("gemm::") != std::string::npos;
  const std::string way = in("transformer::backward") ? "_backward" : "";
  if (!in("transformer::")) return "pack";
  if (in("attention_layer")) {
    if (product) return "projections" + way;
    return what.starts_with("attention") ? "attention" + way : "norms_and_rest" + way;
  }
  if (in("ffn_layer"))
    return product && !in("switchyard::router") ? "ffn" + way
           : in("switch_layer")                 ? "router_and_slots" + way
                                                : "norms_and_rest" + way;
  if (product) return "head" + way;
  if (what == "row_loss" || what == "logit_gradient") return "softmax" + way;
  return what.starts_with("embed") ? "embedding" + way : "norms_and_rest" + way;
}
bool is_product(const std::string& stage) {
  return stage.starts_with("projections") || stage.starts_with("ffn") || stage.starts_with("head");
}

template <class P>
void step(benchmark::State& state, const sizes& s, number n) {
  training<P> dense(s, false), sparse(s, true);
  for (auto* t : {&dense, &sparse}) {
    const auto why = t->check(chosen().control);
    if (!why.empty()) return fail(state, why);
  }
  if (chosen().control) return state.SkipWithMessage("not noticed");
  std::vector<contender> all{{[&] { dense.step(); }, 1, 1}, {[&] { sparse.step(); }, 1, 1}};
  if (!chosen().alone) all.push_back({largest_product::make(n), 1, 1});
  const auto times = interleave(all);
  const auto against = ratio(times[0], times[1]); // rates of the Switch model over those of the dense one
  state.counters["tokens_per_s"] = static_cast<double>(s.tokens()) / times[1].median();
  state.counters["dense_tokens_per_s"] = static_cast<double>(s.tokens()) / times[0].median();
  state.counters["vs_dense"] = against.median;
  state.counters["vs_dense_lower"] = against.lower;
  state.counters["vs_dense_upper"] = against.upper;
  if (!chosen().alone) {
    const double flop = 3 * useful_forward(dense.model.config(), s);
    const auto of_peak = [&](const series& t) { return ratio(times[2], t).median * flop / largest_product::flop; };
    state.counters["dense_of_peak"] = of_peak(times[0]);
    state.counters["of_peak"] = of_peak(times[1]);
  }
  for (auto* t : {&dense, &sparse}) {
    const std::string prefix = t == &dense ? "dense_" : "";
    const auto stages = stage_times([&] { t->step(); }, chosen().quick ? 3 : 9, stage_of);
    double sum = 0, products = 0, attention = 0;
    for (const auto& [stage, seconds] : stages) {
      sum += seconds;
      products += is_product(stage) ? seconds : 0;
      attention += stage.starts_with("attention") ? seconds : 0;
    }
    for (const auto& [stage, seconds] : stages) state.counters[prefix + "t_" + stage] = seconds;
    state.counters[prefix + "outside_products"] = 1 - (products + attention) / sum;
    state.counters[prefix + "in_attention"] = attention / sum;
  }
  for (auto _ : state) state.SetIterationTime(times[1].median());
}

template <class P>
void add(number n, const char* name, const sizes& s) {
  const std::string title = std::string("model/step/") + name + "/d_model:" + std::to_string(s.d_model) +
                            "/layers:" + std::to_string(s.layers) + "/experts:" + std::to_string(s.experts) +
                            "/tokens:" + std::to_string(s.tokens());
  benchmark::RegisterBenchmark(title.c_str(), [=](benchmark::State& state) { step<P>(state, s, n); })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

void entries() {
  Kokkos::push_finalize_hook(release_baselines);
  using bf16 = sy::selective<sy::bfloat16>;
  if (chosen().control) {
    add<bf16>(number::bf16, "bf16", {64, 16, 4, 2});
    return;
  }
  add<bf16>(number::bf16, "demo/bf16", {64, 16, 8, 16, 128, 127, 2, 1}); // of examples/demo.sh
  add<bf16>(number::bf16, "bf16", {128, 32, 8, 16});
  if (!chosen().quick) add<bf16>(number::bf16, "bf16", {256, 64, 8, 16});
  add<bf16>(number::bf16, "bf16", {512, 64, 8, 16});
  if (!chosen().quick) add<sy::uniform<float>>(number::fp32, "float", {128, 32, 8, 16});
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

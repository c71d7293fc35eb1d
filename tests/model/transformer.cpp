// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <map>
#include <switchyard/model.hpp>

// The whole model: its backward is the derivative of its forward, in double, parameter by parameter.

using namespace switchyard_test;

namespace {

using P = sy::uniform<double>;
using model_type = sy::transformer<Exec, P>;

sy::transformer_config small_config() {
  sy::transformer_config c;
  c.vocabulary = 11;
  c.d_model = 6;
  c.d_ff = 5;
  c.heads = 2;
  c.d_kv = 3;
  c.encoder_layers = c.decoder_layers = 2;
  c.relative_buckets = 8;
  c.relative_max_distance = 6;
  c.routing.experts = 3;
  c.routing.router_z = 1e-2;
  c.routing.capacity_factor = 1.0;
  c.routing.min_capacity = 1;
  c.z_loss = 1e-2;
  c.init_scale = 1;
  return c;
}

struct run {
  static constexpr std::int64_t batch = 2, source_length = 5, target_length = 4;
  Exec exec{};
  model_type model;
  model_type::weights_type weights;
  model_type::packed_type packed;
  model_type::tape_type tape;
  model_type::tokens_view source, target;
  sy::model_forward_options options;

  explicit run(const sy::transformer_config& c)
      : model(c), weights(model.init(exec, sy::seed{5})), packed(model.pack(exec, weights)),
        tape(model.make_tape(exec, batch, source_length, target_length)),
        source(tokens({3, 4, 5, 3, 9, 10, 7, 1, 0, 0}, source_length)),
        target(tokens({2, 8, 4, 1, 6, 6, 0, 0}, target_length)) {
    options.step = 3;
  }
  static model_type::tokens_view tokens(std::vector<std::int32_t> numbers, std::int64_t length) {
    sy::model::matrix<std::int32_t, space> view("tokens", batch, static_cast<std::size_t>(length));
    Kokkos::deep_copy(view, Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Kokkos::HostSpace>(
                                numbers.data(), batch, static_cast<std::size_t>(length)));
    return view;
  }
  sy::model_summary forward() {
    model.pack(exec, weights, packed);
    model.forward(exec, packed, source, target, tape, options);
    return model.summary(exec, tape);
  }
  /// What decides where tokens go.
  std::vector<std::int64_t> routing() const {
    std::vector<std::int64_t> slots;
    for (const auto* stack : {&tape.encoder, &tape.decoder})
      for (const auto& block : stack->blocks)
        if (block.ffn.sparse.choices > 0 && block.ffn.sparse.decision.slot.size() > 0)
          for (const auto& view : {block.ffn.sparse.decision.slot})
            for (const double v : numbers_of(view)) slots.push_back(static_cast<std::int64_t>(v));
    return slots;
  }
};

/// Worst |analytic - numeric| / (1e-7 + 1e-5 |numeric|) of every parameter, by name.
std::map<std::string, double> worst_errors(run& r) {
  const auto gradients = r.model.zeros(r.exec);
  for_each_parameter([](const std::string&, const auto& g) { Kokkos::deep_copy(g, std::nan("")); }, gradients);
  r.forward();
  const auto routing = r.routing();
  r.model.backward(r.exec, r.packed, r.tape, gradients);
  std::map<std::string, double> worst;
  for_each_parameter(
      [&](const std::string& name, const auto& weight, const auto& gradient) {
        const numbers analytic = numbers_of(gradient);
        double& here = worst[name];
        // every element of small ones, some of large ones
        const std::size_t step = std::max<std::size_t>(1, weight.size() / 12);
        for (std::size_t i = 0; i < weight.size(); i += step) {
          double& value = weight.data()[i]; // the test's space is the host's, or nothing is tested
          const double middle = value, h = 1e-5;
          value = middle + h;
          const double up = r.forward().loss;
          const bool same_up = r.routing() == routing;
          value = middle - h;
          const double down = r.forward().loss;
          const bool same = same_up && r.routing() == routing;
          value = middle;
          if (!same) continue; // a step across a routing boundary has no derivative
          const double numeric = (up - down) / (2 * h);
          const double e = std::abs(analytic[i] - numeric) / (1e-8 + 1e-5 * std::abs(numeric));
          here = e <= here ? here : e;
        }
      },
      r.weights, gradients);
  return worst;
}

void check_gradients(const sy::transformer_config& c) {
  if constexpr (Kokkos::SpaceAccessibility<Kokkos::HostSpace, space>::accessible) {
    run r(c);
    int parameters = 0;
    for (const auto& [name, e] : worst_errors(r)) {
      INFO(name);
      CHECK(e < 1);
      ++parameters;
    }
    CHECK(parameters > 10);
  }
}

} // namespace

TEST_CASE("transformer: the backward is the derivative of the forward, encoder and decoder", "[model][gradient]") {
  check_gradients(small_config());
}

TEST_CASE("transformer: the same of other shapes of model", "[model][gradient]") {
  sy::transformer_config c = small_config();
  SECTION("untied, gated, dropout everywhere, mean of auxiliary losses") {
    c.tied = false;
    c.gated = true;
    c.activation = sy::activation_kind::gelu;
    c.dropout = 0.2;
    c.routing.expert_dropout = 0.3;
    c.routing.jitter = 0.05;
    c.auxiliary = sy::auxiliary_reduction::mean;
  }
  SECTION("a decoder alone, all layers sparse, groups of two sequences, two experts per token") {
    c.encoder_layers = 0;
    c.sparse_n = 1;
    c.sequences_per_group = 2;
    c.routing.routing = sy::routing_policy::top_k;
    c.routing.renormalize = sy::renormalize_policy::before_drop;
  }
  check_gradients(c);
}

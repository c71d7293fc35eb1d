// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>
#include <set>
#include <switchyard/model/parameters.hpp>
#include <switchyard/model/presets.hpp>

using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("presets: the published numbers of parameters", "[model]") {
  const auto billions = [](const sy::transformer_config& c) {
    validate(c);
    return static_cast<double>(parameter_count(c)) * 1e-9;
  };
  const auto close = [&](const sy::transformer_config& c, double published, double tolerance) {
    INFO(billions(c) << " of " << published);
    CHECK(std::abs(billions(c) / published - 1) < tolerance);
  };
  close(sy::presets::t5_base(), 0.223, 0.001);
  close(sy::presets::t5_large(), 0.739, 0.02); // published for d_ff 4096 without gate, 1.5 % fewer
  close(sy::presets::t5_xxl(), 11, 0.02);
  close(sy::presets::switch_base(), 7.41, 0.001);
  for (const auto& [experts, published] : {std::pair{16, 1.07}, {32, 1.98}, {64, 3.79}, {256, 14.66}}) // distillation
    close(sy::presets::switch_base(experts), published, 0.005);
  close(sy::presets::switch_large(), 26.3, 0.035); // the same
  close(sy::presets::switch_xxl(), 395, 0.03);
  close(sy::presets::switch_c(), 1571, 0.002);
}

TEST_CASE("parameters: as many as counted, each with a name of its own, sets of two types side by side", "[model]") {
  auto gated = sy::presets::switch_tiny();
  gated.gated = true;
  gated.tied = false;
  for (const auto& c :
       {sy::presets::switch_tiny(), sy::presets::t5_tiny(), sy::presets::switch_small_decoder(), gated}) {
    const sy::transformer_parameters<float, space> weights(c);
    const sy::transformer_parameters<double, space> gradients(c);
    std::int64_t count = 0;
    std::set<std::string> names;
    for_each_parameter(
        [&](const std::string& name, const auto& weight, const auto& gradient) {
          CHECK(names.insert(name).second);
          CHECK(weight.size() == gradient.size());
          count += static_cast<std::int64_t>(weight.size());
        },
        weights, gradients);
    CHECK(count == parameter_count(c));
  }
  const sy::transformer_parameters<float, space> weights(gated);
  std::set<std::string> names;
  for_each_parameter([&](const std::string& name, const auto&) { names.insert(name); }, weights);
  for (const char* name :
       {"embedding", "head", "encoder.relative_bias", "encoder.0.self_attention.norm", "encoder.0.ffn.wi_gate",
        "encoder.1.ffn.router", "decoder.0.cross_attention.q", "decoder.1.ffn.wo", "decoder.norm"})
    CHECK(names.count(name) == 1);
}

TEST_CASE("initialization: truncated normal by fan-in, keyed by name", "[model]") {
  const Exec exec{};
  const auto c = sy::presets::switch_tiny();
  const sy::transformer_parameters<float, space> weights(c), dense(sy::presets::t5_tiny()), again(c);
  initialize(exec, c, sy::seed{1}, weights);
  initialize(exec, sy::presets::t5_tiny(), sy::seed{1}, dense);
  initialize(exec, c, sy::seed{2}, again);
  for_each_parameter(
      [&](const std::string& name, const auto& view) {
        using View = std::decay_t<decltype(view)>;
        const numbers values = numbers_of(view);
        INFO(name);
        if constexpr (View::rank == 1) {
          for (const double v : values) CHECK(v == 1);
        } else {
          double fan_in = static_cast<double>(view.extent(View::rank - 2));
          if (name.ends_with(".q")) fan_in *= 16;
          if (name.ends_with("bias")) fan_in = 64;
          const double sigma = name == "embedding" ? 1 : std::sqrt(0.1 / fan_in);
          double square = 0, largest = 0;
          for (const double v : values) {
            square += v * v / static_cast<double>(values.size());
            largest = std::max(largest, std::abs(v));
          }
          CHECK(largest <= 2 * sigma * 1.000001);
          CHECK(std::abs(std::sqrt(square) / sigma - 0.8796) < (values.size() > 1000 ? 0.03 : 0.2));
        }
      },
      weights);
  const auto& w = weights.decoder.blocks;
  CHECK(numbers_of(w[0].self.q) != numbers_of(w[1].self.q));
  CHECK(numbers_of(w[0].self.k) != numbers_of(w[0].self.v));
  CHECK(numbers_of(w[0].self.q) == numbers_of(dense.decoder.blocks[0].self.q));
  CHECK(numbers_of(w[0].self.q) != numbers_of(again.decoder.blocks[0].self.q));
}

TEST_CASE("configuration: what cannot be is refused by name", "[model]") {
  const auto refused = [](const char* message, const std::function<void(sy::transformer_config&)>& spoil) {
    auto c = sy::presets::switch_tiny();
    spoil(c);
    CHECK_THROWS_WITH(validate(c), ContainsSubstring(message));
  };
  using config = sy::transformer_config;
  refused("vocabulary = 1", [](config& c) { c.vocabulary = 1; });
  refused("d_model = 0", [](config& c) { c.d_model = 0; });
  refused("d_ff = -3", [](config& c) { c.d_ff = -3; });
  refused("heads = 0", [](config& c) { c.heads = 0; });
  refused("d_kv = 0", [](config& c) { c.d_kv = 0; });
  refused("encoder_layers = -1", [](config& c) { c.encoder_layers = -1; });
  refused("decoder_layers = 0", [](config& c) { c.decoder_layers = 0; });
  refused("encoder_layers + decoder_layers = 10001", [](config& c) { c.decoder_layers = 9999; });
  refused("sequences_per_group = 0", [](config& c) { c.sequences_per_group = 0; });
  refused("sparse_n = 0", [](config& c) { c.sparse_n = 0; });
  refused("sparse_n = 3", [](config& c) { c.sparse_n = 3; });
  refused("experts = 0", [](config& c) { c.routing.experts = 0; });
  refused("routing.bias", [](config& c) { c.routing.bias = true; });
  refused("relative_buckets = 30", [](config& c) { c.relative_buckets = 30; });
  refused("relative_max_distance = 8", [](config& c) { c.relative_max_distance = 8; });
  refused("pad_token = 384", [](config& c) { c.pad_token = 384; });
  refused("dropout = 1", [](config& c) { c.dropout = 1; });
  refused("z_loss = nan", [](config& c) { c.z_loss = std::nan(""); });
  refused("norm_epsilon = 0", [](config& c) { c.norm_epsilon = 0; });
  refused("init_scale = 0", [](config& c) { c.init_scale = 0; });
}

TEST_CASE("configuration: which layers are sparse", "[model]") {
  sy::transformer_config c = sy::presets::switch_tiny();
  const auto sparse = [&](sy::sparse_pattern pattern, std::int64_t n, std::int64_t layers) {
    c.sparse = pattern;
    c.sparse_n = n;
    std::string text;
    for (std::int64_t i = 0; i < layers; ++i) text += c.is_sparse(i, layers) ? 'S' : '.';
    return text;
  };
  CHECK(sparse(sy::sparse_pattern::none, 2, 4) == "....");
  CHECK(sparse(sy::sparse_pattern::every_nth, 2, 6) == ".S.S.S");
  CHECK(sparse(sy::sparse_pattern::every_nth, 4, 8) == "...S...S");
  CHECK(sparse(sy::sparse_pattern::every_nth, 1, 3) == "SSS");
  CHECK(sparse(sy::sparse_pattern::last_n, 2, 5) == "...SS");
}

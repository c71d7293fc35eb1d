// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "files.hpp"
#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

// Conventions of the exchange on numbers that were worked out by hand, and sizes of nothing.

using namespace exchange_test;
using Catch::Approx;
using run_layer::precision;
using numbers = std::vector<double>;

namespace {

/// x is the logits: the router is the identity. The one expert unit passes on the sum of the token.
tensor_map logits_file(std::int64_t G, std::int64_t S, std::int64_t E, numbers logits) {
  numbers identity(static_cast<std::size_t>(E * E), 0.0);
  for (std::int64_t e = 0; e < E; ++e) identity[static_cast<std::size_t>(e * E + e)] = 1;
  const numbers ones(static_cast<std::size_t>(E * E), 1.0);
  return {{"x", {{G, S, E}, std::move(logits)}},
          {"router.weight", {{E, E}, identity}},
          {"wi.weight", {{E, E, 1}, ones}},
          {"wo.weight", {{E, 1, E}, ones}}};
}

/// Eight tokens, three experts.
tensor_map golden_file() {
  return logits_file(1, 8, 3, {2, 1, 0, 1.5, 1, .5, 3, 0, 2, 0, 1, .5, 2.5, 2, 0, 1, .9, .8, .2, .1, 4, 5, 1, 0});
}

tensor_map run(const std::string& config, const tensor_map& in, precision as = precision::f64) {
  return tensors_of(through_parts(config, file_of(in), as));
}

} // namespace

TEST_CASE("switch: choices, slots and losses of eight tokens", "[conventions]") {
  const auto out = run(R"({"capacity_factor": 0.75, "min_capacity": 0})", golden_file()); // C = 2
  CHECK(out.at("expert_index").values == numbers{0, 0, 0, 1, 0, 0, 2, 0});                // dropped ones keep theirs
  CHECK(out.at("kept").values == numbers{1, 1, 0, 1, 0, 0, 1, 0});
  CHECK(out.at("slot").values == numbers{0, 1, -1, 0, -1, -1, 0, -1});
  CHECK(out.at("gate").values[0] == Approx(0.665240956).epsilon(1e-9));
  CHECK(out.at("gate").values[2] == 0);
  CHECK(out.at("y").values[6] == 0);
  CHECK(out.at("y").values[0] == Approx(0.665240956 * 3).epsilon(1e-9));
  CHECK(out.at("load_balance_loss").values[0] == Approx(1.317143).epsilon(1e-6));
  CHECK(out.at("router_z_loss").values[0] == Approx(9.915597).epsilon(1e-6));
  CHECK(out.at("importance_loss").values[0] == Approx(0.131384).epsilon(1e-5));
  CHECK(out.at("importance_loss").shape.empty());
}

TEST_CASE("top_k: choice-major slots, and gates renormalized before and after drops", "[conventions]") {
  const std::string two = R"({"routing": "top_k", "capacity_factor": 1.125, "min_capacity": 0)"; // k = 2, C = 3
  const auto plain = run(two + "}", golden_file());
  CHECK(plain.at("expert_index").values == numbers{0, 1, 0, 1, 0, 2, 1, 2, 0, 1, 0, 1, 2, 0, 0, 1});
  CHECK(plain.at("slot").values == numbers{0, 1, 1, 2, 2, 1, 0, 2, -1, -1, -1, -1, 0, -1, -1, -1});
  CHECK(plain.at("kept").values == numbers{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0});
  const auto any = run(two + R"(, "load_balance_form": "any_of_k"})", golden_file());
  CHECK(any.at("load_balance_loss").values[0] == Approx(2.134964).epsilon(1e-6));

  const auto before = run(two + R"(, "renormalize": "before_drop"})", golden_file());
  CHECK(before.at("gate").values[0] == Approx(0.731059).epsilon(1e-5));
  CHECK(before.at("gate").values[12] == Approx(0.978119).epsilon(1e-5)); // its second choice was dropped
  const auto after = run(two + R"(, "renormalize": "after_drop"})", golden_file());
  CHECK(after.at("gate").values[0] == Approx(0.731059).epsilon(1e-5));
  CHECK(after.at("gate").values[12] == 1);

  // 0.2 removes the second choices of tokens 6 and 7; without drops, all others stay.
  const auto threshold =
      run(R"({"routing": "top_k", "capacity_factor": "dropless", "second_expert": "threshold"})", golden_file());
  CHECK(threshold.at("expert_index").values == numbers{0, 1, 0, 1, 0, 2, 1, 2, 0, 1, 0, 1, 2, -1, 0, -1});
  const auto none =
      run(R"({"routing": "top_k", "capacity_factor": "dropless", "second_expert": "none"})", golden_file());
  CHECK(none.at("expert_index").values == numbers{0, -1, 0, -1, 0, -1, 1, -1, 0, -1, 0, -1, 2, -1, 0, -1});

  // One choice: p / (p + 1e-9), to the letter.
  const auto one = run(R"({"routing": "top_k", "k": 1, "renormalize": "before_drop"})", golden_file());
  const double p = one.at("probs").values[0];
  CHECK(one.at("gate").values[0] == p / (p + 1e-9));
  CHECK(one.at("gate").values[0] < 1);
}

TEST_CASE("batch_prioritized, no_token_left_behind and expert_choice of eight tokens", "[conventions]") {
  const auto priority =
      run(R"({"order": "batch_prioritized", "capacity_factor": 0.75, "min_capacity": 0})", golden_file());
  CHECK(priority.at("kept").values == numbers{0, 0, 1, 1, 0, 0, 1, 1}); // 7, 6, 2, 0, 4, 1, 3, 5
  CHECK(priority.at("slot").values == numbers{-1, -1, 1, 0, -1, -1, 0, 0});

  const auto persistent =
      run(R"({"routing": "no_token_left_behind", "k": 3, "capacity_factor": 1.125, "min_capacity": 0})", golden_file());
  CHECK(persistent.at("expert_index").values ==
        numbers{0, -1, -1, 0, -1, -1, 0, -1, -1, 1, -1, -1, -1, 1, -1, -1, 1, -1, 2, -1, -1, -1, -1, 2});
  CHECK(persistent.at("slot").values ==
        numbers{0, -1, -1, 1, -1, -1, 2, -1, -1, 0, -1, -1, -1, 1, -1, -1, 2, -1, 0, -1, -1, -1, -1, 1});

  const auto experts =
      run(R"({"routing": "expert_choice", "capacity_factor": 1.125, "min_capacity": 0})", golden_file());
  CHECK(experts.at("token_index").values == numbers{7, 2, 0, 3, 4, 5, 6, 3, 5});
  CHECK(experts.at("load_balance_loss").values[0] == 0);
  CHECK(experts.count("expert_index") + experts.count("slot") + experts.count("kept") == 0);
}

TEST_CASE("padding: no slot, no gate, no gradient, and last in expert choice", "[conventions]") {
  auto in = logits_file(1, 4, 2, {3, 0, 2, 0, 1, 0, 0, 1});
  in["mask"] = {{1, 4}, {0, 1, -2, 0.5}};
  in["dy"] = {{1, 4, 2}, numbers(8, 1.0)};
  const auto tokens = run(R"({"router_z": 1, "importance": 1, "load_balance": 1})", in);
  CHECK(tokens.at("expert_index").values == numbers{-1, 0, -1, 1});
  CHECK(tokens.at("slot").values == numbers{-1, 0, -1, 0});
  CHECK(tokens.at("gate").values[0] == 0);
  CHECK(tokens.at("probs").values[0] ==
        Approx(1 / (1 + std::exp(-3.0))).epsilon(1e-14)); // the plain softmax all the same
  for (const std::size_t padding : {0u, 1u, 4u, 5u}) {
    CHECK(tokens.at("dx").values[padding] == 0);
    CHECK(tokens.at("y").values[padding] == 0);
  }
  const double z = std::pow(std::log(1 + std::exp(2.0)), 2) / 2 + std::pow(std::log(1 + std::exp(1.0)), 2) / 2;
  CHECK(tokens.at("router_z_loss").values[0] == Approx(z).epsilon(1e-14));

  const auto experts = run(R"({"routing": "expert_choice", "capacity_factor": "dropless"})", in);
  CHECK(experts.at("token_index").values == numbers{1, 3, 0, 2, 3, 1, 0, 2}); // padding lowest first
  CHECK((experts.at("gate").values[2] == 0 && experts.at("gate").values[3] == 0));
  CHECK((experts.at("gate").values[1] > 0 && experts.at("gate").values[5] > 0));
  const auto two = run(R"({"routing": "expert_choice", "capacity_factor": 1.5, "min_capacity": 0})", in);
  CHECK(two.at("token_index").values == numbers{1, 3, 0, 3, 1, 0}); // one slot that no real token fills
}

TEST_CASE("a mask that is 0 in float is above 0", "[conventions]") {
  auto in = logits_file(1, 2, 2, {1, 0, 0, 1});
  in["mask"] = {{1, 2}, {1e-300, 0}};
  for (const precision as : {precision::f64, precision::f32, precision::bf16, precision::f16})
    CHECK(run("{}", in, as).at("kept").values == numbers{1, 0});
}

TEST_CASE("ties go to the lowest expert and the lowest token", "[conventions]") {
  const auto in = logits_file(1, 3, 3, {1, 2, 2, 1, 2, 2, 1, 2, 2});
  CHECK(run(R"({"routing": "top_k", "k": 3})", in).at("expert_index").values == numbers{1, 2, 0, 1, 2, 0, 1, 2, 0});
  CHECK(run(R"({"routing": "expert_choice", "capacity_factor": "dropless"})", in).at("token_index").values ==
        numbers{0, 1, 2, 0, 1, 2, 0, 1, 2});
  const auto priority = run(R"({"order": "batch_prioritized", "capacity_factor": 1, "min_capacity": 0})", in); // C = 1
  CHECK(priority.at("kept").values == numbers{1, 0, 0});
}

TEST_CASE("every key has the default that is written down", "[conventions]") {
  auto in = golden_file();
  in["dy"] = {{1, 8, 3}, numbers(24, 1.0)};
  const std::string rest = R"("renormalize": "none", "second_expert": "all", "threshold": 0.2, "order": "token",
    "capacity_factor": 1.25, "capacity_rounding": "truncate", "min_capacity": 4, "activation": "relu", "gated": false,
    "load_balance": 0, "load_balance_form": "first_choice", "load_balance_scope": "group", "router_z": 0,
    "importance": 0, "exchange_chunks": 1})";
  const bytes file = file_of(in);
  for (const precision as : {precision::f64, precision::f32, precision::bf16, precision::f16})
    CHECK(through_parts("{}", file, as) == through_parts(R"({"routing": "switch", )" + rest, file, as));
  const auto same = [&](const std::string& routing, int k) {
    return through_parts(R"({"routing": ")" + routing + "\"}", file, precision::f64) ==
           through_parts(R"({"routing": ")" + routing + R"(", "k": )" + std::to_string(k) + ", " + rest, file,
                         precision::f64);
  };
  CHECK(same("top_k", 2));
  CHECK(same("no_token_left_behind", 3)); // min(4, E)
  CHECK(same("expert_choice", 77));       // ignored, as is that of switch
  CHECK(same("switch", 77));
  CHECK(run(R"({"routing": "top_k", "second_expert": "threshold", "threshold": 0.2})", in).at("kept").values ==
        run(R"({"routing": "top_k", "second_expert": "threshold"})", in).at("kept").values);
}

TEST_CASE("load_balance over the batch, and the pieces of an exchange, are keys", "[conventions]") {
  CHECK(run_layer::parse_config(R"({"exchange_chunks": 3})").exchange_chunks == 3);
  // Two groups, each with all of its two tokens on one expert: perfectly balanced, but only together.
  const auto in = logits_file(2, 2, 2, {9, 0, 9, 0, 0, 9, 0, 9});
  const double p = 1 / (1 + std::exp(-9.0));
  CHECK(run("{}", in).at("load_balance_loss").values[0] == Approx(2 * p).epsilon(1e-14));
  CHECK(run(R"({"load_balance_scope": "batch"})", in).at("load_balance_loss").values[0] == Approx(1).epsilon(1e-14));
}

TEST_CASE("inputs of another type are converted", "[conventions]") {
  auto wide = golden_file();
  wide["dy"] = {{1, 8, 3}, numbers(24, 1 / 3.0)};
  for (auto& [name, t] : wide)
    for (double& v : t.values) v *= 1.0000000123;
  auto narrow = wide;
  for (auto& [name, t] : narrow) t.type = io::dtype::f32;
  auto widened = narrow;
  for (auto& [name, t] : widened) {
    t.type = io::dtype::f64;
    for (double& v : t.values) v = static_cast<float>(v);
  }
  for (const precision as : {precision::f32, precision::bf16, precision::f16}) // F64 is rounded first
    CHECK(through_parts("{}", file_of(wide), as) == through_parts("{}", file_of(narrow), as));
  CHECK(through_parts("{}", file_of(narrow), precision::f64) == through_parts("{}", file_of(widened), precision::f64));
  CHECK(through_parts("{}", file_of(narrow), precision::f64) != through_parts("{}", file_of(wide), precision::f64));
  for (const auto& [name, t] : run("{}", wide, precision::bf16))
    if (name != "kept" && name != "slot" && name != "expert_index") CHECK(t.type == io::dtype::f32);
}

TEST_CASE("without dy there is no gradient", "[conventions]") {
  const auto out = run("{}", golden_file());
  CHECK(std::none_of(out.begin(), out.end(),
                     [](const auto& t) { return t.first == "dx" || t.first.ends_with(".grad"); }));
  CHECK(out.size() == 9);
}

TEST_CASE("no groups, no tokens, no real token: zeros of the right shape", "[conventions]") {
  for (const std::string routing : {"switch", "top_k", "no_token_left_behind", "expert_choice"})
    for (const std::string more : {"", R"(, "capacity_factor": "dropless")", R"(, "order": "batch_prioritized")"})
      for (const auto& [G, S] : {std::pair{0, 5}, {3, 0}, {0, 0}, {2, 3}})
        for (const precision as : {precision::f64, precision::f32, precision::bf16, precision::f16}) {
          const std::string config =
              R"({"load_balance": 1, "router_z": 1, "importance": 1, "routing": ")" + routing + '"' + more + '}';
          INFO(config << ", G = " << G << ", S = " << S);
          const auto tokens = static_cast<std::size_t>(G * S);
          auto in = logits_file(G, S, 4, numbers(tokens * 4, 0.5));
          in["dy"] = {{G, S, 4}, numbers(tokens * 4, 1.0)};
          in["mask"] = {{G, S}, numbers(tokens, 0.0)};
          const auto out = run(config, in, as);
          CHECK(out.at("dx").shape == std::vector<std::int64_t>{G, S, 4});
          for (const auto& [name, t] : out) {
            INFO(name);
            const auto zero = [](double v) { return v == 0; };
            const auto probability = [](double v) { return v == 0.25; };
            const auto index = [](double v) { return v == -1; };
            if (name == "probs")
              CHECK(std::all_of(t.values.begin(), t.values.end(), probability));
            else if (name == "expert_index" || name == "slot")
              CHECK(std::all_of(t.values.begin(), t.values.end(), index));
            else if (name != "token_index")
              CHECK(std::all_of(t.values.begin(), t.values.end(), zero));
          }
        }
}

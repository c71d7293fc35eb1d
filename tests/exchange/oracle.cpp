// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "cases.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <switchyard/core/bfloat16.hpp>
#include <switchyard/core/half.hpp>
#include <switchyard/layer/reference_layer.hpp>

// What the program writes is what the reference layer computes from what it read.

using namespace exchange_test;
using run_layer::precision;

namespace {

/// The reference's answer in the form of the output file. `round` and `round_router` are what the layer does to x, dy
/// and the experts' weights, and to the router's.
template <class Round, class RoundRouter>
tensor_map expected(const test_case& c, const Round& round, const RoundRouter& round_router) {
  const auto values = [&](const char* name, const auto& rounding) {
    std::vector<double> v;
    if (const auto at = c.in.find(name); at != c.in.end())
      for (const double value : at->second.values) v.push_back(rounding(value));
    return v;
  };
  sy::reference_weights w;
  w.router = values("router.weight", round_router);
  w.wi = values("wi.weight", round);
  w.wi_gate = values("wi_gate.weight", round);
  w.wo = values("wo.weight", round);
  sy::reference_input in;
  in.groups = c.groups;
  in.tokens = c.tokens;
  in.x = values("x", round);
  in.mask = values("mask", [](double v) { return v; });
  const auto out = sy::reference_forward(c.meaning, w, in);
  const auto back = sy::reference_backward(c.meaning, w, in, out, values("dy", round));

  const auto whole = [](const std::vector<std::int64_t>& v) { return std::vector<double>(v.begin(), v.end()); };
  const std::int64_t G = c.groups, S = c.tokens, M = c.meaning.d_model, F = c.meaning.d_ff, E = c.meaning.experts;
  const std::int64_t K = c.meaning.choices(), C = out.capacity;
  tensor_map t;
  t["y"] = {{G, S, M}, out.y};
  t["probs"] = {{G, S, E}, out.probs};
  if (c.meaning.routing == sy::routing_policy::expert_choice) {
    t["token_index"] = {{G, E, C}, whole(out.token_index), io::dtype::i32};
    t["gate"] = {{G, E, C}, out.gate};
  } else {
    t["expert_index"] = {{G, S, K}, whole(out.expert_index), io::dtype::i32};
    t["slot"] = {{G, S, K}, whole(out.slot), io::dtype::i32};
    t["kept"] = {{G, S, K}, whole(out.kept), io::dtype::u8};
    t["gate"] = {{G, S, K}, out.gate};
  }
  t["load_balance_loss"] = {{}, {out.load_balance_loss}};
  t["router_z_loss"] = {{}, {out.router_z_loss}};
  t["importance_loss"] = {{}, {out.importance_loss}};
  t["dx"] = {{G, S, M}, back.dx};
  t["router.weight.grad"] = {{M, E}, back.weights.router};
  t["wi.weight.grad"] = {{E, M, F}, back.weights.wi};
  if (c.meaning.gated) t["wi_gate.weight.grad"] = {{E, M, F}, back.weights.wi_gate};
  t["wo.weight.grad"] = {{E, F, M}, back.weights.wo};
  return t;
}

bool is_number(const tensor& t) {
  return t.type == io::dtype::f64 || t.type == io::dtype::f32;
}

/// Same names, shapes and types (numbers of type `number`), before any value is looked at.
void check_form(const tensor_map& got, const tensor_map& want, io::dtype number) {
  const auto names = [](const tensor_map& m) {
    std::vector<std::string> all;
    for (const auto& entry : m) all.push_back(entry.first);
    return all;
  };
  REQUIRE(names(got) == names(want));
  for (const auto& [name, t] : want) {
    INFO(name);
    REQUIRE(got.at(name).shape == t.shape);
    REQUIRE(got.at(name).type == (is_number(t) ? number : t.type));
  }
}

bool same_indices(const tensor_map& got, const tensor_map& want) {
  return std::all_of(want.begin(), want.end(), [&](const auto& entry) {
    return is_number(entry.second) || got.at(entry.first).values == entry.second.values;
  });
}

/// The largest difference over 1 + the largest number expected; infinite for NaN.
double difference(const std::vector<double>& got, const std::vector<double>& want) {
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= std::numeric_limits<double>::max()))
      return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::abs(got[i] - want[i]));
    largest = std::max(largest, std::abs(want[i]));
  }
  return worst / (1 + largest);
}

double exactly(double v) {
  return v;
}
double as_float(double v) {
  return static_cast<float>(v);
}
double as_bfloat16(double v) {
  return static_cast<float>(sy::bfloat16(static_cast<float>(v)));
}
double as_half(double v) {
  return static_cast<float>(sy::half(static_cast<float>(v)));
}

} // namespace

TEST_CASE("f64 is the reference for every combination of policies", "[oracle]") {
  std::uint64_t seed = 1;
  for (const policies& p : every_combination()) {
    const test_case c = make_case(p, seed++);
    INFO(c.config << ", " << c.groups << " groups of " << c.tokens << " tokens, E = " << c.meaning.experts);
    const auto got = tensors_of(through_parts(c.config, file_of(c.in), precision::f64));
    const auto want = expected(c, exactly, exactly);
    check_form(got, want, io::dtype::f64);
    for (const auto& [name, t] : want) {
      INFO(name);
      if (is_number(t))
        REQUIRE(difference(got.at(name).values, t.values) < 1e-11);
      else
        REQUIRE(got.at(name).values == t.values);
    }
  }
}

TEST_CASE("in the other precisions errors stay below 16 units where the routing is the same", "[oracle]") {
  struct kind {
    const char* name;
    precision as;
    double unit;
    double (*round)(double);
  };
  constexpr kind kinds[] = {{"f32", precision::f32, 0x1p-24, as_float},
                            {"bf16", precision::bf16, 0x1p-8, as_bfloat16},
                            {"f16", precision::f16, 0x1p-11, as_half}};
  const auto combinations = every_combination();
  for (const kind& k : kinds) {
    int tried = 0, compared = 0;
    double worst = 0;
    for (std::size_t i = 0; i < combinations.size(); i += 13) {
      const test_case c = make_case(combinations[i], 10000 + i, /*wide=*/true);
      INFO(k.name << ": " << c.config << ", " << c.groups << " groups of " << c.tokens << " tokens");
      const auto got = tensors_of(through_parts(c.config, file_of(c.in), k.as));
      const auto want = expected(c, k.round, as_float);
      check_form(got, want, io::dtype::f32);
      ++tried;
      if (!same_indices(got, want)) continue; // decided by less than the router's rounding
      ++compared;
      for (const auto& [name, t] : want) {
        if (!is_number(t)) continue;
        INFO(name);
        // The router decides in float, its losses are of float; all else passes through the experts' type.
        const bool of_router = name == "probs" || name == "gate" || name.ends_with("_loss");
        const double ratio = difference(got.at(name).values, t.values) / (of_router ? 0x1p-24 : k.unit);
        worst = std::max(worst, ratio);
        CHECK(ratio < 16);
      }
    }
    INFO(k.name << ": " << compared << " of " << tried << " with the same routing");
    CHECK(compared > tried * 9 / 10);
  }
}

TEST_CASE("the program writes what its parts compute, to the byte", "[oracle][program]") {
  const auto combinations = every_combination();
  constexpr std::pair<const char*, precision> precisions[] = {{"", precision::f64},
                                                              {" --precision f64", precision::f64},
                                                              {" --precision f32", precision::f32},
                                                              {" --precision bf16", precision::bf16},
                                                              {" --precision f16", precision::f16}};
  const folder here;
  std::size_t which = 0;
  for (std::size_t i = 0; i < combinations.size(); i += 131) {
    const test_case c = make_case(combinations[i], 20000 + i);
    const auto& [flag, as] = precisions[which++ % std::size(precisions)];
    INFO(c.config << flag);
    here.write("layer.json", c.config);
    here.write("in.safetensors", file_of(c.in));
    const auto end =
        run_program(here, "--config layer.json --in in.safetensors --out out.safetensors" + std::string(flag));
    REQUIRE(end.status == 0);
    CHECK(end.message.empty());
    CHECK(here.names().size() == 3);
    REQUIRE(here.content("out.safetensors") == through_parts(c.config, file_of(c.in), as));
  }
}

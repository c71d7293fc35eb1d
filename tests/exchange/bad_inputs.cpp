// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "files.hpp"
#include <catch2/catch_test_macros.hpp>

// Whatever is wrong with the input: exit status 1, a message that names it, and no output file.

using namespace exchange_test;

namespace {

constexpr const char* arguments = "--config layer.json --in in.safetensors --out out.safetensors";

/// G = 2, S = 3, M = 4, E = 2, F = 5, gated or not.
tensor_map good_tensors(bool gated = false) {
  const auto filled = [](std::vector<std::int64_t> shape) {
    std::size_t size = 1;
    for (const std::int64_t n : shape) size *= static_cast<std::size_t>(n);
    return tensor{std::move(shape), std::vector<double>(size, 0.5)};
  };
  tensor_map t{{"x", filled({2, 3, 4})},
               {"router.weight", filled({4, 2})},
               {"wi.weight", filled({2, 4, 5})},
               {"wo.weight", filled({2, 5, 4})}};
  if (gated) t["wi_gate.weight"] = filled({2, 4, 5});
  return t;
}

/// `where`: what the message starts with, after the name of the program.
void check_refused(const folder& here, const finished& end, const std::string& mention, const std::string& where = "") {
  INFO("message: " << end.message);
  CHECK(end.status == 1);
  CHECK(end.message.starts_with("run_layer: " + where));
  CHECK(end.message.find(mention) != std::string::npos);
  CHECK(end.message.find('\n') == end.message.size() - 1); // one line
  CHECK(end.message.size() < 700);
  for (const std::string& name : here.names()) CHECK(!name.starts_with("out.safetensors"));
}

void check_refused(const std::string& config, const bytes& file, const std::string& mention,
                   const std::string& where = "", const char* with = arguments) {
  const folder here;
  here.write("layer.json", config);
  here.write("in.safetensors", file);
  INFO("config " << config.substr(0, 200));
  check_refused(here, run_program(here, with), mention, where);
}

} // namespace

TEST_CASE("a good input is taken, and replaces what was there", "[bad]") {
  const folder here;
  here.write("layer.json", std::string(R"( {"routing": "top_k"} )"));
  here.write("in.safetensors", file_of(good_tensors()));
  here.write("out.safetensors", std::string("old"));
  const auto end = run_program(here, arguments);
  CHECK(end.status == 0);
  CHECK(end.message.empty());
  CHECK(tensors_of(here.content("out.safetensors")).contains("y"));
  CHECK(run_program(here, "--help > help").status == 0);
  CHECK(here.text("help").find("--precision") != std::string::npos);
}

TEST_CASE("configurations that are refused", "[bad]") {
  const bytes file = file_of(good_tensors());
  const std::pair<const char*, const char*> table[] = {
      // the text
      {"", "layer.json"},
      {"{", "JSON"},
      {"[]", "array"},
      {"3", "number"},
      {"null", "null"},
      {R"({"k": 1} {})", "JSON"},
      {R"({"k": 1,})", "JSON"},
      {R"({k: 1})", "JSON"},
      {R"({"k": NaN})", "JSON"},
      {R"({"threshold": 1e999})", "JSON"},
      {"{\"\xff\": 1}", "JSON"},
      // the keys
      {R"({"rooting": "switch"})", "rooting"},
      {R"({"Routing": "switch"})", "Routing"},
      {R"({"d_model": 4})", "d_model"},
      {R"({"": 1})", "\"\""},
      {R"({"gated": false, "k": 1, "gated": false})", "gated"},
      // their values
      {R"({"routing": "top_2"})", "top_2"},
      {R"({"routing": "Switch"})", "Switch"},
      {R"({"routing": 1})", "routing = 1"},
      {R"({"routing": null})", "routing"},
      {R"({"routing": {"routing": "switch"}})", "routing"},
      {R"({"renormalize": "before"})", "renormalize"},
      {R"({"second_expert": "random"})", "second_expert"},
      {R"({"order": "random"})", "order"},
      {R"({"threshold": "0.2"})", "threshold"},
      {R"({"routing": "top_k", "second_expert": "threshold", "threshold": -1})", "threshold = -1"},
      {R"({"k": "2"})", "k = \"2\""},
      {R"({"k": 2.0})", "k = 2.0"},
      {R"({"k": true})", "k = true"},
      {R"({"k": [2]})", "k = [2]"},
      {R"({"routing": "top_k", "k": 0})", "k = 0"},
      {R"({"routing": "top_k", "k": -1})", "k = -1"},
      {R"({"routing": "top_k", "k": 4294967297})", "k = 4294967297"}, // 1 in 32 bits
      {R"({"routing": "top_k", "k": 18446744073709551615})", "k = 18446744073709551615"},
      {R"({"capacity_factor": 0})", "capacity_factor = 0: must be above 0; for no limit at all write \"dropless\""},
      {R"({"capacity_factor": -1.5})", "capacity_factor = -1.5"},
      {R"({"capacity_factor": "Dropless"})", "capacity_factor"},
      {R"({"capacity_factor": null})", "capacity_factor"},
      {R"({"capacity_rounding": "floor"})", "capacity_rounding"},
      {R"({"min_capacity": -1})", "min_capacity = -1"},
      {R"({"min_capacity": 0.5})", "min_capacity = 0.5"},
      {R"({"activation": "swish"})", "activation"},
      {R"({"gated": 1})", "gated = 1"},
      {R"({"gated": "true"})", "gated"},
      {R"({"load_balance": true})", "load_balance"},
      {R"({"load_balance": -0.01})", "load_balance = -0.01"},
      {R"({"load_balance_form": "first"})", "load_balance_form"},
      {R"({"load_balance_scope": "global"})", "load_balance_scope"},
      {R"({"canonical": -1})", "canonical = -1"},
      {R"({"exchange_chunks": 0})", "exchange_chunks = 0"},
      {R"({"exchange_chunks": 1.5})", "exchange_chunks = 1.5"},
      {R"({"router_z": -1})", "router_z = -1"},
      {R"({"router_z": null})", "router_z"},
      {R"({"importance": -1})", "importance = -1"}};
  for (const auto& [config, mention] : table) check_refused(config, file, mention, "layer.json: ");
  for (const char* routing : {"top_k", "no_token_left_behind"}) // E = 2 is known from the tensors
    check_refused(R"({"k": 3, "routing": ")" + std::string(routing) + "\"}", file, "k = 3", "in.safetensors: ");
  check_refused(std::string(100000, '['), file, "JSON");
  check_refused(R"({"k": ")" + std::string(100000, 'x') + "\"}", file, "k = ");
}

TEST_CASE("tensors that are refused", "[bad]") {
  const auto refused = [](const std::string& config, bool gated, auto&& change, const std::string& mention) {
    tensor_map t = good_tensors(gated);
    change(t);
    check_refused(config, file_of(t), mention, "in.safetensors: ");
  };
  const tensor scalar{{}, {1}};
  for (const char* name : {"x", "router.weight", "wi.weight", "wo.weight"}) {
    refused(
        "{}", false, [&](tensor_map& t) { t.erase(name); }, std::string("tensor ") + name + ": missing");
    refused(
        "{}", false, [&](tensor_map& t) { t[name] = scalar; }, std::string("tensor ") + name);
    refused(
        "{}", false, [&](tensor_map& t) { t[name].shape.push_back(1); }, std::string("tensor ") + name);
    refused(
        "{}", false, [&](tensor_map& t) { t[name].type = io::dtype::i32; }, std::string("tensor ") + name + " is I32");
  }
  refused(R"({"gated": true})", false, [](tensor_map&) {}, "wi_gate.weight: missing");
  refused(
      "{}", true, [](tensor_map&) {}, "wi_gate.weight");
  for (const char* name : {"y", "X", "wi", "router.bias", "wi.weight.grad", "masks"})
    refused(
        "{}", false, [&](tensor_map& t) { t[name] = scalar; }, std::string("tensor ") + name + ": unknown");

  const auto shaped = [&](const char* name, std::vector<std::int64_t> shape, bool gated = false) {
    std::size_t size = 1;
    for (const std::int64_t n : shape) size *= static_cast<std::size_t>(n);
    refused(
        gated ? R"({"gated": true})" : "{}", gated,
        [&](tensor_map& t) {
          t[name] = {shape, std::vector<double>(size, 0.5)};
        },
        "tensor " + std::string(name));
  };
  shaped("router.weight", {3, 2});
  shaped("wi.weight", {3, 4, 5});
  shaped("wi.weight", {2, 5, 4});
  shaped("wi_gate.weight", {2, 4, 6}, true);
  shaped("wo.weight", {2, 4, 5});
  shaped("wo.weight", {1, 5, 4});
  shaped("dy", {2, 3, 5});
  shaped("dy", {3, 2, 4});
  shaped("dy", {24});
  shaped("mask", {3, 2});
  shaped("mask", {2, 3, 1});
  shaped("mask", {6});

  const auto nothing = [&](std::int64_t M, std::int64_t E, std::int64_t F, const char* mention) {
    refused(
        "{}", false,
        [&](tensor_map& t) {
          t = {{"x", {{2, 3, M}, std::vector<double>(static_cast<std::size_t>(6 * M))}},
               {"router.weight", {{M, E}, std::vector<double>(static_cast<std::size_t>(M * E))}},
               {"wi.weight", {{E, M, F}, std::vector<double>(static_cast<std::size_t>(E * M * F))}},
               {"wo.weight", {{E, F, M}, std::vector<double>(static_cast<std::size_t>(E * M * F))}}};
        },
        mention);
  };
  nothing(0, 2, 3, "d_model = 0");
  nothing(3, 0, 2, "experts = 0");
  nothing(3, 2, 0, "d_ff = 0");
}

TEST_CASE("files that are refused", "[bad]") {
  const bytes good = file_of(good_tensors());
  check_refused("{}", {}, "in.safetensors");
  check_refused("{}", bytes(good.begin(), good.begin() + 7), "in.safetensors");
  check_refused("{}", bytes(good.begin(), good.begin() + 60), "in.safetensors");
  check_refused("{}", bytes(good.begin(), good.end() - 1), "in.safetensors");
  bytes longer = good;
  longer.push_back(std::byte{0});
  check_refused("{}", longer, "in.safetensors");
  bytes garbage = good;
  for (std::size_t i = 8; i < 40; ++i) garbage[i] = std::byte{0xff};
  check_refused("{}", garbage, "in.safetensors");
  bytes huge = good;
  for (std::size_t i = 0; i < 8; ++i) huge[i] = std::byte{0x7f};
  check_refused("{}", huge, "in.safetensors");

  const char* const wrong[][2] = {
      {"--config none.json --in in.safetensors --out out.safetensors", "none.json"},
      {"--config . --in in.safetensors --out out.safetensors", "."},
      {"--config layer.json --in none.safetensors --out out.safetensors", "none.safetensors"},
      {"--config layer.json --in . --out out.safetensors", "."},
      {"--config layer.json --in in.safetensors --out nowhere/out.safetensors", "nowhere/out.safetensors"},
      {"--config layer.json --in in.safetensors --out .", "."},
      {"--config layer.json --in in.safetensors --out layer.json/out.safetensors", "layer.json/out.safetensors"},
      {"--config layer.json --in in.safetensors --out ''", "run_layer"},
      {"--config layer.json --in in.safetensors --out out.safetensors --precision f8", "f8"},
      {"--config layer.json --in in.safetensors --out out.safetensors --precision F64", "F64"},
      {"--config layer.json --in in.safetensors --out out.safetensors --precision", "--precision"},
      {"--config layer.json --in in.safetensors --out out.safetensors --verbose", "--verbose"},
      {"--config layer.json --in in.safetensors --out out.safetensors extra", "extra"},
      {"--config layer.json --in in.safetensors", "--out"},
      {"--config layer.json --out out.safetensors", "--in"},
      {"--in in.safetensors --out out.safetensors", "--config"},
      {"", "--config"}};
  for (const auto& [with, mention] : wrong) {
    INFO(with);
    check_refused("{}", good, mention, "", with);
  }
}

TEST_CASE("what was in the place of the output stays where the input is refused", "[bad]") {
  const folder here;
  here.write("layer.json", std::string(R"({"k": "many"})"));
  here.write("in.safetensors", file_of(good_tensors()));
  here.write("out.safetensors", std::string("old"));
  CHECK(run_program(here, arguments).status == 1);
  CHECK(here.text("out.safetensors") == "old");
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/worse.hpp"
#include "cases.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

// run_layer under mpirun: the same file under every layout, and a report in which what was sent is what was predicted.

using namespace exchange_test;
using run_layer::precision;

namespace {

finished on_ranks(const folder& where, int ranks, const std::string& arguments) {
  const std::string command = "cd '" + where.at("") + "' && " RUN_LAYER_MPIRUN " " + std::to_string(ranks) +
                              " '" RUN_LAYER_PROGRAM "' " + arguments + " > /dev/null 2> stderr";
  const int result = std::system(command.c_str());
  finished f{WIFEXITED(result) ? WEXITSTATUS(result) : -1, where.text("stderr")};
  fs::remove(where.at("stderr"));
  return f;
}

struct run {
  const char *mesh, *layout;
  int ranks;
};

/// The tensors of one process and of a mesh: the same names, shapes, types and indices, numbers within `bound`.
void check_same(const tensor_map& got, const tensor_map& want, double bound) {
  REQUIRE(got.size() == want.size());
  for (const auto& [name, t] : want) {
    INFO(name);
    REQUIRE(got.count(name) == 1);
    REQUIRE((got.at(name).shape == t.shape && got.at(name).type == t.type));
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < t.values.size(); ++i) {
      worst = switchyard_test::worse(worst, std::abs(got.at(name).values[i] - t.values[i]));
      largest = std::max(largest, std::abs(t.values[i]));
    }
    const bool number = t.type == io::dtype::f64 || t.type == io::dtype::f32;
    CHECK(worst <= (number ? bound * largest : 0));
  }
}

void check_report(const std::string& text, bool silent) {
  const auto report = nlohmann::json::parse(text);
  REQUIRE(report.at("communication").size() == 16); // 2 axes, 4 collectives, 2 passes
  std::int64_t total = 0;
  for (const auto& row : report.at("communication")) {
    INFO(row.dump());
    CHECK(row.at("sent_bytes") == row.at("predicted_bytes"));
    CHECK(row.at("sent_bytes_of_ranks") == row.at("predicted_bytes_of_ranks"));
    total += row.at("sent_bytes").get<std::int64_t>();
  }
  CHECK((total == 0) == silent);
}

/// Model parallelism alone sends rows of slots; where there are none, it is silent.
bool where_nothing_is_sent(const test_case& c, const std::string& layout) {
  return layout == "model" && c.meaning.capacity(c.tokens, false) == 0;
}

policies some(sy::routing_policy routing, int rounding, bool gated) {
  policies p;
  p.routing = routing;
  p.rounding = rounding;
  p.gated = gated;
  p.mask = p.losses = true;
  return p;
}

} // namespace

TEST_CASE("a mesh writes what one process writes", "[mesh]") {
  const folder here;
  int seed = 40;
  for (const auto& [mesh, layout, ranks] :
       {run{"data=3", "data", 3}, run{"model=2", "model", 2}, run{"data=2,model=2", "data_model", 4},
        run{"data=4", "expert_data", 4}, run{"data=2,model=2", "expert_model_data", 4},
        run{"model=2,data=2", "expert_data", 4}, run{"data=2,model=2", "model", 4}}) {
    for (const auto routing : {sy::routing_policy::top_k, sy::routing_policy::expert_choice}) {
      const auto draw = [&] {
        ++seed;
        return make_case(some(routing, seed % 5, seed % 2 == 0), static_cast<std::uint64_t>(seed), true);
      };
      test_case c = draw();
      while (c.meaning.d_ff % 2 != 0 || c.meaning.d_model % 2 != 0) c = draw(); // cut over the axis model
      INFO(mesh << " " << layout << " " << c.config);
      const bytes in = file_of(c.in);
      here.write("in", in);
      here.write("config", c.config);
      const auto done = on_ranks(here, ranks,
                                 std::string("--config config --in in --out out --report report --mesh ") + mesh +
                                     " --layout " + layout);
      INFO(done.message);
      REQUIRE(done.status == 0);
      check_same(tensors_of(here.content("out")), tensors_of(through_parts(c.config, in, precision::f64)), 1e-12);
      check_report(here.text("report"), where_nothing_is_sent(c, layout));
    }
  }
}

TEST_CASE("where no sum crosses ranks, a mesh writes the same bytes in bf16", "[mesh]") {
  const folder here;
  const test_case c = make_case(some(sy::routing_policy::top_1, 0, false), 7, true);
  const bytes in = file_of(c.in);
  here.write("in", in);
  here.write("config", c.config);
  REQUIRE(on_ranks(here, 3, "--config config --in in --out out --precision bf16 --mesh data=3 --layout expert_data")
              .status == 0);
  const auto got = tensors_of(here.content("out")), want = tensors_of(through_parts(c.config, in, precision::bf16));
  for (const auto& [name, t] : want)
    if (name != "router.weight.grad") CHECK(got.at(name).values == t.values);
}

TEST_CASE("with canonical sums every layout writes the same file", "[mesh]") {
  const folder here;
  std::uint64_t seed = 90;
  for (const auto& [name, of] : {std::pair("bf16", precision::bf16), std::pair("f32", precision::f32)}) {
    const auto draw = [&] {
      ++seed;
      return make_case(some(sy::routing_policy::top_k, 0, seed % 2 == 0), seed, true);
    };
    test_case c = draw();
    while (c.meaning.d_ff % 4 != 0 || c.meaning.d_model % 4 != 0 || c.groups > 4) c = draw();
    c.config.replace(c.config.find('{'), 1, R"({"canonical": 4, )");
    INFO(name << " " << c.config);
    const bytes in = file_of(c.in), one = through_parts(c.config, in, of);
    here.write("in", in);
    here.write("config", c.config);
    for (const auto& [mesh, layout, ranks] :
         {run{"data=2", "data", 2}, run{"model=4", "model", 4}, run{"data=2,model=2", "data_model", 4},
          run{"data=4", "expert_data", 4}, run{"data=2,model=2", "expert_model_data", 4}}) {
      INFO(mesh << " " << layout);
      REQUIRE(on_ranks(here, ranks,
                       std::string("--config config --in in --out out --report report --precision ") + name +
                           " --mesh " + mesh + " --layout " + layout)
                  .status == 0);
      CHECK(here.content("out") == one);
      check_report(here.text("report"), where_nothing_is_sent(c, layout));
    }
  }
}

TEST_CASE("bad meshes", "[mesh]") {
  const folder here;
  const test_case c = make_case(some(sy::routing_policy::top_1, 0, false), 7, true);
  here.write("in", file_of(c.in));
  here.write("config", c.config);
  const auto says = [&](int ranks, const std::string& arguments, const std::string& message) {
    const auto done = on_ranks(here, ranks, "--config config --in in --out out " + arguments);
    INFO(arguments << ": " << done.message);
    CHECK(done.status != 0);
    CHECK(done.message.find("run_layer: " + message) != std::string::npos);
    CHECK(!fs::exists(here.at("out")));
  };
  says(2, "--mesh data=3 --layout data", "mesh data 3 x model 1 needs 3 ranks, communicator has 2");
  says(1, "--mesh data=0 --layout data", "--mesh data=0: must be data=<ranks>,model=<ranks>");
  says(1, "--mesh data=1,data=1 --layout data", "--mesh data=1,data=1: must be");
  says(1, "--mesh rows=1 --layout data", "--mesh rows=1: must be");
  says(1, "--mesh data=1 --layout pipeline", "--layout pipeline: must be data, model,");
  says(1, "--mesh data=1", "--mesh requires --layout");
  says(2, "--mesh data=2 --layout data --in nothing", "");
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "plots.hpp"
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

// Does a report say what the runs say? Runs made of a few lines, whose answers can be worked out by hand.

using Catch::Approx;
namespace fs = std::filesystem;

namespace {

class folder {
 public:
  explicit folder(const std::string& name) : path(fs::temp_directory_path() / ("switchyard-report-" + name)) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~folder() { fs::remove_all(path); }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
  fs::path path;
};

std::string step(int number, double loss, double seconds) {
  return "{\"step\": " + std::to_string(number) + ", \"loss\": 9, \"cross_entropy\": " + std::to_string(loss) +
         ", \"tokens\": 100, \"seconds\": " + std::to_string(seconds) +
         ", \"dropped_fraction\": 0.1, \"learning_rate\": null, \"read_seconds\": 0, \"forward_seconds\": 0.25, "
         "\"backward_seconds\": 0.5, \"optimizer_seconds\": 0.125}\n";
}
std::string evaluation(int number, double nll) {
  const std::string loss = "\"negative_log_perplexity\": " + std::to_string(nll) + ", \"bits_per_byte\": 2";
  return "{\"step\": " + std::to_string(number) + ", " + loss + ", \"languages\": {\"de\": {" + loss + "}, \"fr\": {" +
         loss + "}}}\n";
}

/// Steps of 1 and then 3 seconds, evaluated after steps 2 and 4.
void fill(const folder& f, double first, double last) {
  f.write("run.json", "{\"name\": \"a run\", \"experts\": 8}");
  f.write("metrics.jsonl", step(1, 4, 1) + step(2, 2, 1) + step(3, 3, 3) + step(4, 1, 3));
  f.write("evaluation.jsonl", evaluation(2, first) + evaluation(4, last));
}

} // namespace

TEST_CASE("a run is read as it was written", "[report]") {
  const folder f("read");
  fill(f, -3, -2);
  f.write("experts.jsonl", "{\"step\": 2, \"load\": [[1, 2], [3, 4]]}\n");
  f.write("samples.json", "[{\"prompt\": \"p\", \"text\": \"t\"}]");
  const auto r = report::read_run(f.path.string());
  CHECK(r.name == "a run");
  CHECK(r.facts.at("experts") == "8");
  REQUIRE(r.steps.size() == 4);
  CHECK(r.steps[3].elapsed == 8);
  CHECK(std::isnan(r.steps[0].learning_rate));
  REQUIRE(r.evaluations.size() == 2);
  CHECK(r.evaluations[0].elapsed == 2);
  CHECK(r.evaluations[1].languages.at("fr").negative_log_perplexity == -2);
  CHECK(r.loads.at(0).layers.at(1).at(0) == 3);
  CHECK(r.samples.at(0).text == "t");
  CHECK(r.tokens_per_second() == Approx(100));
  CHECK(report::smoothed(r.steps, 2) == std::vector<double>{4, 3, 2.5, 2});
  const auto stages = report::stages(r); // of steps of 1, 1, 3 and 3 s
  CHECK(stages[1].second == 0.25);
  CHECK(stages[4].second == Approx(3 - 0.875));
}

TEST_CASE("when one run reaches the other's last loss", "[report]") {
  const folder slow("slow"), fast("fast"), never("never"), early("early");
  fill(slow, -4, -3);
  fill(fast, -3.5, -2.5);
  fill(never, -4, -3.5);
  fill(early, -2, -1);
  const auto goal = report::read_run(slow.path.string());
  const auto at = report::reaches(report::read_run(fast.path.string()), goal);
  REQUIRE(at);
  CHECK(at->step == Approx(3)); // half way from step 2 to 4
  CHECK(at->seconds == Approx(5));
  CHECK_FALSE(report::reaches(report::read_run(never.path.string()), goal));
  CHECK(report::reaches(report::read_run(early.path.string()), goal)->step == 2);
}

TEST_CASE("a folder that is no run is an error that names the file", "[report]") {
  using Catch::Matchers::ContainsSubstring;
  using Catch::Matchers::MessageMatches;
  const folder f("bad");
  const auto complains = [&](const char* about) {
    CHECK_THROWS_MATCHES(report::read_run(f.path.string()), std::runtime_error,
                         MessageMatches(ContainsSubstring(about)));
  };
  complains("run.json: cannot be read");
  fill(f, -3, -2);
  f.write("metrics.jsonl", step(1, 4, 1) + "{\"step\": 2, \"lo");
  complains("metrics.jsonl, line 2");
  f.write("metrics.jsonl", "");
  complains("has no step");
}

TEST_CASE("the numbers behind the pictures are written", "[report]") {
  const folder a("dense"), b("switch"), out("out");
  fill(a, -4, -3);
  fill(b, -3.5, -2.5);
  b.write("experts.jsonl", "{\"step\": 2, \"load\": [[1, 3]]}\n");
  const auto plots =
      report::draw(report::read_run(a.path.string()), report::read_run(b.path.string()), out.path.string());
  CHECK(plots.size() == 6); // loss twice, languages, dropped, load of one layer, stages
  for (const auto& p : plots) CHECK(fs::file_size(out.path / "data" / p.data) > 0);
  std::ifstream file(out.path / "data" / "load_0.csv");
  std::string head, first, second;
  file >> head >> first >> second;
  CHECK(first == "2,0,0.5");
  CHECK(second == "2,1,1.5");
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "run.hpp"
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace report {
namespace {

using json = nlohmann::json;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read; is the run finished?");
  return {std::istreambuf_iterator<char>(file), {}};
}

/// f(object) for every line of a file; a missing file is no line where `optional`.
void for_each_line(const std::string& path, bool optional, const std::function<void(const json&)>& f) {
  if (optional && !std::filesystem::exists(path)) return;
  const std::string text = read_text(path);
  int number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    ++number;
    try {
      f(json::parse(text.substr(at, end - at)));
    } catch (const json::exception& problem) {
      throw std::runtime_error(path + ", line " + std::to_string(number) + ": " + problem.what());
    }
    at = end + 1;
  }
}

double real(const json& object, const char* name) {
  const json& value = object.at(name);
  return value.is_null() ? std::nan("") : value.get<double>(); // JSON has no NaN
}

held_out held_out_of(const json& object) {
  return {real(object, "negative_log_perplexity"), real(object, "bits_per_byte")};
}

double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

template <class F>
double median_of(const run& r, const F& f) {
  std::vector<double> all;
  for (const step_line& s : r.steps) all.push_back(f(s));
  return median(std::move(all));
}

} // namespace

double run::tokens_per_second() const {
  return median_of(*this, [](const step_line& s) { return static_cast<double>(s.tokens) / s.seconds; });
}

run read_run(const std::string& folder) {
  run r;
  r.folder = folder;
  try {
    const json facts = json::parse(read_text(folder + "/run.json"));
    for (const auto& [name, value] : facts.items())
      r.facts[name] = value.is_string() ? value.get<std::string>() : value.dump();
  } catch (const json::exception& problem) {
    throw std::runtime_error(folder + "/run.json: " + problem.what());
  }
  r.name = r.facts.count("name") ? r.facts["name"] : std::filesystem::path(folder).filename().string();

  double elapsed = 0;
  for_each_line(folder + "/metrics.jsonl", false, [&](const json& o) {
    step_line s;
    s.step = o.at("step").get<std::int64_t>();
    s.tokens = o.at("tokens").get<std::int64_t>();
    s.loss = real(o, "loss");
    s.cross_entropy = real(o, "cross_entropy");
    s.dropped_fraction = real(o, "dropped_fraction");
    s.learning_rate = real(o, "learning_rate");
    s.seconds = real(o, "seconds");
    s.read = real(o, "read_seconds");
    s.forward = real(o, "forward_seconds");
    s.backward = real(o, "backward_seconds");
    s.optimizer = real(o, "optimizer_seconds");
    s.elapsed = elapsed += s.seconds;
    r.steps.push_back(s);
  });
  if (r.steps.empty()) throw std::runtime_error(folder + "/metrics.jsonl: has no step");

  const auto elapsed_at = [&](std::int64_t step) {
    const auto after = std::upper_bound(r.steps.begin(), r.steps.end(), step,
                                        [](std::int64_t a, const step_line& s) { return a < s.step; });
    return after == r.steps.begin() ? 0.0 : std::prev(after)->elapsed;
  };
  for_each_line(folder + "/evaluation.jsonl", true, [&](const json& o) {
    evaluation_line e;
    e.step = o.at("step").get<std::int64_t>();
    e.elapsed = elapsed_at(e.step);
    e.all = held_out_of(o);
    for (const auto& [language, loss] : o.at("languages").items()) e.languages[language] = held_out_of(loss);
    r.evaluations.push_back(e);
  });
  for_each_line(folder + "/experts.jsonl", true, [&](const json& o) {
    r.loads.push_back({o.at("step").get<std::int64_t>(), o.at("load").get<std::vector<std::vector<double>>>()});
  });
  if (std::filesystem::exists(folder + "/samples.json")) {
    const json samples = json::parse(read_text(folder + "/samples.json"), nullptr, false);
    for (const json& s : samples.is_array() ? samples : json::array())
      r.samples.push_back({s.value("prompt", ""), s.value("text", "")});
  }
  if (std::filesystem::exists(folder + "/layout.svg")) r.layout_svg = read_text(folder + "/layout.svg");
  return r;
}

std::optional<crossing> reaches(const run& fast, const run& slow) {
  if (slow.evaluations.empty()) return std::nullopt;
  const double goal = slow.evaluations.back().all.negative_log_perplexity;
  const evaluation_line* before = nullptr;
  for (const evaluation_line& e : fast.evaluations) {
    const double here = e.all.negative_log_perplexity;
    if (here >= goal) {
      if (before == nullptr) return crossing{static_cast<double>(e.step), e.elapsed};
      const double was = before->all.negative_log_perplexity, part = (goal - was) / (here - was);
      return crossing{static_cast<double>(before->step) + part * static_cast<double>(e.step - before->step),
                      before->elapsed + part * (e.elapsed - before->elapsed)};
    }
    before = &e;
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, double>> stages(const run& r) {
  std::vector<std::pair<std::string, double>> all{
      {"read", median_of(r, [](const step_line& s) { return s.read; })},
      {"forward", median_of(r, [](const step_line& s) { return s.forward; })},
      {"backward", median_of(r, [](const step_line& s) { return s.backward; })},
      {"optimizer", median_of(r, [](const step_line& s) { return s.optimizer; })},
      {"rest", median_of(r, [](const step_line& s) {
         return std::max(0.0, s.seconds - s.read - s.forward - s.backward - s.optimizer);
       })}};
  return all;
}

std::vector<double> smoothed(const std::vector<step_line>& steps, std::size_t window) {
  std::vector<double> result;
  double sum = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    sum += steps[i].cross_entropy;
    if (i >= window) sum -= steps[i - window].cross_entropy;
    result.push_back(sum / static_cast<double>(std::min(i + 1, window)));
  }
  return result;
}

} // namespace report

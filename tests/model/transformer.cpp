// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>

// The whole model: its backward is the derivative of its forward, in double, parameter by parameter; replays,
// precisions.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

model_outcome (*subject_of(const char* precision))(const model_job&) {
  for (const model_subject& s : model_subjects())
    if (std::strcmp(s.precision, precision) == 0) return s.run;
  return nullptr;
}

/// d loss / d value of one element of one parameter, or false where the step crosses a boundary of the routing.
bool difference(const model_subject& s, model_job& j, const model_outcome& middle, const std::string& name,
                std::size_t i, double& slope) {
  const double h = 1e-5, here = middle.weights.at(name)[i];
  auto& values = j.weights[name] = middle.weights.at(name);
  values[i] = here + h;
  const auto up = s.run(j);
  values[i] = here - h;
  const auto down = s.run(j);
  j.weights.erase(name);
  slope = (up.loss - down.loss) / (2 * h);
  return up.routing == middle.routing && down.routing == middle.routing;
}

/// Every parameter, up to 12 elements of each.
void check_gradients(model_job j) {
  for (const model_subject& s : model_subjects()) {
    if (std::strcmp(s.precision, "uniform<double>") != 0) continue;
    const auto middle = s.run(j);
    j.backward = false;
    int compared = 0, crossed = 0, parameters = 0;
    for (const auto& [name, gradient] : middle.gradients) {
      ++parameters;
      for (std::size_t i = 0; i < gradient.size(); i += std::max<std::size_t>(1, gradient.size() / 12)) {
        double numeric = 0;
        if (!difference(s, j, middle, name, i, numeric)) {
          ++crossed;
          continue;
        }
        ++compared;
        INFO(name << "[" << i << "]: " << gradient[i] << ", by differences " << numeric);
        CHECK(std::abs(gradient[i] - numeric) < 1e-8 + 1e-5 * std::abs(numeric));
      }
    }
    CHECK(compared > 8 * parameters);
    CHECK(crossed < compared / 20);
  }
}

} // namespace

TEST_CASE("transformer: the backward is the derivative of the forward, encoder and decoder", "[model][gradient]") {
  check_gradients(small_job());
}

TEST_CASE("transformer: the same of other shapes of model", "[model][gradient]") {
  model_job j = small_job();
  auto& c = j.config;
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
  SECTION("dense") {
    c.sparse = sy::sparse_pattern::none;
  }
  check_gradients(j);
}

TEST_CASE("transformer: twenty replays give the same bytes, nothing is allocated", "[model]") {
  for (const model_subject& s : model_subjects()) {
    INFO(s.precision);
    model_job j = small_job();
    j.config.dropout = 0.1;
    j.replays = 20;
    const auto o = s.run(j);
    for (const auto digest : o.digests) CHECK(digest == o.digests[0]);
    CHECK(o.late_allocations == 0);
    j.replays = 1;
    j.step += 1;
    CHECK(s.run(j).digests[0] != o.digests[0]); // the control: other draws
  }
}

TEST_CASE("transformer: gradients accumulate, scale, and do without the auxiliary losses", "[model]") {
  const auto run = subject_of("uniform<double>");
  if (run == nullptr) SKIP("built without uniform<double>");
  model_job j = small_job();
  const auto once = run(j);
  j.accumulated = 2;
  const auto thrice = run(j);
  j.accumulated = 0;
  j.scale = 3;
  const auto scaled = run(j);
  j.scale = 1;
  j.auxiliary = 0;
  const auto plain = run(j);
  double with = 0;
  for (const auto& [name, gradient] : once.gradients)
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      INFO(name << "[" << i << "]");
      CHECK(std::abs(thrice.gradients.at(name)[i] - 3 * gradient[i]) < 1e-13 + 1e-12 * std::abs(gradient[i]));
      CHECK(std::abs(scaled.gradients.at(name)[i] - 3 * gradient[i]) < 1e-13 + 1e-12 * std::abs(gradient[i]));
      if (name.ends_with("router")) with = std::max(with, std::abs(gradient[i] - plain.gradients.at(name)[i]));
    }
  CHECK(with > 1e-6);
  CHECK(once.auxiliary > 0);
}

TEST_CASE("transformer: in every precision the gradients are those in double, to its rounding", "[model]") {
  for (const model_subject& s : model_subjects()) {
    const auto exact = subject_of("uniform<double>");
    if (exact == nullptr) SKIP("built without uniform<double>");
    model_job j = small_job();
    const auto o = s.run(j);
    j.weights = o.weights; // as this precision stores them
    const auto e = exact(j);
    INFO(s.precision);
    CHECK(std::abs(o.loss - e.loss) < 8 * s.unit_roundoff * e.loss);
    if (o.routing != e.routing) continue; // a tie that rounding decides
    for (const auto& [name, gradient] : e.gradients) {
      double difference = 0, size = 0;
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        difference += std::pow(gradient[i] - o.gradients.at(name)[i], 2);
        size += gradient[i] * gradient[i];
      }
      INFO(name << ": " << std::sqrt(difference / size) / s.unit_roundoff << " units");
      CHECK(std::sqrt(difference) < 64 * s.unit_roundoff * std::sqrt(size));
    }
  }
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include "harness_subjects.hpp" // generated
#include <algorithm>
#include <cmath>
#include <random>
#include <switchyard/core/random.hpp>

namespace switchyard_test {

const std::vector<subject>& subjects() {
  static const std::vector<subject> all = make_subjects();
  return all;
}

std::vector<subject> subjects_of(const std::string& precision) {
  std::vector<subject> result;
  for (const subject& s : subjects())
    if (s.precision == precision) result.push_back(s);
  return result;
}

job random_job(const switchyard::switch_config& c, std::int64_t groups, std::int64_t tokens, std::uint64_t seed) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](std::int64_t n, double scale) {
    std::vector<double> v(static_cast<std::size_t>(n));
    for (double& value : v) value = scale * normal(bits);
    return v;
  };
  const double in = 1 / std::sqrt(static_cast<double>(c.d_model)), hidden = 1 / std::sqrt(static_cast<double>(c.d_ff));
  job j;
  j.config = c;
  j.groups = groups;
  j.tokens = tokens;
  j.weights.router = fill(c.d_model * c.experts, 2 * in);
  j.weights.wi = fill(c.experts * c.d_model * c.d_ff, in);
  if (c.gated) j.weights.wi_gate = fill(c.experts * c.d_model * c.d_ff, in);
  j.weights.wo = fill(c.experts * c.d_ff * c.d_model, hidden);
  if (c.bias) j.weights.bi = fill(c.experts * c.d_ff, 0.3);
  if (c.bias && c.gated) j.weights.bi_gate = fill(c.experts * c.d_ff, 0.3);
  if (c.bias) j.weights.bo = fill(c.experts * c.d_model, 0.3);
  j.x = fill(groups * tokens * c.d_model, 1);
  j.dy = fill(groups * tokens * c.d_model, 1);
  return j;
}

switchyard::reference_input reference_input_of(const job& j, const outcome& o) {
  namespace sy = switchyard;
  const sy::switch_config& c = j.config;
  sy::reference_input in;
  in.groups = j.groups;
  in.tokens = j.tokens;
  in.x = o.x;
  in.mask = j.mask;
  in.training = j.training;
  const auto draw = [&](sy::stream what) { return sy::generator(sy::seed{c.seed}, what, j.step, j.layer); };
  // A float router draws in float. The test of double subjects sees doubles, all others floats.
  const bool wide = std::any_of(o.probs.begin(), o.probs.end(), [](double p) { return static_cast<float>(p) != p; });
  const auto uniform = [&](const sy::generator& from, std::uint64_t index) {
    return wide ? from.uniform<double>(index) : static_cast<double>(from.uniform<float>(index));
  };
  const auto tokens = static_cast<std::uint64_t>(j.groups * j.tokens);
  const auto experts = static_cast<std::uint64_t>(c.experts);
  if (j.training && (c.jitter > 0 || c.input_dropout > 0)) {
    const auto jitter = draw(sy::stream::jitter), dropout = draw(sy::stream::input_dropout);
    for (std::uint64_t i = 0; i < o.x.size(); ++i) {
      double factor = c.jitter > 0 ? 1 + c.jitter * (2 * uniform(jitter, i) - 1) : 1;
      if (c.input_dropout > 0) factor = uniform(dropout, i) < c.input_dropout ? 0 : factor / (1 - c.input_dropout);
      in.input_scale.push_back(factor);
    }
  }
  if (j.training && c.sample_temperature > 0) {
    const auto gumbel = draw(sy::stream::gumbel);
    for (std::uint64_t i = 0; i < tokens * experts; ++i) in.gumbel.push_back(-std::log(-std::log(uniform(gumbel, i))));
  }
  if (c.routing == sy::routing_policy::top_k && c.second_expert == sy::second_expert_policy::random) {
    const auto second = draw(sy::stream::second_expert);
    const auto k = static_cast<std::uint64_t>(c.choices());
    for (std::uint64_t t = 0; t < tokens; ++t)
      for (std::uint64_t i = 0; i < k; ++i) in.second_uniform.push_back(uniform(second, t * sy::max_choices + i));
  }
  if (j.training && c.expert_dropout > 0) {
    const auto dropout = draw(sy::stream::expert_dropout);
    const auto slots = static_cast<std::uint64_t>(c.experts * j.groups * c.capacity(j.tokens, true));
    for (std::uint64_t i = 0; i < slots * static_cast<std::uint64_t>(c.d_ff); ++i)
      in.hidden_scale.push_back(uniform(dropout, i) < c.expert_dropout ? 0 : 1 / (1 - c.expert_dropout));
  }
  return in;
}

double error_ratio(const std::vector<double>& a, const std::vector<double>& b, double eps, double scale) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double ratio = std::abs(a[i] - b[i]) / (eps * (std::abs(b[i]) + scale));
    if (std::isnan(ratio)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, ratio);
  }
  return worst;
}

} // namespace switchyard_test

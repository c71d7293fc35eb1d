// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "harness.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <switchyard/layer/reference_layer.hpp>

// The whole forward as plain loops in double, written from the equations: what a gradient check cannot see, as it holds
// for a wrong model too.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

using numbers = std::vector<double>;

/// Rows of a sequence batch: [batch * length, width].
struct rows {
  std::size_t count, width;
  numbers v;
  double& operator()(std::size_t r, std::size_t i) { return v[r * width + i]; }
  double operator()(std::size_t r, std::size_t i) const { return v[r * width + i]; }
};

rows times(const rows& x, const numbers& w, std::size_t out) {
  rows y{x.count, out, numbers(x.count * out, 0.0)};
  for (std::size_t r = 0; r < x.count; ++r)
    for (std::size_t i = 0; i < x.width; ++i)
      for (std::size_t j = 0; j < out; ++j) y(r, j) += x(r, i) * w[i * out + j];
  return y;
}

class plain_model {
 public:
  plain_model(const model_job& job, const named_numbers& weights) : j(job), c(job.config), w(weights) {}

  double cross_entropy = 0, z = 0, auxiliary = 0, targets = 0, correct = 0;

  void run() {
    rows memory{};
    if (c.has_encoder()) memory = run_stack("encoder.", j.source, j.source, size(j.source_length), nullptr);
    std::vector<std::int32_t> shifted;
    for (std::size_t b = 0; b < size(j.batch); ++b)
      for (std::size_t i = 0; i < size(j.target_length); ++i)
        shifted.push_back(i == 0 ? 0 : j.target[b * size(j.target_length) + i - 1]);
    const rows h = run_stack("decoder.", shifted, j.target, size(j.target_length), c.has_encoder() ? &memory : nullptr);
    const numbers& head = c.tied ? w.at("embedding") : w.at("head");
    const double scale = c.tied ? 1 / std::sqrt(static_cast<double>(c.d_model)) : 1;
    for (std::size_t t = 0; t < h.count; ++t) {
      if (j.target[t] == 0) continue;
      numbers logits(size(c.vocabulary), 0.0);
      double sum = 0;
      for (std::size_t v = 0; v < logits.size(); ++v) {
        for (std::size_t i = 0; i < h.width; ++i) logits[v] += scale * h(t, i) * head[v * h.width + i];
        sum += std::exp(logits[v]);
      }
      const double own = logits[size(j.target[t])];
      cross_entropy += std::log(sum) - own;
      z += std::pow(std::log(sum), 2);
      targets += 1;
      correct += own == *std::max_element(logits.begin(), logits.end()) ? 1 : 0;
    }
    cross_entropy /= targets;
    z /= targets;
  }
  double loss() const { return cross_entropy + c.z_loss * z + auxiliary; }

 private:
  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

  rows norm(const rows& x, const std::string& name) const {
    rows y = x;
    for (std::size_t r = 0; r < x.count; ++r) {
      double square = 0;
      for (std::size_t i = 0; i < x.width; ++i) square += x(r, i) * x(r, i);
      const double root = std::sqrt(square / static_cast<double>(x.width) + c.norm_epsilon);
      for (std::size_t i = 0; i < x.width; ++i) y(r, i) = x(r, i) / root * w.at(name)[i];
    }
    return y;
  }

  /// mask: of the keys, true for tokens.
  rows attend(const std::string& name, const rows& from, const rows& to, std::size_t queries, std::size_t keys,
              const std::vector<bool>& mask, const numbers* bias, bool causal) const {
    const std::size_t heads = size(c.heads), d = size(c.d_kv), wide = heads * d;
    const rows q = times(from, w.at(name + "q"), wide), k = times(to, w.at(name + "k"), wide),
               v = times(to, w.at(name + "v"), wide);
    rows out{q.count, wide, numbers(q.v.size(), 0.0)};
    const auto positions = c.positions(!causal);
    for (std::size_t b = 0; b < size(j.batch); ++b)
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t i = 0; i < queries; ++i) {
          numbers p(keys, 0.0);
          double sum = 0;
          for (std::size_t l = 0; l < keys; ++l) {
            if (!mask[b * keys + l] || (causal && l > i)) continue;
            const auto distance = static_cast<std::int64_t>(l) - static_cast<std::int64_t>(i);
            double s = bias ? (*bias)[size(positions.bucket(distance)) * heads + h] : 0;
            for (std::size_t e = 0; e < d; ++e) s += q(b * queries + i, h * d + e) * k(b * keys + l, h * d + e);
            sum += p[l] = std::exp(s);
          }
          for (std::size_t l = 0; l < keys && sum > 0; ++l)
            for (std::size_t e = 0; e < d; ++e)
              out(b * queries + i, h * d + e) += p[l] / sum * v(b * keys + l, h * d + e);
        }
    return times(out, w.at(name + "o"), size(c.d_model));
  }

  rows ffn(const std::string& name, const rows& x, const std::vector<bool>& mask, std::size_t length) {
    if (w.count(name + "router") == 0) {
      rows h = times(x, w.at(name + "wi"), size(c.d_ff));
      for (double& value : h.v) value = std::max(value, 0.0);
      return times(h, w.at(name + "wo"), size(c.d_model));
    }
    sy::reference_input in;
    in.groups = j.batch / c.sequences_per_group;
    in.tokens = static_cast<std::int64_t>(length) * c.sequences_per_group;
    in.x = x.v;
    for (const bool real : mask) in.mask.push_back(real ? 1 : 0);
    in.training = j.training;
    const sy::reference_weights of{w.at(name + "router"), w.at(name + "wi"), {}, w.at(name + "wo"), {}, {}, {}};
    const auto o = sy::reference_forward(c.switch_layers(), of, in);
    auxiliary += c.routing.load_balance * o.load_balance_loss + c.routing.router_z * o.router_z_loss;
    return {x.count, x.width, o.y};
  }

  rows run_stack(const std::string& name, const std::vector<std::int32_t>& tokens,
                 const std::vector<std::int32_t>& real, std::size_t length, const rows* memory) {
    const bool causal = name == "decoder.";
    const std::size_t m = size(c.d_model);
    rows x{tokens.size(), m, {}};
    for (const std::int32_t token : tokens)
      for (std::size_t i = 0; i < m; ++i) x.v.push_back(w.at("embedding")[size(token) * m + i]);
    std::vector<bool> mask, memory_mask;
    for (const std::int32_t token : real) mask.push_back(token != 0);
    for (const std::int32_t token : j.source) memory_mask.push_back(token != 0);
    const auto add = [&](const rows& y) {
      for (std::size_t i = 0; i < x.v.size(); ++i) x.v[i] += y.v[i];
    };
    for (std::int64_t i = 0; i < (causal ? c.decoder_layers : c.encoder_layers); ++i) {
      const std::string here = name + std::to_string(i) + ".";
      const rows n = norm(x, here + "self_attention.norm");
      add(attend(here + "self_attention.", n, n, length, length, mask, &w.at(name + "relative_bias"), causal));
      if (memory != nullptr)
        add(attend(here + "cross_attention.", norm(x, here + "cross_attention.norm"), *memory, length,
                   size(j.source_length), memory_mask, nullptr, false));
      add(ffn(here + "ffn.", norm(x, here + "ffn.norm"), mask, length));
    }
    return norm(x, name + "norm");
  }

  const model_job& j;
  const sy::transformer_config& c;
  const named_numbers& w;
};

void compare(const model_job& j) {
  for (const model_subject& s : model_subjects()) {
    INFO(s.precision);
    const auto o = s.run(j);
    plain_model plain(j, o.weights);
    plain.run();
    CHECK(o.targets == plain.targets);
    const double tolerance = 8 * s.unit_roundoff;
    CHECK(std::abs(o.cross_entropy - plain.cross_entropy) < tolerance * plain.cross_entropy);
    CHECK(std::abs(o.z - plain.z) < 2 * tolerance * plain.z);
    CHECK(std::abs(o.auxiliary - plain.auxiliary) <= tolerance * (1 + plain.auxiliary));
    CHECK(std::abs(o.loss - plain.loss()) < tolerance * plain.loss());
    if (s.unit_roundoff < 1e-15) CHECK(o.accuracy == plain.correct / plain.targets);
  }
}

} // namespace

TEST_CASE("transformer: the forward is the equations", "[model]") {
  model_job j = small_job();
  j.backward = false;
  SECTION("encoder and decoder, capacity that drops") {}
  SECTION("untied, evaluation") {
    j.config.tied = false;
    j.config.routing.eval_capacity_factor = 2;
    j.training = false;
  }
  SECTION("a decoder alone, two sequences to a group, all sparse") {
    j.config.encoder_layers = 0;
    j.config.sequences_per_group = 2;
    j.config.sparse_n = 1;
  }
  SECTION("dense") {
    j.config.sparse = sy::sparse_pattern::none;
  }
  compare(j);
}

TEST_CASE("transformer: padding and what comes later change nothing", "[model]") {
  for (const model_subject& s : model_subjects()) {
    INFO(s.precision);
    model_job j = small_job();
    j.backward = false;
    j.config.routing.dropless = true; // else a token more takes another one's slot
    const auto o = s.run(j);
    model_job longer = j; // the same text with more padding behind it
    longer.source_length += 2;
    longer.target_length += 1;
    longer.source = {3, 4, 5, 3, 9, 0, 0, 10, 7, 1, 0, 0, 0, 0};
    longer.target = {2, 8, 4, 1, 0, 6, 6, 0, 0, 0};
    CHECK(std::abs(s.run(longer).loss - o.loss) < 4 * s.unit_roundoff * o.loss);
    model_job other = j; // the decoder's third token is seen by nobody before it
    other.target[2] = 9;
    const auto changed = s.run(other);
    const auto m = static_cast<std::ptrdiff_t>(j.config.d_model);
    CHECK(std::equal(o.result.begin(), o.result.begin() + 3 * m, changed.result.begin()));
    CHECK(!std::equal(o.result.begin() + 3 * m, o.result.begin() + 4 * m, changed.result.begin() + 3 * m));
  }
}

TEST_CASE("transformer: bad extents are refused, numbers that are no tokens are padding", "[model]") {
  model_job j = small_job();
  j.backward = false;
  const auto run = model_subjects().front().run;
  model_job strange = j;
  strange.source = {3, 4, 5, 3, 9, 10, 7, 1, -4, 11};
  strange.target = {2, 8, 4, 1, 6, 6, -100, 1 << 30};
  CHECK(run(strange).loss == run(j).loss);
  j.config.sequences_per_group = 2;
  j.batch = 1;
  CHECK_THROWS_AS(run(j), sy::invalid_argument);
}

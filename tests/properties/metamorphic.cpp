// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "built.hpp"
#include "harness.hpp"
#include "policies.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <switchyard/core/bfloat16.hpp>
#include <switchyard/core/half.hpp>

// Relations that hold whatever the numbers are.

namespace sy = switchyard;
using namespace switchyard_test;

namespace {

using indices = std::vector<std::size_t>;

indices shuffled(std::size_t n, unsigned seed) {
  indices order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  return order;
}

/// Row i of the result is row order[i] of v.
std::vector<double> permuted(const std::vector<double>& v, const indices& order) {
  std::vector<double> result;
  const std::size_t width = v.size() / std::max<std::size_t>(order.size(), 1);
  for (const std::size_t i : order)
    result.insert(result.end(), v.begin() + static_cast<std::ptrdiff_t>(i * width),
                  v.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
  return result;
}

std::vector<double> row(const std::vector<double>& v, std::size_t i, std::size_t width) {
  return {v.begin() + static_cast<std::ptrdiff_t>(i * width), v.begin() + static_cast<std::ptrdiff_t>((i + 1) * width)};
}

sy::switch_config small(sy::routing_policy routing = sy::routing_policy::top_1, int k = 0) {
  sy::switch_config c{.d_model = 6, .d_ff = 10, .experts = 5, .routing = routing, .k = k};
  c.min_capacity = 0;
  return c;
}

/// A product of two numbers of a subject as y: rounded to what it calculates in, and to its type.
double rounded(const subject& s, double product) {
  if (s.unit_roundoff == 0x1p-53) return product;
  const float v = static_cast<float>(product);
  if (s.unit_roundoff == 0x1p-8) return static_cast<float>(sy::bfloat16(v));
  if (s.unit_roundoff == 0x1p-11) return static_cast<float>(sy::half(v));
  return v;
}

constexpr std::int64_t sizes[] = {0, 1, 2, 3, 5, 9, 17, 64, 65, 127, 128, 129};

} // namespace

TEST_CASE("1: permuting tokens permutes the output, byte for byte, where nothing is dropped", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const std::int64_t tokens : sizes)
      for (auto c : {small(), small(sy::routing_policy::top_k, 3), small(sy::routing_policy::no_token_left_behind)}) {
        c.dropless = true;
        job j = random_job(c, 1, tokens, 11);
        j.backward = false;
        const auto order = shuffled(static_cast<std::size_t>(tokens), 5);
        job p = j;
        p.x = permuted(j.x, order);
        CHECK(s.run(p).y == permuted(s.run(j).y, order));
      }
}

TEST_CASE("1b: with drops, an expert keeps its first C tokens, stage by stage", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const std::int64_t tokens : sizes)
      for (auto c : {small(), small(sy::routing_policy::top_k, 2), small(sy::routing_policy::top_k, 5)}) {
        c.capacity_factor = 0.7;
        const job j = random_job(c, 2, tokens, 12);
        const outcome o = s.run(j);
        const auto k = static_cast<std::size_t>(c.choices()), n = static_cast<std::size_t>(tokens);
        for (std::size_t g = 0; g < 2; ++g) {
          std::vector<std::int64_t> filled(static_cast<std::size_t>(c.experts), 0);
          for (std::size_t i = 0; i < k; ++i)
            for (std::size_t t = g * n; t < (g + 1) * n; ++t) {
              auto& next = filled[static_cast<std::size_t>(o.choice[t * k + i])];
              const bool fits = next < c.capacity(tokens);
              CHECK(o.slot[t * k + i] == (fits ? next : -1));
              next += fits;
            }
        }
      }
}

TEST_CASE("2: renaming experts renames the routing", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const auto& c : {small(), small(sy::routing_policy::top_k, 2), small(sy::routing_policy::expert_choice)}) {
      if (s.router_roundoff > 0x1p-20) continue; // ties, which the order of the experts decides
      INFO(s.space << ", " << s.precision);
      const job j = random_job(c, 2, 33, 13);
      const auto order = shuffled(5, 3); // expert i of p is expert order[i] of j
      job p = j;
      for (std::size_t m = 0; m < 6; ++m)
        for (std::size_t e = 0; e < 5; ++e) p.weights.router[m * 5 + e] = j.weights.router[m * 5 + order[e]];
      p.weights.wi = permuted(j.weights.wi, order);
      p.weights.wo = permuted(j.weights.wo, order);
      const outcome a = s.run(j), b = s.run(p);
      CHECK(error_ratio(b.y, a.y, s.unit_roundoff, 1) < 16);
      CHECK(error_ratio(b.dx, a.dx, s.unit_roundoff, 1) < 64);
      CHECK(error_ratio(b.gradient.wi, permuted(a.gradient.wi, order), s.unit_roundoff, 1) < 64);
      if (c.routing != sy::routing_policy::expert_choice) {
        CHECK(a.slot == b.slot);
        for (std::size_t i = 0; i < a.choice.size(); ++i)
          CHECK(static_cast<std::size_t>(a.choice[i]) == order[static_cast<std::size_t>(b.choice[i])]);
      }
    }
}

TEST_CASE("3: more capacity keeps what was kept, byte for byte", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const auto order : {sy::slot_order::token, sy::slot_order::batch_prioritized})
      for (const int k : {1, 2}) {
        outcome before;
        for (const double factor : {0.2, 0.5, 1.0, 1.25, 2.0, 100.0}) {
          auto c = k == 1 ? small() : small(sy::routing_policy::top_k, k);
          c.order = order;
          c.capacity_factor = factor;
          const outcome o = s.run(random_job(c, 2, 65, 14));
          // Second choices stand behind all first ones, more of which are kept: their slots move, and some are lost. A
          // token whose choices had all been kept or are kept as before has the same output.
          for (std::size_t t = 0; t < 130 && !before.slot.empty(); ++t) {
            const auto n = static_cast<std::size_t>(k);
            if (before.slot[t * n] >= 0) CHECK(o.slot[t * n] == before.slot[t * n]);
            bool same = before.slot[t * n] >= 0;
            for (std::size_t i = 1; i < n; ++i)
              same = same && (before.slot[t * n + i] >= 0) == (o.slot[t * n + i] >= 0);
            if (same) CHECK(row(o.y, t, 6) == row(before.y, t, 6));
          }
          before = o;
        }
        CHECK(before.dropped_fraction == 0);
      }
}

TEST_CASE("4: one expert is a dense FFN, and its router learns nothing", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const std::int64_t tokens : sizes) {
      INFO(s.space << ", " << s.precision << ", " << tokens << " tokens");
      auto c = small();
      c.experts = 1;
      c.dropless = true;
      c.load_balance = 0.7;
      const job j = random_job(c, 2, tokens, 15);
      const outcome o = s.run(j);
      for (const double p : o.probs) CHECK(p == 1);
      for (const double q : o.gate) CHECK(q == 1);
      for (const double d : o.gradient.router) CHECK(d == 0);
      CHECK(o.load_balance == (tokens > 0 ? 1 : 0));

      // The dense FFN in plain loops, a token at a time.
      for (std::size_t t = 0; t < static_cast<std::size_t>(2 * tokens); ++t) {
        std::vector<double> want(6, 0.0);
        double size = 0; // sum of the magnitudes
        for (std::size_t f = 0; f < 10; ++f) {
          double a = 0, magnitude = 0;
          for (std::size_t m = 0; m < 6; ++m) {
            a += o.x[t * 6 + m] * o.weights.wi[m * 10 + f];
            magnitude += std::abs(o.x[t * 6 + m] * o.weights.wi[m * 10 + f]);
          }
          for (std::size_t m = 0; m < 6; ++m) {
            want[m] += std::max(a, 0.0) * o.weights.wo[f * 6 + m];
            size = std::max(size, magnitude * std::abs(o.weights.wo[f * 6 + m]));
          }
        }
        CHECK(error_ratio(row(o.y, t, 6), want, s.unit_roundoff, size) < 16);
      }

      // However the one expert is come by, the same bytes.
      job other = j;
      other.config.dropless = false;
      other.config.capacity_factor = 1;
      CHECK(s.run(other).y == o.y);
      CHECK(s.run(other).gradient.wi == o.gradient.wi);
      other.config.routing = sy::routing_policy::no_token_left_behind;
      CHECK(s.run(other).y == o.y);
      other.config.routing = sy::routing_policy::top_k;
      other.config.k = 1;
      CHECK(s.run(other).y == o.y);
      other.config.routing = sy::routing_policy::expert_choice;
      CHECK(s.run(other).y == o.y);
    }
}

TEST_CASE("5: equal experts give the gate times one FFN, byte for byte", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const int k : {1, 2}) {
      INFO(s.space << ", " << s.precision << ", top " << k);
      auto c = k == 1 ? small() : small(sy::routing_policy::top_k, k);
      c.capacity_factor = 0.8;
      job j = random_job(c, 2, 65, 16);
      for (auto* w : {&j.weights.wi, &j.weights.wo})
        for (std::size_t i = w->size() / 5; i < w->size(); ++i) (*w)[i] = (*w)[i % (w->size() / 5)];
      job one = j;
      one.config.experts = 1;
      one.config.routing = sy::routing_policy::top_1;
      one.config.k = 0;
      one.config.dropless = true;
      one.weights.router.resize(6);
      for (auto* w : {&one.weights.wi, &one.weights.wo}) w->resize(w->size() / 5);
      const outcome o = s.run(j), dense = s.run(one);
      // dense.y is o as it was rounded before the gate. Two products may be added with one rounding or two.
      const auto n = static_cast<std::size_t>(k);
      for (std::size_t t = 0; t < 130; ++t)
        for (std::size_t m = 0; m < 6; ++m) {
          double gates = 0, product = 0;
          int kept = 0;
          for (std::size_t i = t * n; i < (t + 1) * n; ++i) {
            if (o.slot[i] < 0) continue;
            ++kept;
            gates += o.gate[i];
            product = rounded(s, o.gate[i] * dense.y[t * 6 + m]);
          }
          const double y = o.y[t * 6 + m], want = gates * dense.y[t * 6 + m];
          if (kept < 2)
            CHECK(y == product);
          else
            CHECK(std::abs(y - want) <= (s.unit_roundoff > 0x1p-20 ? 1.01 : 4) * s.unit_roundoff * std::abs(want));
        }
    }
}

TEST_CASE("6: nothing is lost and nothing is doubled", "[metamorphic]") {
  for (const subject& s : subjects())
    for (const named_config& n : every_policy()) {
      job j = random_job(n.config, 3, 41, 17);
      j.training = n.training;
      const outcome o = s.run(j);
      const auto k = static_cast<std::size_t>(n.config.choices());
      const std::int64_t capacity = n.config.capacity(41, n.training);
      std::set<std::array<std::int64_t, 3>> taken;
      for (std::size_t i = 0; i < o.slot.size(); ++i) {
        if (o.slot[i] < 0) {
          CHECK(o.gate[i] == 0);
          continue;
        }
        CHECK(o.slot[i] < capacity);
        const auto group = static_cast<std::int64_t>(i / k) / 41;
        CHECK(taken.insert({group, o.choice[i], o.slot[i]}).second);
      }
      // What is asked for is kept or dropped, and every expert keeps as many as it has room for.
      if (n.config.routing == sy::routing_policy::top_1 || n.config.routing == sy::routing_policy::top_k) {
        std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> wanted, kept;
        std::vector<std::int64_t> loads(static_cast<std::size_t>(n.config.experts), 0);
        double all = 0, lost = 0;
        for (std::size_t i = 0; i < o.slot.size(); ++i) {
          if (o.slot[i] == -2) continue;
          const std::pair where(static_cast<std::int64_t>(i / k) / 41, o.choice[i]);
          ++wanted[where];
          ++all;
          kept[where] += o.slot[i] >= 0;
          lost += o.slot[i] < 0;
          loads[static_cast<std::size_t>(o.choice[i])] += o.slot[i] >= 0;
        }
        for (const auto& [where, count] : wanted) CHECK(kept[where] == std::min(count, capacity));
        if (n.config.second_expert == sy::second_expert_policy::all) CHECK(all == static_cast<double>(123 * k));
        CHECK(std::abs(o.dropped_fraction - lost / all) < 1e-6);
        CHECK(o.expert_load == loads);
      }
      // Slots in use are the first ones: the largest is one less than their number.
      std::map<std::pair<std::int64_t, std::int64_t>, std::pair<std::int64_t, std::int64_t>> used;
      for (const auto& [g, e, c] : taken) {
        auto& [count, largest] = used[{g, e}];
        ++count;
        largest = std::max(largest, c);
      }
      for (const auto& [where, u] : used) CHECK(u.first == u.second + 1);
    }
}

TEST_CASE("6b: experts that pass positive tokens through give gate times token, byte for byte", "[metamorphic]") {
  for (const subject& s : subjects()) {
    auto c = small();
    c.d_ff = 6;
    c.capacity_factor = 0.8;
    job j = random_job(c, 2, 65, 18);
    for (double& v : j.x) v = std::round(std::abs(v) * 16) / 16; // exact in every type
    for (auto* w : {&j.weights.wi, &j.weights.wo})
      for (std::size_t i = 0; i < w->size(); ++i) (*w)[i] = i % 36 / 6 == i % 6 ? 1 : 0;
    const outcome o = s.run(j);
    const double unit = s.precision.find("double") == std::string::npos ? 2 * s.unit_roundoff : 0;
    for (std::size_t t = 0; t < o.slot.size(); ++t)
      for (std::size_t m = 0; m < 6; ++m) {
        const double exact = o.slot[t] >= 0 ? o.gate[t] * o.x[t * 6 + m] : 0.0;
        CHECK(std::abs(o.y[t * 6 + m] - exact) <= unit * exact); // y's own rounding, none in between
      }
  }
}

TEST_CASE("7: powers of two on wo scale the output exactly; a constant on all logits changes no routing",
          "[metamorphic]") {
  for (const subject& s : subjects()) {
    job j = random_job(small(sy::routing_policy::top_k, 2), 2, 33, 19);
    const outcome o = s.run(j);
    job scaled = j;
    for (double& w : scaled.weights.wo) w *= 4;
    const outcome o4 = s.run(scaled);
    CHECK(o4.slot == o.slot);
    double largest = 0;
    for (const double v : o.y) largest = std::max(largest, std::abs(v));
    // Only half has subnormals that these products can meet, and they round once more.
    const double tiny = s.unit_roundoff == 0x1p-11 ? 0x1p-10 * largest : 0;
    for (std::size_t i = 0; i < o.y.size(); ++i) CHECK((o4.y[i] == 4 * o.y[i] || std::abs(o.y[i]) < tiny));

    if (s.router_roundoff > 0x1p-20) continue; // 16-bit logits lose the last bits to the constant
    for (std::size_t t = 0; t < 66; ++t) j.x[t * 6 + 5] = 1;
    const outcome before = s.run(j);
    for (std::size_t e = 0; e < 5; ++e) j.weights.router[5 * 5 + e] += 3;
    const outcome after = s.run(j);
    CHECK(after.choice == before.choice);
    CHECK(error_ratio(after.probs, before.probs, std::max(s.router_roundoff, 0x1p-53), 1) < 64);
  }
}

TEST_CASE("7b: where ReLU cuts nothing, experts are linear, and backward is the transpose of forward",
          "[metamorphic]") {
  for (const subject& s : subjects())
    for (auto c : {small(), small(sy::routing_policy::top_k, 2)}) {
      INFO(s.space << ", " << s.precision << ", choices " << c.choices());
      c.capacity_factor = 0.8;
      c.load_balance = 0;
      job j = random_job(c, 2, 33, 24);
      for (double& v : j.x) v = std::round(std::abs(v) * 4);
      for (auto* w : {&j.weights.wi, &j.weights.wo})
        for (double& v : *w) v = std::round(std::abs(v) * 4);
      j.weights.router.assign(j.weights.router.size(), 0);
      for (std::size_t e = 0; e < 5; ++e) j.weights.router[e] = static_cast<double>(e) / 4; // column 0 decides
      for (std::size_t t = 0; t < 66; ++t) j.x[t * 6] = 3 - 6 * static_cast<double>(t % 2);
      for (std::size_t e = 0; e < 5; ++e)
        for (std::size_t f = 0; f < 10; ++f) j.weights.wi[e * 60 + f] = 0; // and the experts do not see it
      const auto with = [&](const std::vector<double>& x) {
        job k = j;
        k.x = x;
        return s.run(k);
      };
      std::vector<double> x1 = j.x, x2 = j.x, sum = j.x;
      for (std::size_t i = 0; i < j.x.size(); ++i)
        if (i % 6 != 0) {
          x2[i] = static_cast<double>(i * 7 % 5);
          sum[i] = x1[i] + x2[i];
        }
      const outcome a = with(x1), b = with(x2), ab = with(sum);
      REQUIRE((a.gate == b.gate && a.gate == ab.gate && a.slot == ab.slot && b.slot == ab.slot));
      std::vector<double> added = a.y;
      for (std::size_t i = 0; i < added.size(); ++i) added[i] += b.y[i];
      for (std::size_t t = 0; t < 66; ++t) {
        const auto want = row(added, t, 6);
        CHECK(error_ratio(row(ab.y, t, 6), want, s.unit_roundoff, *std::max_element(want.begin(), want.end()) + 1e-30) <
              4);
      }
      // <y(x), dy> = <x, dx(dy)> over the columns that the experts see, token by token
      for (std::size_t t = 0; t < 66; ++t) {
        double left = 0, right = 0, size = 0;
        for (std::size_t m = 0; m < 6; ++m) {
          left += a.y[t * 6 + m] * a.dy[t * 6 + m];
          size += std::abs(a.y[t * 6 + m] * a.dy[t * 6 + m]);
          if (m > 0) right += a.x[t * 6 + m] * a.dx[t * 6 + m];
        }
        for (std::size_t m = 1; m < 6; ++m) size += std::abs(a.x[t * 6 + m] * a.dx[t * 6 + m]);
        CHECK(std::abs(left - right) <= 8 * s.unit_roundoff * size);
      }
    }
}

TEST_CASE("11: a token does not feel its neighbours where nothing is dropped", "[metamorphic]") {
  for (const subject& s : subjects())
    for (auto c : {small(), small(sy::routing_policy::top_k, 2)}) {
      c.dropless = true;
      c.gated = true;
      c.load_balance = 0; // an auxiliary loss couples tokens on purpose
      const job j = random_job(c, 1, 65, 20);
      const outcome o = s.run(j);
      job other = random_job(c, 1, 65, 21);
      other.weights = j.weights;
      for (const std::size_t needle : {0u, 31u, 64u}) {
        job k = other;
        for (std::size_t m = 0; m < 6; ++m) {
          k.x[needle * 6 + m] = j.x[needle * 6 + m];
          k.dy[needle * 6 + m] = j.dy[needle * 6 + m];
        }
        const outcome p = s.run(k);
        CHECK(row(p.y, needle, 6) == row(o.y, needle, 6));
        CHECK(row(p.dx, needle, 6) == row(o.dx, needle, 6));
      }
    }
}

TEST_CASE("12: the balance loss is 1 at uniform f, E at collapse, and always between 0 and E", "[metamorphic]") {
  for (const subject& s : built("uniform<double>")) {
    auto c = small();
    c.d_model = 5;
    job j = random_job(c, 1, 50, 22);
    j.weights.router.assign(25, 0);
    for (std::size_t i = 0; i < 5; ++i) j.weights.router[i * 6] = 1;
    j.x.assign(250, 0);
    for (std::size_t t = 0; t < 50; ++t) j.x[t * 5 + t % 5] = 0.5 + 0.01 * static_cast<double>(t / 5);
    CHECK(std::abs(s.run(j).load_balance - 1) < 1e-14);
    j.x.assign(250, 0);
    for (std::size_t t = 0; t < 50; ++t) j.x[t * 5 + 3] = 800;
    CHECK(s.run(j).load_balance == 5);
    for (std::uint64_t seed = 1; seed < 30; ++seed) {
      const double loss = s.run(random_job(c, 2, 17, seed)).load_balance;
      CHECK((loss > 0 && loss <= 5));
    }
  }
}

TEST_CASE("14: errors fall with precision", "[metamorphic]") {
  std::map<std::string, double> error;
  const job j = random_job(small(), 2, 33, 23);
  for (const subject& s : subjects()) {
    job exact = j; // the operands before any rounding
    const outcome o = s.run(exact);
    const auto r = sy::reference_forward(j.config, j.weights, {.groups = 2, .tokens = 33, .x = j.x});
    double sum = 0;
    for (std::size_t i = 0; i < r.y.size(); ++i) sum += (o.y[i] - r.y[i]) * (o.y[i] - r.y[i]);
    error[s.precision] = std::sqrt(sum);
  }
  for (const char* needed :
       {"uniform<double>", "uniform<float>", "selective<half>", "selective<bfloat16>", "uniform<bfloat16>"})
    if (!error.count(needed)) SKIP("built without " << needed);
  CHECK(error["uniform<double>"] < error["uniform<float>"]);
  CHECK(error["uniform<float>"] < error["selective<half>"]);
  CHECK(error["selective<half>"] < error["selective<bfloat16>"]);
  CHECK(error["selective<bfloat16>"] <= error["uniform<bfloat16>"] * 1.5);
}

TEST_CASE("exploration and dropout act in training only", "[metamorphic]") {
  for (const subject& s : subjects()) {
    auto quiet = small(sy::routing_policy::top_k, 2), noisy = quiet;
    noisy.jitter = 0.3;
    noisy.input_dropout = 0.3;
    noisy.expert_dropout = 0.3;
    noisy.sample_temperature = 2;
    job j = random_job(quiet, 2, 33, 77);
    const outcome without = s.run(j);
    j.config = noisy;
    const outcome evaluated = s.run(j);
    INFO(s.precision);
    CHECK(evaluated.digests == without.digests);
    j.training = true;
    CHECK(s.run(j).digests != without.digests);
  }
}

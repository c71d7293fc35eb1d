// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support.hpp"
#include <switchyard/model/attention.hpp>
#include <switchyard/model/relative_position.hpp>

namespace model = switchyard::model;
using namespace switchyard_test;

namespace {

struct problem {
  const char* name;
  model::attention_shape shape;
  bool biased = true, masked = false;
  double rate = 0;
};

struct operands {
  numbers q, k, v, table, mask; // [B, Lq, H D], [B, Lk, H D] twice, [buckets, H], [B, Lk]
};

constexpr model::relative_position positions{.buckets = 8, .max_distance = 20, .bidirectional = true};

model::relative_position positions_of(const problem& p) {
  auto r = positions;
  r.bidirectional = !p.shape.causal;
  return r;
}

/// Attention as one would write it on paper.
template <class Drop>
numbers plain_attention(const problem& p, const operands& o, const Drop& drop) {
  const auto [batch, queries, keys, heads, d, causal, first, first_head, all_heads] = p.shape;
  const std::int64_t drawn_heads = all_heads > 0 ? all_heads : heads;
  const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  numbers out(o.q.size(), 0.0);
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t i = 0; i < queries; ++i) {
        numbers score(at(keys), -std::numeric_limits<double>::infinity());
        double sum = 0;
        for (std::int64_t j = 0; j < keys; ++j) {
          if ((causal && j > first + i) || (p.masked && o.mask[at(b * keys + j)] <= 0)) continue;
          double s = p.biased ? o.table[at(positions_of(p).bucket(j - i - first) * heads + h)] : 0;
          for (std::int64_t l = 0; l < d; ++l)
            s += o.q[at(((b * queries + i) * heads + h) * d + l)] * o.k[at(((b * keys + j) * heads + h) * d + l)];
          score[at(j)] = std::exp(s);
          sum += score[at(j)];
        }
        for (std::int64_t j = 0; j < keys; ++j) {
          if (!(score[at(j)] > 0)) continue;
          double weight = score[at(j)] / sum;
          if (p.rate > 0)
            weight *= static_cast<double>(drop.factor(((b * drawn_heads + first_head + h) * queries + i) * keys + j));
          for (std::int64_t l = 0; l < d; ++l)
            out[at(((b * queries + i) * heads + h) * d + l)] += weight * o.v[at(((b * keys + j) * heads + h) * d + l)];
        }
      }
  return out;
}

const std::vector<problem>& problems() {
  static const std::vector<problem> all_problems{
      {"self", {2, 5, 5, 2, 3}},
      {"causal", {2, 9, 9, 2, 4, true}},
      {"cross, masked", {2, 4, 7, 3, 5}, false, true},
      {"masked, one sequence of padding alone", {3, 6, 6, 1, 2}, true, true},
      {"several tiles", {1, 67, 131, 1, 3}, true, true},
      {"several tiles, causal", {1, 130, 130, 1, 2, true}},
      {"dropout", {2, 7, 7, 2, 3}, true, false, 0.3},
      {"dropout, the last heads of five", {2, 6, 6, 2, 3, false, 0, 3, 5}, true, false, 0.3},
      {"after a cache of 65 keys", {1, 3, 68, 2, 3, true, 65}},
      {"wide heads", {1, 3, 4, 1, 40}},
      {"no keys", {1, 2, 0, 1, 3}, false, false},
  };
  return all_problems;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("attention: forward and backward are the equations", "[model]", all) {
  using T = typename TestType::value_type;
  using W = typename TestType::weight_type;
  using G = typename TestType::gradient_type;
  using acc = sy::accumulate_t<T>;
  const Exec exec{};
  for (const problem& p : problems()) {
    INFO(p.name);
    const auto& s = p.shape;
    const std::int64_t wide = s.heads * s.d_kv, distances = s.queries + s.keys - 1;
    const auto count = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    operands o{random_numbers(count(s.batch * s.queries * wide), 1, 1 / std::sqrt(static_cast<double>(s.d_kv))),
               random_numbers(count(s.batch * s.keys * wide), 2),
               random_numbers(count(s.batch * s.keys * wide), 3),
               random_numbers(count(positions.buckets * s.heads), 4),
               {}};
    numbers d_out = random_numbers(o.q.size(), 5);
    for (std::int64_t i = 0; i < s.batch * s.keys; ++i) // the second sequence is all padding where there are three
      o.mask.push_back((s.batch == 3 && i / s.keys == 1) || i % 4 == 1 ? 0 : 1);
    using rows = model::matrix<T, space>;
    const auto q = view_of<rows>(o.q, s.batch * s.queries, wide), k = view_of<rows>(o.k, s.batch * s.keys, wide),
               v = view_of<rows>(o.v, s.batch * s.keys, wide), d = view_of<rows>(d_out, s.batch * s.queries, wide);
    const auto table = view_of<model::matrix<W, space>>(o.table, positions.buckets, s.heads);
    model::attention_options<acc, space> options;
    if (p.masked) options.mask = view_of<model::matrix<float, space>>(o.mask, s.batch, s.keys);
    if (p.rate > 0) options.drop = {acc(p.rate), sy::generator(sy::seed{1}, sy::stream::attention_dropout, 3, 1), 0};
    model::stack<acc, space> sums;
    if (p.biased) {
      const auto bias = unwritten<model::matrix<acc, space>>(s.heads, distances);
      options.bucket = model::make_buckets<space>(positions_of(p), s.queries, s.keys, s.first_query);
      model::relative_bias(exec, table, options.bucket, bias);
      options.bias = bias;
      sums = unwritten<model::stack<acc, space>>(s.batch, s.heads, positions.buckets);
    }
    const auto out = unwritten<rows>(s.batch * s.queries, wide), dq = unwritten<rows>(s.batch * s.queries, wide),
               dk = unwritten<rows>(s.batch * s.keys, wide), dv = unwritten<rows>(s.batch * s.keys, wide);
    const auto lse = unwritten<model::stack<acc, space>>(s.batch, s.heads, s.queries);
    model::reserve_attention<T>(exec, s);
    using in = model::head_rows<const T, space>;
    using to = model::head_rows<T, space>;
    model::attention<T>(exec, s, in(q, s.queries), in(k, s.keys), in(v, s.keys), options, to(out, s.queries), lse);
    model::attention_backward<T>(exec, s, in(q, s.queries), in(k, s.keys), in(v, s.keys), options, in(out, s.queries),
                                 lse, in(d, s.queries), to(dq, s.queries), to(dk, s.keys), to(dv, s.keys), sums);

    const auto plain = [&] { return plain_attention(p, o, options.drop); };
    const auto loss = [&] { return dot(plain(), d_out); };
    CHECK(error<T>(numbers_of(out), plain()) <= 1);
    CHECK(error<T>(numbers_of(dv), differences(o.v, loss), 16, difference_slack) <= 1);
    // delta is made of the rounded output
    CHECK(error<T>(numbers_of(dq), differences(o.q, loss), 64, 5 * difference_slack) <= 1);
    CHECK(error<T>(numbers_of(dk), differences(o.k, loss), 64, 5 * difference_slack) <= 1);
    if (!p.biased) continue;
    const auto d_table = unwritten<model::matrix<G, space>>(positions.buckets, s.heads);
    model::relative_bias_backward(exec, sums, d_table, false);
    numbers slope = differences(o.table, loss);
    CHECK(error<T>(numbers_of(d_table), slope, 64, 5 * difference_slack) <= 1);
    model::relative_bias_backward(exec, sums, d_table, true);
    for (double& value : slope) value *= 2;
    CHECK(error<T>(numbers_of(d_table), slope, 64, 10 * difference_slack) <= 1);
  }
}

TEST_CASE("attention: large scores neither overflow nor vanish, NaN is not hidden", "[model]") {
  using rows = model::matrix<float, space>;
  const Exec exec{};
  const model::attention_shape s{1, 1, 70, 1, 1};
  numbers q{1}, k(70, -500.0), v(70, 1.0);
  k[66] = 500; // the first tile sums exponentials of -500, the second one makes them vanish
  v[66] = 3;
  const auto run = [&] {
    const auto q_view = view_of<rows>(q, 1, 1), k_view = view_of<rows>(k, 70, 1), v_view = view_of<rows>(v, 70, 1);
    const auto out = unwritten<rows>(1, 1);
    const auto lse = unwritten<model::stack<float, space>>(1, 1, 1);
    model::attention<float>(exec, s, model::head_rows<const float, space>(q_view, 1),
                            model::head_rows<const float, space>(k_view, 70),
                            model::head_rows<const float, space>(v_view, 70), model::attention_options<float, space>{},
                            model::head_rows<float, space>(out, 1), lse);
    return std::pair{numbers_of(out)[0], numbers_of(lse)[0]};
  };
  CHECK(run() == std::pair{3.0, 500.0});
  k[66] = -500;
  CHECK(std::abs(run().first - 72.0 / 70) < 1e-6);
  k[3] = std::nan("");
  CHECK(std::isnan(run().first));
}

TEST_CASE("relative positions: T5's buckets", "[model]") {
  const model::relative_position both{}, behind{.bidirectional = false};
  for (int i = 0; i < 8; ++i) {
    CHECK(both.bucket(-i) == i);
    CHECK(both.bucket(i + 1) == (i < 7 ? 17 + i : 24));
  }
  // 8 exact, then 8 log(size / 8) / log(16) more, of 16 to each side
  for (const auto& [distance, bucket] : {std::pair{8, 8},
                                         {11, 8},
                                         {12, 9},
                                         {16, 10},
                                         {22, 10},
                                         {23, 11},
                                         {32, 12},
                                         {45, 12},
                                         {46, 13},
                                         {64, 14},
                                         {90, 14},
                                         {91, 15},
                                         {127, 15},
                                         {128, 15},
                                         {100000, 15}}) {
    INFO(distance);
    CHECK(both.bucket(-distance) == bucket);
    CHECK(both.bucket(distance) == 16 + bucket);
  }
  for (int i = 0; i < 16; ++i) CHECK(behind.bucket(-i) == i);
  CHECK(behind.bucket(1) == 0);
  CHECK(behind.bucket(1000) == 0);
  CHECK(behind.bucket(-16) == 16);
  CHECK(behind.bucket(-64) == 26); // 16 log(4) / log(8) = 10.67
  CHECK(behind.bucket(-128) == 31);
  CHECK_THROWS_AS(model::validate(model::relative_position{.buckets = 6}), sy::invalid_argument);
  CHECK_THROWS_AS(model::validate(model::relative_position{.max_distance = 8}), sy::invalid_argument);
}

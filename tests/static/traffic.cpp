// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/layer/traffic.hpp>

// What a layer sends is a constant of the program. For each layout of the paper's Figure 9, 16 ranks, the formulas of a
// direct exchange: an all-reduce of V bytes addresses 2 (p-1)/p V of them to other ranks, every other one (p-1)/p V.

namespace {

namespace sy = switchyard;
namespace dims = sy::dims;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
struct replica : sy::name<"replica"> {};
using group_rule = sy::split<dims::group, data>;
using expert_rule = sy::split<dims::experts, data>;
using d_ff_rule = sy::split<dims::d_ff, model>;
using precision = sy::selective<sy::bfloat16>;
using enum sy::collective;

constexpr std::int64_t G = 32, S = 128, M = 64, F = 256, E = 16, C = 10, T = G * S; // top-1, capacity factor 1.25
constexpr sy::layer_extents sizes{G, S, M, F, E, 1, C, false, false};
constexpr std::int64_t act = 2, grad = 4, W = 2 * M * F;

constexpr std::int64_t all_reduce_of(std::int64_t bytes, std::int64_t p) {
  return 2 * (p - 1) * bytes / p;
}
constexpr std::int64_t share_of(std::int64_t bytes, std::int64_t p) {
  return (p - 1) * bytes / p;
}
/// Rows of sums of the losses, gathered over p ranks.
constexpr std::int64_t statistics_of(std::int64_t p) {
  return (p - 1) * G / p * (4 * E + sy::router::statistics_scalars) * 4;
}
constexpr std::int64_t of(const auto& pass, std::size_t axis, sy::collective kind) {
  return pass[axis][static_cast<std::size_t>(kind)];
}
template <class Traffic>
constexpr std::int64_t forward(const Traffic& t) {
  return Traffic::total(t.forward);
}
template <class Traffic>
constexpr std::int64_t backward(const Traffic& t) {
  return Traffic::total(t.backward);
}

// 1. data: gradients only
using line = sy::mesh<sy::axis<data, 16>>;
constexpr auto one = sy::predict_traffic<line, sy::rules<group_rule>, precision>(sizes, {16}, {3});
static_assert(forward(one) == statistics_of(16) && of(one.forward, 0, all_gather) == statistics_of(16));
static_assert(backward(one) == all_reduce_of((E * W + M * E) * grad, 16));
static_assert(of(one.backward, 0, all_reduce) == backward(one));

// 2. model: the outputs of all tokens, forward and backward; no gradient
using column = sy::mesh<sy::axis<model, 16>>;
constexpr auto two = sy::predict_traffic<column, sy::rules<d_ff_rule>, precision>(sizes, {16}, {3});
static_assert(forward(two) == all_reduce_of(T * M * act, 16) && of(two.forward, 0, all_reduce) == forward(two));
static_assert(backward(two) == forward(two));

// 3. data and model
using plane = sy::mesh<sy::axis<data, 4>, sy::axis<model, 4>>;
constexpr auto three = sy::predict_traffic<plane, sy::rules<group_rule, d_ff_rule>, precision>(sizes, {4, 4}, {1, 2});
static_assert(of(three.forward, 1, all_reduce) == all_reduce_of(T / 4 * M * act, 4));
static_assert(forward(three) == of(three.forward, 1, all_reduce) + statistics_of(4));
static_assert(of(three.backward, 0, all_reduce) == all_reduce_of((E * W / 4 + M * E) * grad, 4));
static_assert(backward(three) == of(three.backward, 0, all_reduce) + of(three.forward, 1, all_reduce));

// 4. experts and data: slots there and back; of the gradients the router's alone
constexpr std::int64_t V16 = E * (G / 16) * C * M * act, counts16 = E * (G / 16) * 4;
constexpr auto four = sy::predict_traffic<line, sy::rules<group_rule, expert_rule>, precision>(sizes, {16}, {3});
static_assert(of(four.forward, 0, all_to_all) == 2 * share_of(V16, 16) + share_of(counts16, 16));
static_assert(of(four.backward, 0, all_to_all) == 2 * share_of(V16, 16));
static_assert(of(four.backward, 0, all_reduce) == all_reduce_of(M * E * grad, 16));
static_assert(forward(four) == of(four.forward, 0, all_to_all) + statistics_of(16));
static_assert(backward(four) == of(four.backward, 0, all_to_all) + of(four.backward, 0, all_reduce));

// 5. experts, model and data: 1/m of that over data, gathered and scattered over model, and the tokens' columns joined
constexpr std::int64_t V = E * (G / 4) * C * M * act, counts = E * (G / 4) * 4;
constexpr auto all5 =
    sy::predict_traffic<plane, sy::rules<group_rule, expert_rule, d_ff_rule>, precision>(sizes, {4, 4}, {1, 2});
static_assert(of(all5.forward, 0, all_to_all) == 2 * share_of(V / 4, 4) + share_of(counts, 4));
static_assert(of(all5.forward, 1, all_gather) == share_of(V, 4) + share_of(T / 4 * M * act, 4));
static_assert(of(all5.forward, 1, reduce_scatter) == share_of(V, 4));
static_assert(of(all5.backward, 0, all_to_all) == 2 * share_of(V / 4, 4));
static_assert(of(all5.backward, 1, all_gather) == of(all5.forward, 1, all_gather));
static_assert(of(all5.backward, 1, reduce_scatter) == share_of(V, 4));
static_assert(of(all5.backward, 1, all_reduce) == all_reduce_of(T / 4 * 4, 4)); // the gates' gradients
static_assert(of(all5.backward, 0, all_reduce) == all_reduce_of(M * E * grad, 4));

// More ranks than experts: replicas, whose gradients are summed, and no other
using cube = sy::mesh<sy::axis<replica, 2>, sy::axis<data, 4>, sy::axis<model, 2>>;
constexpr auto copies =
    sy::predict_traffic<cube, sy::rules<sy::split<dims::group, replica>, group_rule, expert_rule, d_ff_rule>,
                        precision>(sizes, {2, 4, 2}, {1, 2, 0});
static_assert(of(copies.backward, 0, all_reduce) == all_reduce_of((E / 4 * W / 2 + M * E) * grad, 2));
static_assert(of(copies.backward, 1, all_reduce) == all_reduce_of(M * E * grad, 4));

// Alone, nothing
static_assert(sy::predict_traffic<sy::mesh<>, sy::rules<>, precision>(sizes, {}, {}) == sy::layer_traffic<0>{});

} // namespace

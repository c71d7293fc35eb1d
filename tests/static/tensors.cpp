// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/elementwise.hpp>
#include <switchyard/mesh/reshard.hpp>

namespace {

namespace sy = switchyard;
namespace dims = sy::dims;
using sy::P;
using sy::R;
template <class D>
using S = sy::S<D>;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
struct rows : sy::name<"rows"> {};
struct columns : sy::name<"columns"> {};
struct depth : sy::name<"depth"> {};
struct batch : sy::name<"batch"> {};

template <class... Pl>
using at = sy::placements<Pl...>;

// ---- placements by name and by rules ----
using plane = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
static_assert(std::same_as<sy::placed<plane>, at<R, R>>);
static_assert(std::same_as<sy::placed<plane, sy::on<model, S<rows>>>, at<R, S<rows>>>);
static_assert(std::same_as<sy::placed<plane, sy::on<model, P>, sy::on<data, S<rows>>>, at<S<rows>, P>>);
static_assert(std::same_as<sy::placed<sy::mesh<>>, at<>>);
using group_first = sy::rules<sy::split<dims::group, data>, sy::split<dims::experts, data>>;
static_assert(std::same_as<sy::placed_by<plane, group_first, dims::experts, dims::group>, at<S<dims::group>, R>>);
static_assert(std::same_as<sy::placed_by<plane, group_first, dims::experts, sy::dimension<dims::d_ff, 8>>,
                           at<S<dims::experts>, R>>);

// ---- the table of einsum: out[b, m, n] = sum_k a[b, m, k] b[b, k, n], every row, on one axis ----
using line = sy::mesh<sy::axis<data>>;
template <class Placement, class... D>
using on_line = sy::tensor<double, line, sy::dimensions<D...>, at<Placement>>;
template <class A, class B>
using product =
    sy::einsum_t<double, on_line<A, batch, rows, depth>, on_line<B, batch, depth, columns>, batch, rows, columns>;
template <class A, class B>
using placed_product = typename product<A, B>::placements_type;
static_assert(std::same_as<placed_product<S<batch>, S<batch>>, at<S<batch>>>);
static_assert(std::same_as<placed_product<S<rows>, R>, at<S<rows>>>);
static_assert(std::same_as<placed_product<R, S<columns>>, at<S<columns>>>);
static_assert(std::same_as<placed_product<S<depth>, S<depth>>, at<P>>);
static_assert(std::same_as<placed_product<R, R>, at<R>>);
// ... who computes the same
static_assert(sy::einsum_copies<on_line<R, rows, depth>, on_line<R, depth, columns>>({4}) == 4);
static_assert(sy::einsum_copies<on_line<S<rows>, rows, depth>, on_line<R, depth, columns>>({4}) == 1);
// ... a batch dimension that is summed too, and extents that types know
static_assert(
    std::same_as<sy::einsum_t<double, on_line<S<batch>, batch, rows>, on_line<S<batch>, batch, columns>, rows, columns>,
                 on_line<P, rows, columns>>);
using known = sy::dimension<columns, 6>;
static_assert(
    std::same_as<sy::einsum_t<float, on_line<R, rows, depth>, on_line<R, depth, known>, columns, rows>::dimensions_type,
                 sy::dimensions<known, rows>>);

// ---- partial sums: moved, not copied; their gradient is replicated ----
using sums = product<S<depth>, S<depth>>;
static_assert(sums::partial && !std::is_copy_constructible_v<sums> && !std::is_copy_assignable_v<sums>);
static_assert(std::is_nothrow_move_constructible_v<sums> || std::is_move_constructible_v<sums>);
static_assert(std::is_copy_constructible_v<product<R, R>>);
static_assert(std::same_as<sy::grad_of<sums>::placements_type, at<R>>);
static_assert(std::same_as<sy::grad_of<product<S<rows>, R>>, product<S<rows>, R>>);
static_assert(!std::is_copy_constructible_v<sy::pending> && std::is_move_constructible_v<sy::pending>);

// ---- the table of reshard, every entry on one axis, and its transposes ----
template <class From, class To>
constexpr sy::movement between = [] {
  constexpr auto plan = sy::plan_of<on_line<From, rows, columns>, on_line<To, rows, columns>>;
  return plan.count == 0 ? sy::movement::none : plan.steps[0].kind;
}();
using sy::movement;
static_assert(between<R, R> == movement::none && between<P, P> == movement::none);
static_assert(between<S<rows>, S<rows>> == movement::none);
static_assert(between<R, S<rows>> == movement::slice && between<S<rows>, R> == movement::all_gather);
static_assert(between<S<rows>, S<columns>> == movement::all_to_all);
static_assert(between<P, R> == movement::all_reduce && between<P, S<columns>> == movement::reduce_scatter);

// ---- several axes: what shrinks first, what grows last; a dimension cut twice is joined inside first ----
using cube = sy::mesh<sy::axis<data, 2>, sy::axis<model, 2>, sy::axis<batch, 2>>;
template <class... Pl>
using in_cube = sy::tensor<double, cube, sy::dimensions<rows, columns, depth>, at<Pl...>>;
template <class From, class To>
constexpr bool movements(std::initializer_list<sy::reshard_step> expected) {
  constexpr auto plan = sy::plan_of<From, To>;
  if (plan.count != expected.size()) return false;
  std::size_t i = 0;
  for (const sy::reshard_step& s : expected) {
    if (plan.steps[i].kind != s.kind || plan.steps[i].axis != s.axis) return false;
    ++i;
  }
  return true;
}
static_assert(movements<in_cube<S<rows>, R, P>, in_cube<R, S<columns>, S<depth>>>(
    {{movement::slice, 1}, {movement::reduce_scatter, 2}, {movement::all_gather, 0}}));
static_assert(movements<in_cube<P, S<rows>, S<columns>>, in_cube<R, S<depth>, R>>(
    {{movement::all_to_all, 1}, {movement::all_reduce, 0}, {movement::all_gather, 2}}));
static_assert(movements<in_cube<R, R, R>, in_cube<S<rows>, S<rows>, S<rows>>>(
    {{movement::slice, 0}, {movement::slice, 1}, {movement::slice, 2}}));
static_assert(movements<in_cube<S<rows>, S<rows>, R>, in_cube<R, R, R>>({{movement::all_gather, 1},
                                                                         {movement::all_gather, 0}}));
static_assert(movements<in_cube<S<rows>, R, R>, in_cube<S<rows>, S<rows>, R>>({{movement::slice, 1}}));
static_assert(movements<in_cube<R, S<rows>, R>, in_cube<S<rows>, R, R>>( // the inner cut first goes
    {{movement::all_gather, 1}, {movement::slice, 0}}));

// ---- local parts, even, uneven, and cut twice ----
constexpr sy::part local(std::array<int, 2> codes, std::array<std::int64_t, 2> mesh, std::array<std::int64_t, 2> where,
                         std::int64_t extent) {
  return sy::detail::part_at(codes, mesh, where, 0, extent);
}
constexpr bool is(sy::part p, std::int64_t begin, std::int64_t count) {
  return p.begin == begin && p.count == count;
}
static_assert(is(local({0, -1}, {4, 2}, {1, 1}, 8), 2, 2));
static_assert(is(local({-1, -2}, {4, 2}, {1, 1}, 8), 0, 8));
static_assert(is(local({0, 0}, {2, 3}, {1, 0}, 7), 4, 1)); // 7 = 4 + 3, then 3 = 1 + 1 + 1
static_assert(is(local({0, 0}, {2, 3}, {0, 1}, 7), 2, 1)); //            4 = 2 + 1 + 1
static_assert(is(local({0, 0}, {2, 3}, {0, 2}, 1), 1, 0)); // more ranks than things

// ---- bytes known from types and extents ----
template <class From, class To>
constexpr std::int64_t line_bytes(std::int64_t ranks, std::int64_t rank) {
  return sy::bytes_sent<on_line<From, dims::group, columns>, on_line<To, dims::group, columns>>({8, 12}, {ranks},
                                                                                                {rank})[0];
}
using group = S<dims::group>;
static_assert(line_bytes<R, group>(4, 0) == 0 && line_bytes<group, group>(4, 0) == 0);
static_assert(line_bytes<group, S<columns>>(4, 0) == 8 * 12 / 4 * 3 / 4 * 8);
static_assert(line_bytes<P, group>(4, 3) == 8 * 12 * 3 / 4 * 8);
static_assert(line_bytes<P, R>(4, 3) == 2 * 8 * 12 * 3 / 4 * 8);
static_assert(line_bytes<group, R>(4, 3) == 3 * 8 * 12 / 4 * 8);
static_assert(line_bytes<group, R>(3, 0) == 2 * 3 * 12 * 8 && line_bytes<group, R>(3, 2) == 2 * 2 * 12 * 8);
static_assert(line_bytes<P, R>(1, 0) == 0);

// ---- the five layouts of Figure 9: types of every tensor of the layer, forward and backward ----
using group_rule = sy::split<dims::group, data>;
using expert_rule = sy::split<dims::experts, data>;
using d_ff_rule = sy::split<dims::d_ff, model>;
using two = sy::mesh<sy::axis<data>, sy::axis<model>>;

template <class Rules, class ExpertSide = Rules>
struct layer {
  template <class Which, class... D>
  using of = sy::tensor_of<double, two, Which, D...>;
  using x = of<Rules, dims::group, dims::token, dims::d_model>;
  using wi = of<Rules, dims::experts, dims::d_model, dims::d_ff>;
  using wo = of<Rules, dims::experts, dims::d_ff, dims::d_model>;
  using mask = of<Rules, dims::group, dims::token, dims::experts, dims::capacity>;
  using slots = sy::einsum_t<double, mask, x, dims::group, dims::experts, dims::capacity, dims::d_model>;
  using input = of<ExpertSide, dims::group, dims::experts, dims::capacity, dims::d_model>;
  using h = sy::einsum_t<double, input, wi, dims::group, dims::experts, dims::capacity, dims::d_ff>;
  using o = sy::einsum_t<double, h, wo, dims::group, dims::experts, dims::capacity, dims::d_model>;
  // backward
  using d_wo = sy::einsum_t<double, h, sy::grad_of<o>, dims::experts, dims::d_ff, dims::d_model>;
  using dh = sy::einsum_t<double, sy::grad_of<o>, wo, dims::group, dims::experts, dims::capacity, dims::d_ff>;
  using d_wi = sy::einsum_t<double, input, dh, dims::experts, dims::d_model, dims::d_ff>;
  using d_input = sy::einsum_t<double, dh, wi, dims::group, dims::experts, dims::capacity, dims::d_model>;
};
template <class Tensor, class A, class B>
constexpr bool lies = std::same_as<typename Tensor::placements_type, at<A, B>>;
using experts = S<dims::experts>;
using d_ff = S<dims::d_ff>;

using one = layer<sy::rules<group_rule>>; // data: gradients are summed over data, nothing else moves
static_assert(lies<one::x, group, R> && lies<one::wi, R, R> && lies<one::slots, group, R>);
static_assert(lies<one::h, group, R> && lies<one::o, group, R> && lies<one::d_input, group, R>);
static_assert(lies<one::d_wo, P, R> && lies<one::d_wi, P, R>);
static_assert(movements<one::d_wi, sy::grad_of<one::wi>>({{movement::all_reduce, 0}}));

using second = layer<sy::rules<d_ff_rule>>; // model: activations are summed over model, gradients owe nothing
static_assert(lies<second::x, R, R> && lies<second::wi, R, d_ff> && lies<second::wo, R, d_ff>);
static_assert(lies<second::h, R, d_ff> && lies<second::o, R, P> && lies<second::d_input, R, P>);
static_assert(lies<second::d_wo, R, d_ff> && lies<second::d_wi, R, d_ff>);
static_assert(movements<second::o, second::slots>({{movement::all_reduce, 1}}));

using third = layer<sy::rules<group_rule, d_ff_rule>>; // data and model: both
static_assert(lies<third::x, group, R> && lies<third::wi, R, d_ff> && lies<third::o, group, P>);
static_assert(lies<third::d_wo, P, d_ff> && lies<third::d_wi, P, d_ff> && lies<third::d_input, group, P>);

using fourth = layer<sy::rules<group_rule, expert_rule>, sy::rules<expert_rule, group_rule>>; // expert and data
static_assert(lies<fourth::slots, group, R> && lies<fourth::input, experts, R> && lies<fourth::o, experts, R>);
static_assert(lies<fourth::d_wo, experts, R> && lies<fourth::d_wi, experts, R>); // summed by nobody, owned by one
static_assert(movements<fourth::slots, fourth::input>({{movement::all_to_all, 0}}));
static_assert(movements<fourth::o, fourth::slots>({{movement::all_to_all, 0}}));

using fifth = layer<sy::rules<group_rule, expert_rule, d_ff_rule>, sy::rules<expert_rule, group_rule, d_ff_rule>>;
static_assert(lies<fifth::wi, experts, d_ff> && lies<fifth::input, experts, R> && lies<fifth::h, experts, d_ff>);
static_assert(lies<fifth::o, experts, P> && lies<fifth::d_input, experts, P> && lies<fifth::d_wi, experts, d_ff>);
// d_model cut over model before the exchange: one all-to-all of a slice, then a gather among neighbours
using slice = sy::tensor<double, two, fifth::slots::dimensions_type, at<group, S<dims::d_model>>>;
using travelled = sy::tensor<double, two, fifth::slots::dimensions_type, at<experts, S<dims::d_model>>>;
static_assert(movements<fifth::slots, travelled>({{movement::slice, 1}, {movement::all_to_all, 0}}));
static_assert(movements<travelled, fifth::input>({{movement::all_gather, 1}}));
static_assert(movements<fifth::o, slice>({{movement::reduce_scatter, 1}, {movement::all_to_all, 0}}));
// its transpose, from the gradients' side
static_assert(movements<fifth::d_input, travelled>({{movement::reduce_scatter, 1}}));
// the router's gradient is summed over data and not over model, whose ranks hold the same tokens
using router = sy::tensor_of<double, two, sy::rules<group_rule>, dims::d_model, dims::experts>;
using logits = sy::einsum_t<double, fifth::x, router, dims::group, dims::token, dims::experts>;
using d_router = sy::einsum_t<double, fifth::x, logits, dims::d_model, dims::experts>;
static_assert(lies<logits, group, R> && lies<d_router, P, R>);

} // namespace

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/layer/switch_layer.hpp>

namespace {

namespace sy = switchyard;
namespace dims = sy::dims;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

struct replica : sy::name<"replica"> {};

/// Which axes split what.
template <class Layout, class Groups, class Experts, class Hidden = void>
constexpr bool is =
    std::is_same_v<typename Layout::expert_axis, Experts>&& std::is_same_v<typename Layout::d_ff_axis, Hidden>&&
            Layout::groups_split == !std::is_void_v<Groups> &&
    Layout::template splits_groups<Groups> == !std::is_void_v<Groups> &&
    Layout::experts_split == !std::is_void_v<Experts> && Layout::d_ff_split == !std::is_void_v<Hidden>;

using group_rule = sy::split<dims::group, data>;
using expert_rule = sy::split<dims::experts, data>;
using d_ff_rule = sy::split<dims::d_ff, model>;
using replica_rule = sy::split<dims::group, replica>;

// ---- one process ----
static_assert(is<sy::switch_layout<sy::mesh<>, sy::rules<>>, void, void>);

// ---- data parallelism, then data and expert parallelism over one axis, static or run-time extents ----
using line = sy::mesh<sy::axis<data>>;
using plane = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
using cube = sy::mesh<sy::axis<replica>, sy::axis<data>, sy::axis<model>>;
static_assert(is<sy::switch_layout<line, sy::rules<>>, void, void>);
static_assert(is<sy::switch_layout<line, sy::rules<group_rule>>, data, void>);
static_assert(is<sy::switch_layout<line, sy::rules<group_rule, expert_rule>>, data, data>);
static_assert(is<sy::switch_layout<line, sy::rules<expert_rule, group_rule>>, data, data>); // different tensors
static_assert(is<sy::switch_layout<plane, sy::rules<group_rule, expert_rule>>, data, data>);
static_assert(is<sy::switch_layout<plane, sy::rules<sy::split<dims::group, model>>>, model, void>);

// ---- model parallelism, alone and with the others; of two rules for one axis the first one counts ----
static_assert(is<sy::switch_layout<plane, sy::rules<d_ff_rule>>, void, void, model>);
static_assert(is<sy::switch_layout<plane, sy::rules<group_rule, d_ff_rule>>, data, void, model>);
static_assert(is<sy::switch_layout<plane, sy::rules<group_rule, expert_rule, d_ff_rule>>, data, data, model>);
static_assert(
    is<sy::switch_layout<line, sy::rules<group_rule, expert_rule, sy::split<dims::d_ff, data>>>, data, data, void>);

// ---- gradients of the experts are sums over the axes of groups that do not split them ----
static_assert(sy::switch_layout<line, sy::rules<group_rule>>::experts_summed);
static_assert(!sy::switch_layout<plane, sy::rules<d_ff_rule>>::experts_summed);
static_assert(!sy::switch_layout<plane, sy::rules<group_rule, expert_rule, d_ff_rule>>::experts_summed);
static_assert(sy::switch_layout<cube, sy::rules<replica_rule, group_rule, expert_rule, d_ff_rule>>::experts_summed);

// ---- the way of the slots, and what each step of it is ----
template <class From, class To, sy::movement... Kind>
constexpr bool moves = [] {
  constexpr std::array<sy::movement, sizeof...(Kind)> expected{Kind...};
  constexpr auto plan = sy::plan_of<From, To>;
  bool same = plan.count == expected.size();
  for (std::size_t i = 0; same && i < expected.size(); ++i) same = plan.steps[i].kind == expected[i];
  return same;
}();
template <class Layout, class Placements>
using slots = typename Layout::template slots_tensor<float, Placements>;
using five = sy::switch_layout<cube, sy::rules<replica_rule, group_rule, expert_rule, d_ff_rule>>;
using three = sy::switch_layout<plane, sy::rules<group_rule, d_ff_rule>>;
using enum sy::movement;
static_assert(moves<slots<five, five::token_slots>, slots<five, five::sent_slots>, slice>);
static_assert(moves<slots<five, five::sent_slots>, slots<five, five::arrived_slots>, all_to_all>);
static_assert(moves<slots<five, five::arrived_slots>, slots<five, five::expert_slots>, all_gather>);
static_assert(moves<slots<five, five::expert_sums>, slots<five, five::sent_slots>, reduce_scatter, all_to_all>);
static_assert(moves<slots<three, three::token_slots>, slots<three, three::expert_slots>>);
static_assert(moves<slots<three, three::expert_sums>, slots<three, three::token_slots>, all_reduce>);

// ---- rules about tensors of other layers are not this layer's business ----
static_assert(is<sy::switch_layout<plane, sy::rules<group_rule, sy::split<dims::vocab, model>>>, data, void>);
static_assert(is<sy::switch_layout<plane, sy::rules<group_rule, sy::split<dims::heads, model>>>, data, void>);

// ---- the layer that follows ----
using exec = Kokkos::DefaultExecutionSpace;
using plain = sy::switch_layer<exec>;
static_assert(std::same_as<plain, sy::switch_layer<exec, sy::selective<sy::bfloat16>, sy::mesh<>, sy::rules<>>>);
static_assert(std::same_as<plain::value, sy::bfloat16> && std::same_as<plain::real, float>);
static_assert(std::same_as<plain::weight, float> && std::same_as<plain::gradient, float>);
static_assert(std::same_as<plain::space, exec::memory_space>);
static_assert(std::is_constructible_v<plain, sy::switch_config>);
static_assert(!std::is_convertible_v<sy::switch_config, plain>);
static_assert(!std::is_same_v<plain::weights_type, plain::packed_type>); // stale weights are a type error

using sharded = sy::switch_layer<exec, sy::uniform<double>, line, sy::rules<group_rule, expert_rule>>;
static_assert(std::same_as<sharded::value, double>);
static_assert(!std::is_constructible_v<sharded, sy::switch_config>); // it needs its mesh
static_assert(std::is_constructible_v<sharded, line, sy::switch_config>);
static_assert(!std::is_same_v<sharded::tape_type, sy::switch_layer<exec, sy::uniform<double>>::tape_type>);

// ---- the configuration is an aggregate whose defaults are the paper's ----
static_assert(std::is_aggregate_v<sy::switch_config>);
constexpr sy::switch_config defaults{};
static_assert(defaults.routing == sy::routing_policy::top_1 && defaults.capacity_factor == 1.25);
static_assert(defaults.activation == sy::activation_kind::relu && !defaults.gated && !defaults.bias);
static_assert(defaults.load_balance == 1e-2 && defaults.init_scale == 0.1 && !defaults.dropless);

} // namespace

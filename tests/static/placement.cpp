// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/rules.hpp>

namespace {

namespace sy = switchyard;
namespace dims = sy::dims;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
struct rows : sy::name<"rows"> {}; // a user's own dimension

using plane = sy::mesh<sy::axis<data, 4>, sy::axis<model, 2>>;
using all = sy::rules<sy::split<dims::group, data>, sy::split<dims::experts, data>, sy::split<dims::d_ff, model>,
                      sy::split<rows, model>>;

template <class Placement, class Axis, class Rules, class... D>
constexpr bool placed = std::same_as<sy::placement<Axis, Rules, D...>, Placement>;

// No rules: replicated. No dimensions: replicated.
static_assert(placed<sy::R, data, sy::rules<>, dims::group, dims::token>);
static_assert(placed<sy::R, data, all>);

// A rule acts on its own axis and on tensors that have its dimension.
static_assert(placed<sy::S<dims::group>, data, all, dims::group, dims::token, dims::d_model>);
static_assert(placed<sy::R, model, all, dims::group, dims::token, dims::d_model>);
static_assert(placed<sy::S<dims::experts>, data, all, dims::experts, dims::d_model, dims::d_ff>);
static_assert(placed<sy::S<dims::d_ff>, model, all, dims::experts, dims::d_model, dims::d_ff>);
static_assert(placed<sy::R, data, all, dims::d_model, dims::d_ff>);
static_assert(placed<sy::S<rows>, model, all, rows>);

// The first rule whose dimension the tensor has takes the axis, whatever the order of the dimensions.
static_assert(placed<sy::S<dims::group>, data, all, dims::group, dims::experts, dims::capacity, dims::d_model>);
static_assert(placed<sy::S<dims::group>, data, all, dims::experts, dims::group, dims::capacity, dims::d_model>);
using experts_first = sy::rules<sy::split<dims::experts, data>, sy::split<dims::group, data>>;
static_assert(placed<sy::S<dims::experts>, data, experts_first, dims::group, dims::experts>);
static_assert(placed<sy::S<dims::group>, data, experts_first, dims::group, dims::token>);

// The axis that splits a dimension of a tensor.
template <class Axis, class Dimension, class Mesh, class Rules, class... D>
constexpr bool split_over = std::is_same_v<typename sy::splitting_axis<Dimension, Mesh, Rules, D...>::type, Axis>;

static_assert(split_over<data, dims::group, plane, all, dims::group, dims::token, dims::d_model>);
static_assert(split_over<void, dims::token, plane, all, dims::group, dims::token, dims::d_model>);
static_assert(split_over<data, dims::experts, plane, all, dims::experts, dims::d_model, dims::d_ff>);
static_assert(split_over<model, dims::d_ff, plane, all, dims::experts, dims::d_model, dims::d_ff>);
static_assert(split_over<void, dims::experts, plane, all, dims::group, dims::experts>); // group took the axis
static_assert(split_over<void, dims::group, sy::mesh<>, sy::rules<>, dims::group>);
static_assert(split_over<void, dims::group, plane, sy::rules<>, dims::group>);

} // namespace

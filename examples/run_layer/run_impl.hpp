// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "run.hpp"
#include <switchyard/mesh/counting.hpp>
#include <switchyard/switchyard.hpp>

/// \file
/// A problem through the layer of one precision, and the layer's decisions as the files show them.

namespace run_layer {

/// Rounds: to the 2-byte types by way of float.
template <class View>
void to_view(const std::vector<double>& from, const View& to) {
  const auto host = Kokkos::create_mirror_view(to);
  for (std::size_t i = 0; i < from.size(); ++i)
    host.data()[i] = static_cast<typename View::non_const_value_type>(from[i]);
  Kokkos::deep_copy(to, host);
}

/// Exact.
template <class View>
std::vector<double> from_view(const View& from) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), from);
  std::vector<double> to(from.size());
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = host.data()[i];
  return to;
}

/// expert_index, slot, kept and gate [G,S,k] of the token's own choices. A choice that its expert had no slot for keeps
/// its expert, but for no_token_left_behind, where the token went on to the next one.
template <class Decision>
void show_choices(const problem& p, const Decision& decision, answer& a) {
  using switchyard::router::slot_none;
  const auto choice = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), decision.choice);
  const auto slot = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), decision.slot);
  const bool moves_on = p.config.routing == switchyard::routing_policy::no_token_left_behind;
  for (std::size_t t = 0; t < slot.extent(0); ++t)
    for (std::size_t j = 0; j < slot.extent(1); ++j) {
      const bool kept = slot(t, j) >= 0;
      const bool shown = kept || (slot(t, j) != slot_none && !moves_on);
      a.expert_index.push_back(shown ? choice(t, j) : -1);
      a.slot.push_back(kept ? slot(t, j) : -1);
      a.kept.push_back(kept ? 1 : 0);
    }
  a.gate = from_view(decision.gate);
}

/// token_index and gate [G,E,C] of the experts' choices. The layer gives padding no slot; here the slots that no real
/// token fills show the padding, lowest token first, with a gate of 0.
template <class Decision>
void show_tokens(const problem& p, const Decision& decision, answer& a) {
  const auto slot = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), decision.slot); // [T, E]
  const auto gate = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), decision.gate);
  const auto G = static_cast<std::size_t>(p.groups), S = static_cast<std::size_t>(p.tokens),
             E = static_cast<std::size_t>(p.config.experts), C = static_cast<std::size_t>(p.capacity());
  a.token_index.assign(G * E * C, -1);
  a.gate.assign(G * E * C, 0.0);
  for (std::size_t g = 0; g < G; ++g)
    for (std::size_t e = 0; e < E; ++e) {
      const std::size_t first = (g * E + e) * C;
      std::size_t filled = 0;
      for (std::size_t s = 0; s < S; ++s) {
        if (slot(g * S + s, e) < 0) continue;
        const std::size_t at = first + static_cast<std::size_t>(slot(g * S + s, e));
        a.token_index[at] = static_cast<std::int32_t>(s);
        a.gate[at] = gate(g * S + s, e);
        ++filled;
      }
      for (std::size_t s = 0; s < S && filled < C; ++s)
        if (p.mask && !((*p.mask)[g * S + s] > 0)) a.token_index[first + filled++] = static_cast<std::int32_t>(s);
    }
}

/// The problem `p` of this process, of a batch of `groups` groups. before(tape) and after(tape, pass) are called around
/// the forward and the backward.
template <class Layer, class Before, class After>
answer compute(const Layer& layer, const problem& p, std::int64_t groups, const Before& before, const After& after) {
  using exec_space = typename Layer::execution_space;
  using space = typename Layer::space;
  using tokens_view = Kokkos::View<typename Layer::value***, Kokkos::LayoutRight, space>;
  const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::size_t G = extent(p.groups), S = extent(p.tokens), M = extent(p.config.d_model);
  const exec_space exec;

  const typename Layer::weights_type weight(p.config, layer.experts_here(), layer.d_ff_here());
  to_view(p.weight.router, weight.router);
  to_view(p.weight.wi, weight.wi);
  to_view(p.weight.wi_gate, weight.wi_gate);
  to_view(p.weight.wo, weight.wo);
  const auto packed = layer.pack(exec, weight);
  auto tape = layer.make_tape(exec, groups, p.tokens);

  const tokens_view x("x", G, S, M), y("y", G, S, M);
  to_view(p.x, x);
  switchyard::forward_options<space> options;
  options.training = false; // nothing random, and capacity_factor as it was given
  if (p.mask) {             // in double, a number may be above 0 that is 0 in float
    const Kokkos::View<float**, Kokkos::LayoutRight, space> mask("mask", G, S);
    std::vector<double> real;
    for (const double m : *p.mask) real.push_back(m > 0 ? 1 : 0);
    to_view(real, mask);
    options.mask = mask;
  }
  before();
  layer.forward(exec, packed, x, y, tape, options);
  after(tape, "forward");
  const auto losses = layer.summary(exec, tape);

  answer a;
  a.y = from_view(y);
  a.probs = from_view(tape.decision.probs);
  if (p.by_experts())
    show_tokens(p, tape.decision, a);
  else
    show_choices(p, tape.decision, a);
  a.load_balance_loss = losses.load_balance;
  a.router_z_loss = losses.router_z;
  a.importance_loss = losses.importance;
  if (!p.dy) return a;

  const tokens_view dy("dy", G, S, M), dx("dx", G, S, M);
  const auto gradient = layer.zeros(exec);
  to_view(*p.dy, dy);
  before();
  layer.backward(exec, packed, dy, dx, tape, gradient);
  exec.fence("run_layer: the gradients are read on the host");
  after(tape, "backward");
  a.dx = from_view(dx);
  a.gradient = {from_view(gradient.router), from_view(gradient.wi), from_view(gradient.wi_gate),
                from_view(gradient.wo)};
  return a;
}

template <switchyard::precision P>
answer run_in(const problem& p) {
  const switchyard::switch_layer<Kokkos::DefaultExecutionSpace, P> layer(p.config);
  return compute(
      layer, p, p.groups, [] {}, [](const auto&, const char*) {});
}

struct data : switchyard::name<"data"> {};
struct model : switchyard::name<"model"> {};

/// Two layers make five layouts: over an axis that a layout does not split, every rank is a job of its own that does
/// the same work, and the axis has one rank in each of them.
template <switchyard::precision P, class... Split>
answer run_split(const problem& p, const placement& where, const switchyard::communicator& world,
                 traffic_report& report) {
  namespace sy = switchyard;
  using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
  const mesh_type all(world, {where.data, where.model});
  const bool by_data = where.splits_groups(), by_model = where.splits_d_ff();
  const std::int64_t copy = (by_data ? 0 : all.coordinate(0) * where.model) + (by_model ? 0 : all.coordinate(1));
  const sy::traffic sent;
  const mesh_type mesh(sy::counting(world.split(static_cast<int>(copy)), sent),
                       {by_data ? where.data : 1, by_model ? where.model : 1});
  const sy::switch_layer<Kokkos::DefaultExecutionSpace, P, mesh_type, sy::rules<Split...>> layer(mesh, p.config);

  const rank_part here{layer.groups_here(p.groups), layer.experts_here(), layer.d_ff_here()};
  const auto reset = [&] { sy::traffic(sent).reset(); };
  const auto note = [&](const auto& tape, const std::string& pass) {
    const auto predicted = layer.traffic(tape, /*training=*/false);
    const auto& bytes = pass == "forward" ? predicted.forward : predicted.backward;
    for (std::size_t axis = 0; axis < mesh_type::rank; ++axis)
      for (int kind = 0; kind < sy::collectives; ++kind) {
        const auto which = static_cast<sy::collective>(kind);
        const std::string label(mesh_type::labels[axis]);
        report.push_back(
            {label, sy::label(which), pass, {bytes[axis][static_cast<std::size_t>(kind)]}, {sent.bytes(label, which)}});
      }
  };
  const answer a = compute(layer, part_of_problem(p, here), p.groups, reset, note);
  gather_ranks(world, report);
  return join(world, p, here, a);
}

template <switchyard::precision P>
answer run_on_mesh(const problem& p, const placement& where, const switchyard::communicator& world,
                   traffic_report& report) {
  namespace dims = switchyard::dims;
  using switchyard::split;
  using group_rule = split<dims::group, data>;
  using expert_rule = split<dims::experts, data>;
  using d_ff_rule = split<dims::d_ff, model>;
  if (where.splits_experts()) return run_split<P, group_rule, expert_rule, d_ff_rule>(p, where, world, report);
  return run_split<P, group_rule, d_ff_rule>(p, where, world, report);
}

} // namespace run_layer

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "harness_impl.hpp"
#include "layer_jobs.hpp"
#include "together.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mpi.hpp>

/// \file
/// Layouts change where, never what: the layer of a mesh against the layer of one process (the harness), tensor by
/// tensor, and what it sends against what was predicted. Every rank computes all of the one and its part of the other.

namespace layer_test {

namespace sy = switchyard;
using namespace switchyard_test;
using namespace mpi_test;

struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

using group_rule = sy::split<sy::dims::group, data>;
using replica_rule = sy::split<sy::dims::group, replica>;
using expert_rule = sy::split<sy::dims::experts, data>;
using d_ff_rule = sy::split<sy::dims::d_ff, model>;

/// What must be the same, and how much.
struct demands {
  double bound;       // of what is summed over ranks
  bool rows_exact;    // y and dx
  bool weights_exact; // gradients of the experts
  bool router_exact;
};

/// Both layers on one job. `traffic` counts what the mesh sends.
template <class Layer, class Mesh>
void compare(const Mesh& mesh, const sy::traffic& sent, const subject& one, const job& j, const demands& demand) {
  using Exec = typename Layer::execution_space;
  using T = typename Layer::value;
  using space = typename Layer::space;
  const Exec exec{};
  const auto& c = j.config;
  const outcome whole = one.run(j);

  const Layer layer(mesh, c);
  const auto groups = layer.groups_here(j.groups), experts = layer.experts_here(), d_ff = layer.d_ff_here();
  const sy::part all_m{0, c.d_model}, all_s{0, j.tokens}, all_k{0, c.choices()};
  const std::vector<std::int64_t> of_tokens{j.groups, j.tokens, c.d_model}, of_in{c.experts, c.d_model, c.d_ff},
      of_out{c.experts, c.d_ff, c.d_model};
  const std::vector<sy::part> tokens_here{groups, all_s, all_m}, in_here{experts, all_m, d_ff},
      out_here{experts, d_ff, all_m};

  auto weights = layer.init(exec, sy::seed{1});
  const typename Layer::weights_type drawn(c, {0, c.experts});
  sy::initialize(exec, c, {0, c.experts}, sy::seed{1}, drawn);
  const bool same_start = same_bytes(to_vector(weights.wi), cut(to_vector(drawn.wi), of_in, in_here)) &&
                          same_bytes(to_vector(weights.wi_gate), cut(to_vector(drawn.wi_gate), of_in, in_here)) &&
                          same_bytes(to_vector(weights.wo), cut(to_vector(drawn.wo), of_out, out_here)) &&
                          same_bytes(to_vector(weights.router), to_vector(drawn.router));
  CHECK(everywhere(same_start));
  to_view(j.weights.router, weights.router);
  to_view(cut(j.weights.wi, of_in, in_here), weights.wi);
  to_view(cut(j.weights.wi_gate, of_in, in_here), weights.wi_gate);
  to_view(cut(j.weights.wo, of_out, out_here), weights.wo);
  if (c.bias) {
    to_view(cut(j.weights.bi, {c.experts, c.d_ff}, {experts, d_ff}), weights.bi);
    if (c.gated) to_view(cut(j.weights.bi_gate, {c.experts, c.d_ff}, {experts, d_ff}), weights.bi_gate);
    to_view(cut(j.weights.bo, {c.experts, c.d_model}, {experts, all_m}), weights.bo);
  }
  const auto packed = layer.pack(exec, weights);
  const auto gradients = layer.zeros(exec);
  for (const auto& w : {gradients.wi, gradients.wi_gate, gradients.wo}) poison(w);
  for (const auto& w : {gradients.router, gradients.bi, gradients.bi_gate, gradients.bo}) poison(w);
  auto tape = layer.make_tape(exec, j.groups, j.tokens);

  const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  using view = Kokkos::View<T***, Kokkos::LayoutRight, space>;
  const view x("x", extent(groups.count), extent(j.tokens), extent(c.d_model));
  const view dy("dy", x.extent(0), x.extent(1), x.extent(2)), y("y", x.extent(0), x.extent(1), x.extent(2)),
      dx("dx", x.extent(0), x.extent(1), x.extent(2));
  to_view(cut(j.x, of_tokens, tokens_here), x);
  to_view(cut(j.dy, of_tokens, tokens_here), dy);
  sy::forward_options<space> options;
  options.training = j.training;
  options.step = j.step;
  options.layer = j.layer;
  if (!j.mask.empty()) {
    const Kokkos::View<float**, Kokkos::LayoutRight, space> mask("mask", x.extent(0), x.extent(1));
    to_view(cut(j.mask, {j.groups, j.tokens}, {groups, all_s}), mask);
    options.mask = mask;
  }

  std::int64_t late = 0;
  bool as_predicted = true;
  const auto counted = [&](const auto& predicted) {
    for (std::size_t a = 0; a < Mesh::rank; ++a)
      for (int kind = 0; kind < sy::collectives; ++kind)
        as_predicted = as_predicted && sent.bytes(Mesh::labels[a], static_cast<sy::collective>(kind)) ==
                                           predicted[a][static_cast<std::size_t>(kind)];
    as_predicted = as_predicted && sent.bytes() == sy::layer_traffic<Mesh::rank>::total(predicted);
  };
  for (int r = 0; r < j.replays; ++r) {
    const allocation_watch watch(false);
    sy::traffic(sent).reset();
    layer.forward(exec, packed, x, y, tape, options);
    counted(layer.traffic(tape, j.training).forward);
    sy::traffic(sent).reset();
    layer.backward(exec, packed, dy, dx, tape, gradients,
                   {.accumulate = j.accumulate && r > 0, .loss_scale = j.loss_scale});
    exec.fence("test: results are read");
    counted(layer.traffic(tape, j.training).backward);
    if (r > 0 || !c.dropless) late += watch.count();
  }
  CHECK(everywhere(late == 0));
  CHECK(everywhere(as_predicted));

  const auto rows = [&](const auto& mine, const std::vector<double>& all) {
    const auto here = cut(all, of_tokens, tokens_here);
    return demand.rows_exact ? same_bytes(to_vector(mine), here) : close(to_vector(mine), here, all, demand.bound);
  };
  CHECK(everywhere(rows(y, whole.y)));
  CHECK(everywhere(rows(dx, whole.dx)));

  const auto routed = [&](const auto& mine, const std::vector<double>& all, std::int64_t columns) {
    return same_bytes(to_vector(mine), cut(all, {j.groups, j.tokens, columns}, {groups, all_s, {0, columns}}));
  };
  CHECK(everywhere(routed(tape.decision.probs, whole.probs, c.experts)));
  CHECK(everywhere(routed(tape.decision.gate, whole.gate, c.choices())));
  CHECK(everywhere(same_bytes(to_vector<std::int64_t>(tape.decision.slot),
                              cut(whole.slot, {j.groups, j.tokens, c.choices()}, {groups, all_s, all_k}))));
  CHECK(everywhere(same_bytes(to_vector<std::int64_t>(tape.decision.choice),
                              cut(whole.choice, {j.groups, j.tokens, c.choices()}, {groups, all_s, all_k}))));
  const auto s = layer.summary(exec, tape);
  CHECK(everywhere(
      same_bytes<double>({s.load_balance, s.router_z, s.importance, s.load, s.tokens, s.dropped_fraction, s.entropy,
                          s.confidence, s.nonfinite_tokens},
                         {whole.load_balance, whole.router_z, whole.importance, whole.load, whole.tokens,
                          whole.dropped_fraction, whole.entropy, whole.confidence, whole.nonfinite_tokens})));
  CHECK(everywhere(layer.expert_load(exec, tape) == whole.expert_load));

  const auto weight = [&](const auto& mine, const std::vector<double>& all, const std::vector<std::int64_t>& of,
                          const std::vector<sy::part>& here) {
    const auto want = cut(all, of, here);
    return demand.weights_exact ? same_bytes(to_vector(mine), want) : close(to_vector(mine), want, all, demand.bound);
  };
  CHECK(everywhere(weight(gradients.wi, whole.gradient.wi, of_in, in_here)));
  CHECK(everywhere(weight(gradients.wi_gate, whole.gradient.wi_gate, of_in, in_here)));
  CHECK(everywhere(weight(gradients.wo, whole.gradient.wo, of_out, out_here)));
  CHECK(everywhere(weight(gradients.bi, whole.gradient.bi, {c.experts, c.d_ff}, {experts, d_ff})));
  CHECK(everywhere(weight(gradients.bi_gate, whole.gradient.bi_gate, {c.experts, c.d_ff}, {experts, d_ff})));
  CHECK(everywhere(weight(gradients.bo, whole.gradient.bo, {c.experts, c.d_model}, {experts, all_m})));
  const auto router = to_vector(gradients.router);
  CHECK(everywhere(demand.router_exact ? same_bytes(router, whole.gradient.router)
                                       : close(router, whole.gradient.router, whole.gradient.router, demand.bound)));
}

/// Every policy on every shape of mesh with this many ranks; of the policies all on up to 4 ranks, or where the
/// environment has SWITCHYARD_EVERY_POLICY, then fewer: many ranks share few cores.
template <class Layer, class Mesh, class MakeMesh>
void every_policy_on(const std::string& precision, double bound, const std::vector<shape>& shapes_here,
                     const MakeMesh& make) {
  using layout = typename Layer::layout;
  const subject one = subjects_of(precision).front();
  REQUIRE(one.engine == "default"); // another engine adds in another order
  for (const shape& s : shapes_here) {
    const sy::traffic sent;
    const bool odd = (s.replica + s.data) % 2 != 0; // how bytes travel changes nothing either
    const auto travelling = odd ? sy::mpi_options{.buffers = sy::mpi_buffers::staged}
                                : sy::mpi_options{.two_level = true, .node_of = [](int rank) { return rank / 2 % 3; }};
    const Mesh mesh = make(sy::counting(sy::mpi(MPI_COMM_WORLD, travelling), sent), s);
    const bool every = ranks() <= 4 || std::getenv("SWITCHYARD_EVERY_POLICY") != nullptr;
    const std::size_t step = every ? 1 : ranks() <= 8 ? 5 : 11;
    const std::vector<named_job> all = jobs(s.model);
    for (std::size_t i = static_cast<std::size_t>(s.data) % step; i < all.size(); i += step) {
      const job& j = all[i].work;
      INFO(all[i].name << ", experts " << j.config.experts << ", groups " << j.groups << ", replica " << s.replica
                       << ", data " << s.data << ", model " << s.model);
      const bool whole_model = s.model == 1, owned = layout::experts_split ? s.replica == 1 : s.replica * s.data == 1;
      compare<Layer>(mesh, sent, one, j, {bound, whole_model, whole_model && owned, false});
    }
    // Canonical sums: everything has the same bytes. As many pieces as groups or fewer, in turns.
    for (const bool few : {true, false}) {
      const int pieces = few ? ranks() : 16 % ranks() == 0 ? 16 : 12;
      const std::vector<named_job> canonical = jobs(s.model, pieces, few ? 2 * pieces : 5);
      for (std::size_t i = static_cast<std::size_t>(s.data + few) % 3; i < canonical.size(); i += 3 * step) {
        INFO(canonical[i].name << ", canonical " << pieces << ", replica " << s.replica << ", data " << s.data
                               << ", model " << s.model);
        compare<Layer>(mesh, sent, one, canonical[i].work, {0, true, true, true});
      }
    }
  }
}

/// A job that is meant to fail: the last rank throws, dies or has a view that does not fit, in the phase that the
/// environment names, while the others wait for it.
template <class Layer, class Mesh>
void fail_as_told(const std::array<std::int64_t, Mesh::rank>& extents) {
  const auto told = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string how = told("SWITCHYARD_FAIL_HOW"), phase = told("SWITCHYARD_FAIL_PHASE");
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const bool last = world.rank() == world.size() - 1;
  sy::fault plan{.rank = world.size() - 1, .phase = phase};
  if (how == "kill") plan.what = sy::fault::action::kill;
  const Mesh mesh(how == "extents" ? world : sy::faulting(world, plan), extents);
  sy::switch_config config{.d_model = 8, .d_ff = 8, .experts = 8}; // 2 on each of 4 ranks
  config.exchange_chunks = 2; // where slots go in pieces, some are under way when it happens
  const Layer layer(mesh, config);
  const typename Layer::execution_space exec;
  auto tape = layer.make_tape(exec, 4, 8);
  using view = Kokkos::View<typename Layer::value***, Kokkos::LayoutRight, typename Layer::space>;
  const auto groups = static_cast<std::size_t>(layer.groups_here(4).count);
  const view x("x", groups, 8, 8), y("y", groups, how == "extents" && last ? 7 : 8, 8), dx("dx", groups, 8, 8);
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  const auto gradients = layer.zeros(exec);
  layer.forward(exec, packed, x, y, tape);
  layer.backward(exec, packed, y, dx, tape, gradients);
}

} // namespace layer_test

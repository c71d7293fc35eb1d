// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../support/allocations.hpp"
#include "harness.hpp"
#include "together.hpp"
#include <catch2/catch_test_macros.hpp>
#include <numeric>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/model/transformer.hpp>

/// \file
/// Layouts change where, never what, for the whole model: on a mesh against one process (the harness), and what it
/// sends against what it says. Every rank computes all of the one and its part of the other.

namespace model_test {

namespace sy = switchyard;
using namespace mpi_test;
using namespace switchyard_test;

struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};

using group_rule = sy::split<sy::dims::group, data>;
using replica_rule = sy::split<sy::dims::group, replica>;
using expert_rule = sy::split<sy::dims::experts, data>;

template <class View>
std::vector<double> numbers_of(const View& view) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  std::vector<double> values(host.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(host.data()[i]);
  return values;
}

/// The part of a whole parameter that a slice says is here.
inline std::vector<double> cut(const std::vector<double>& whole, const sy::parameter_slice& slice) {
  std::vector<sy::part> where;
  for (std::size_t d = 0; d < slice.shape.size(); ++d) where.push_back({slice.offset[d], slice.extent[d]});
  return mpi_test::cut(whole, slice.shape, where);
}

/// The same on every rank, of those that have the same part?
inline bool agreed(const std::vector<double>& values, const std::vector<std::int64_t>& where = {}) {
  const auto hash = [](const auto& numbers) { // FNV-1a
    std::uint64_t h = 0xcbf29ce484222325u;
    const auto* bytes = reinterpret_cast<const unsigned char*>(numbers.data());
    for (std::size_t i = 0; i < numbers.size() * sizeof(numbers[0]); ++i) h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
  };
  const std::uint64_t mine[2] = {hash(where), hash(values)};
  std::vector<std::uint64_t> all(2 * static_cast<std::size_t>(ranks()));
  MPI_Allgather(mine, 2, MPI_UINT64_T, all.data(), 2, MPI_UINT64_T, MPI_COMM_WORLD);
  bool same = true;
  for (std::size_t r = 0; r < all.size(); r += 2) same = same && (all[r] != mine[0] || all[r + 1] == mine[1]);
  return everywhere(same);
}

/// |a - b| <= bound |b|, number by number.
inline bool near(const std::vector<double>& a, const std::vector<double>& b, double bound) {
  bool good = a.size() == b.size();
  for (std::size_t i = 0; good && i < a.size(); ++i)
    good = std::isnan(b[i]) ? std::isnan(a[i]) : std::abs(a[i] - b[i]) <= bound * std::abs(b[i]);
  return good;
}

/// Do ranks of this mesh share weights?
template <class Layout, class Mesh>
bool shares_weights(const Mesh& mesh) {
  bool shares = false;
  if constexpr (Layout::weights_split)
    for (const std::size_t a : {Layout::heads_axis_index, Layout::d_ff_axis_index, Layout::vocab_axis_index})
      shares = shares || (a != Mesh::rank && mesh.extent(a) > 1);
  return shares;
}

struct named_job {
  const char* name;
  model_job work;
  std::size_t reduced = 0; // elements that are summed at once; 0: as the model likes
  bool grows = false;      // a dropless exchange may find more rows than there was room for, once
};

/// Every kind of layer and of routing, batches that mostly do not divide, ranks without sequences, without experts.
inline std::vector<named_job> jobs() {
  std::vector<named_job> all;
  const auto add = [&](const char* name, std::int64_t batch, std::int64_t experts, const auto& change) {
    named_job n{name, small_job()};
    model_job& j = n.work;
    j.batch = batch;
    j.config.routing.experts = experts;
    j.scale = 2;
    j.auxiliary = 0.5;
    j.source.clear();
    j.target.clear();
    for (std::int64_t i = 0; i < batch * j.source_length; ++i)
      j.source.push_back(i % 5 < 4 ? static_cast<std::int32_t>(1 + i * i % 10) : 0);
    for (std::int64_t i = 0; i < batch * j.target_length; ++i)
      j.target.push_back(i % 4 < 1 + i / 4 % 4 ? static_cast<std::int32_t>(1 + i * 7 % 10) : 0);
    change(n);
    all.push_back(n);
  };
  add("encoder and decoder, dropout everywhere, jitter, capacity that drops", 5, 3, [](named_job& n) {
    n.work.config.dropout = 0.2;
    n.work.config.routing.expert_dropout = 0.3;
    n.work.config.routing.jitter = 0.05;
  });
  add("a decoder alone, all sparse, groups of two sequences, two experts per token", 6, 5, [](named_job& n) {
    auto& c = n.work.config;
    c.encoder_layers = 0;
    c.sparse_n = 1;
    c.sequences_per_group = 2;
    c.routing.routing = sy::routing_policy::top_k;
    c.routing.renormalize = sy::renormalize_policy::before_drop;
    c.routing.input_dropout = 0.1;
    c.routing.load_balance_scope = sy::balance_scope::batch;
    c.auxiliary = sy::auxiliary_reduction::mean;
    n.work.accumulated = 2; // three backwards, one sum over ranks
    n.reduced = 37;         // in many pieces
  });
  add("dense, untied, gated", 3, 4, [](named_job& n) {
    auto& c = n.work.config;
    c.sparse = sy::sparse_pattern::none;
    c.tied = false;
    c.gated = true;
    c.activation = sy::activation_kind::gelu;
    c.dropout = 0.1;
  });
  add("one sequence, gated", 1, 2, [](named_job& n) {
    n.work.config.gated = true;
    n.work.config.dropout = 0.1;
  });
  add("evaluation, dropless", 4, 3, [](named_job& n) {
    n.work.training = false;
    n.work.config.routing.dropless = true;
    n.grows = true;
  });
  add("no sequence", 0, 3, [](named_job&) {});
  return all;
}

/// The same in sizes that axes of 2 and 4 ranks can share.
inline named_job shared(named_job n) {
  auto& c = n.work.config;
  c.vocabulary = 12;
  c.d_model = c.d_ff = 8;
  c.heads = 4;
  // A query that sees one key has no gradient but rounding, which does not compare.
  if (n.work.batch == 1) n.work.target = {2, 8, 4, 0};
  return n;
}

/// The squares of the errors of numbers here, and of the same numbers of one process, against some that are exact.
struct errors {
  double here = 0, alone = 0;
  void add(const std::vector<double>& mine, const std::vector<double>& one, const std::vector<double>& exact) {
    for (std::size_t i = 0; i < exact.size(); ++i) {
      here += (mine.at(i) - exact[i]) * (mine[i] - exact[i]);
      alone += (one.at(i) - exact[i]) * (one[i] - exact[i]);
    }
  }
};

/// Both models on one job. `sent` counts what the mesh sends. Where ranks share weights, sums cross them everywhere; in
/// numbers of 16 bits their roundings then leave no bound on a single gradient, but all of them together must be as
/// near to those of `exact`, in double, as those of one process are, to a factor of 2.
template <class Model, class Mesh>
void compare(const Mesh& mesh, sy::traffic sent, const model_subject& one, const named_job& n, double bound,
             const model_subject* exact = nullptr) {
  using Exec = typename Model::execution_space;
  using space = typename Model::space;
  using layout = typename Model::layout;
  const model_job& j = n.work;
  const model_outcome whole = one.run(j);
  const model_outcome truth = exact != nullptr ? exact->run(j) : model_outcome{};
  const bool split = shares_weights<layout>(mesh);

  const Exec exec{};
  allocation_watch watch(true); // what is not written is NaN
  const Model model(mesh, j.config);
  const sy::part here = model.sequences_here(j.batch);
  const auto weights = model.init(exec, sy::seed{j.seed});
  const auto gradients = model.zeros(exec);
  bool same_start = true;
  std::int64_t owned = 0, names = 0;
  model.for_each_parameter_slice(
      [&](const std::string& name, const sy::parameter_slice& slice, const auto& weight, const auto& gradient) {
        Kokkos::deep_copy(gradient, std::nan(""));
        same_start = same_start && same_bytes(numbers_of(weight), cut(whole.weights.at(name), slice));
        owned += slice.owned ? static_cast<std::int64_t>(weight.size()) : 0;
        ++names;
      },
      weights, gradients);
  CHECK(everywhere(same_start));
  CHECK(everywhere(names == static_cast<std::int64_t>(whole.weights.size())));
  MPI_Allreduce(MPI_IN_PLACE, &owned, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  CHECK(owned == parameter_count(j.config));

  const auto packed = model.pack(exec, weights);
  auto tape = model.make_tape(exec, j.batch, j.source_length, j.target_length);
  const auto tokens = [&](const std::vector<std::int32_t>& numbers, std::int64_t length) {
    sy::model::matrix<std::int32_t, space> view("tokens", static_cast<std::size_t>(here.count),
                                                static_cast<std::size_t>(length));
    const auto host = Kokkos::create_mirror_view(view);
    for (std::size_t i = 0; i < host.size(); ++i)
      host.data()[i] = numbers.at(static_cast<std::size_t>(here.begin * length) + i);
    Kokkos::deep_copy(view, host);
    return typename Model::tokens_view(view);
  };
  const auto source = j.config.has_encoder() ? tokens(j.source, j.source_length) : typename Model::tokens_view();
  const auto target = tokens(j.target, j.target_length);
  if (n.reduced > 0) {
    using buffer = std::decay_t<decltype(tape.reduced.view())>;
    tape.reduced = sy::staged<buffer>(buffer("reduced", n.reduced));
  }

  std::string not_as_said;
  const auto counted = [&](const char* what, const auto& predicted) {
    std::int64_t all = 0;
    for (std::size_t a = 0; a < Mesh::rank; ++a)
      for (std::size_t kind = 0; kind < sy::collectives; ++kind) {
        all += predicted[a][kind];
        const auto bytes = sent.bytes(Mesh::labels[a], static_cast<sy::collective>(kind));
        if (bytes != predicted[a][kind])
          not_as_said += std::string(what) + ", " + sy::label(static_cast<sy::collective>(kind)) + ": " +
                         std::to_string(bytes) + " of " + std::to_string(predicted[a][kind]) + "; ";
      }
    if (sent.bytes() != all) not_as_said += std::string(what) + " sends more; ";
    sent.reset();
  };
  sent.reset();
  std::int64_t late = 0;
  for (int r = 0; r < 2; ++r) {
    const auto before = watch.count();
    model.forward(exec, packed, source, target, tape, {j.training, j.step});
    const auto said = model.traffic(tape, j.training);
    counted("forward", said.forward);
    for (int b = 0; b <= j.accumulated; ++b) {
      model.backward(exec, packed, tape, gradients, {.accumulate = b > 0, .scale = j.scale, .auxiliary = j.auxiliary});
      counted("backward", said.backward);
    }
    model.reduce_gradients(exec, tape, gradients);
    counted("reduce", said.reduce);
    exec.fence("test: results are read");
    if (r > 0 || !n.grows) late += watch.count() - before;
  }
  INFO(not_as_said);
  CHECK(everywhere(not_as_said.empty()));
  CHECK(everywhere(late == 0));

  const auto s = model.summary(exec, tape);
  auto of_summary = decltype(model.traffic(tape).forward){};
  for (std::size_t a = 0; a < Mesh::rank; ++a)
    if (layout::axis_splits_groups[a] || (layout::experts_split && a == layout::d_ff_axis_index))
      of_summary[a][static_cast<std::size_t>(sy::collective::all_gather)] =
          8 * (mesh.extent(a) - 1) * j.config.sparse_layers();
  counted("summary", of_summary);
  CHECK(everywhere(not_as_said.empty()));
  const std::vector<double> found{s.loss, s.cross_entropy, s.z, s.auxiliary, s.targets, s.accuracy, s.dropped_fraction};
  const std::vector<double> wanted{whole.loss,     whole.cross_entropy,   whole.z, whole.auxiliary, whole.targets,
                                   whole.accuracy, whole.dropped_fraction};
  CHECK(everywhere(split ? near(found, wanted, bound) : same_bytes(found, wanted)));
  CHECK(agreed(found));
  std::vector<double> nonfinite;
  for (const auto& layer : s.layers) nonfinite.push_back(layer.nonfinite_outputs);
  CHECK(agreed(nonfinite));
  const std::vector<double> result = numbers_of(tape.decoder.result);
  const std::vector<double> wanted_result = mpi_test::cut(whole.result, {j.batch, j.target_length, j.config.d_model},
                                                          {here, {0, j.target_length}, {0, j.config.d_model}});
  CHECK(everywhere(split ? close(result, wanted_result, whole.result, bound) : same_bytes(result, wanted_result)));
  CHECK(agreed(result, {here.begin, here.count}));

  errors all_gradients;
  bool right = true;
  std::string wrong;
  model.for_each_parameter_slice(
      [&](const std::string& name, const sy::parameter_slice& slice, const auto& gradient) {
        const std::vector<double> mine = numbers_of(gradient), all = whole.gradients.at(name), want = cut(all, slice);
        const bool of_experts = slice.shape.size() == 3;
        const bool summed = of_experts ? layout::experts_summed : layout::groups_split;
        std::vector<std::int64_t> box = slice.offset;
        box.insert(box.end(), slice.extent.begin(), slice.extent.end());
        const bool same = agreed(mine, box);
        if (exact != nullptr) all_gradients.add(mine, want, cut(truth.gradients.at(name), slice));
        const bool near_one = split || (summed && ranks() > 1) ? close(mine, want, all, bound) : same_bytes(mine, want);
        const bool good = same && (near_one || exact != nullptr);
        right = right && good;
        if (!good) wrong += name + " ";
      },
      gradients);
  INFO(wrong);
  CHECK(everywhere(right));
  INFO("squares of errors: " << all_gradients.here << ", of one process " << all_gradients.alone);
  CHECK(everywhere(all_gradients.here <= 4 * all_gradients.alone));
}

/// Every job on every shape of mesh with this many ranks; with an axis of replicas, those with more than one.
template <class Model, class Mesh, class MakeMesh>
void every_job(const char* precision, double bound, bool replicas, const MakeMesh& make) {
  const model_subject* one = nullptr;
  for (const model_subject& s : model_subjects())
    if (std::string(s.precision) == precision) one = &s;
  REQUIRE(one != nullptr);
  for (std::int64_t r = 1; r <= (replicas ? ranks() : 1); ++r) {
    if (ranks() % r != 0 || (replicas && r == 1 && ranks() > 1)) continue;
    sy::traffic sent;
    const Mesh mesh = make(sy::counting(sy::mpi(MPI_COMM_WORLD), sent), r, ranks() / r);
    for (const named_job& n : jobs()) {
      INFO(n.name << ", replica " << r << ", data " << ranks() / r);
      compare<Model>(mesh, sent, *one, n, bound);
    }
  }
}

} // namespace model_test

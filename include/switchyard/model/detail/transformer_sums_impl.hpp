// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/model/transformer.hpp>

// What is a sum over ranks, and what is whose. Definitions of transformer's members.

namespace switchyard {

template <class E, precision P, class M, class R>
template <class F, class... Set>
void transformer<E, P, M, R>::for_each_parameter_slice(const F& f, const Set&... set) const {
  const model_parts here = parts_here();
  for_each_parameter(
      [&](const std::string& name, const auto& view, const auto&... more) {
        constexpr std::size_t rank = std::decay_t<decltype(view)>::rank;
        parameter_slice slice = slice_of(config_, here, name, rank);
        const std::size_t axis = layout::axis_index(split_dimension_of(name, rank));
        if (axis != M::rank) slice.split_axis = static_cast<int>(axis);
        for (std::size_t a = 0; a != M::rank; ++a) { // the first of the ranks that have the same part
          const bool of_experts = rank == 3 && a == layout::expert_axis_index;
          slice.owned = slice.owned && (mesh_.coordinate(a) == 0 || a == axis || of_experts);
        }
        f(name, slice, view, more...);
      },
      set...);
}

/// Elements of the gradients here that are summed over the axis of the experts, and over the other axes.
template <class E, precision P, class M, class R>
auto transformer<E, P, M, R>::summed_elements() const -> std::array<std::int64_t, 2> {
  transformer_config none = config_here();
  none.routing.experts = 0; // also the routers; they are counted one by one
  const std::int64_t per_layer = (none.gated ? 3 : 2) * none.d_model * none.d_ff;
  const std::int64_t everywhere =
      parameter_count(none) + config_.sparse_layers() * config_.d_model * config_.routing.experts;
  const std::int64_t of_experts =
      layout::experts_summed ? config_.sparse_layers() * experts_here().count * per_layer : 0;
  return {everywhere, everywhere + of_experts};
}

/// f(values, count) for every gradient that is summed over ranks, those of the experts last.
template <class E, precision P, class M, class R>
template <class F>
void transformer<E, P, M, R>::for_each_summed(const gradients_type& gradients, const F& f) const {
  for (const bool experts : {false, true}) {
    if (experts && !layout::experts_summed) continue;
    for_each_parameter(
        [&](const std::string&, const auto& view) {
          if ((std::decay_t<decltype(view)>::rank == 3) == experts)
            f(view.data(), static_cast<std::int64_t>(view.size()));
        },
        gradients);
  }
}

/// What is exchanged over the axes that split the batch.
template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::make_shared(tape_type& t, std::int64_t batch) const {
  using matrix = model::matrix<double, space>;
  using vector = model::vector<typename P::gradient_type, space>;
  const std::int64_t each = config_.sequences_per_group;
  const auto& sums = t.loss.block_sums;
  std::int64_t most = 1;
  for (std::size_t a = M::rank; a-- > 0;) {
    if (!layout::axis_splits_groups[a]) continue;
    const part groups = layout::groups_within(mesh_, batch / each, a);
    typename tape_type::shared_sums level{
        a,
        staged<matrix>(matrix(sums.data() + static_cast<std::size_t>(groups.begin * each) * sums.extent(1),
                              static_cast<std::size_t>(groups.count * each), sums.extent(1)),
                       mesh_.along(a)),
        {}};
    for (int r = 0; r < mesh_.extent(a); ++r)
      level.counts.push_back(part_of(groups.count, mesh_.extent(a), r).count * each);
    t.loss_sums.push_back(std::move(level));
    most = std::max(most, mesh_.extent(a));
  }
  constexpr std::int64_t at_once = std::int64_t{1} << 24;
  const auto room = static_cast<std::size_t>(std::min(at_once, summed_elements()[1]));
  t.reduced = staged<vector>(vector("switchyard::model::reduced", room), mesh_.world());
  t.reduce_scratch =
      staged<vector>(vector("switchyard::model::reduce_scratch", room + static_cast<std::size_t>(most)), mesh_.world());
}

template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::reduce_gradients(const E& exec, const tape_type& t,
                                               const gradients_type& gradients) const {
  if constexpr (layout::groups_split) {
    if (mesh_.world().size() == 1) return;
    Kokkos::Profiling::ScopedRegion region("switchyard::transformer::reduce_gradients");
    using flat = Kokkos::View<typename P::gradient_type*, space, Kokkos::MemoryUnmanaged>;
    const auto elements = summed_elements();
    const auto room = static_cast<std::int64_t>(t.reduced.view().extent(0));
    in_phase("reduce", [&] {
      for (std::int64_t begin = 0; begin < elements[1]; begin += room) {
        const std::int64_t end = std::min(begin + room, elements[1]);
        // Elements [begin, end) of all gradients, one behind the other, between their own memory and the buffer.
        const auto move = [&](bool back) {
          std::int64_t at = 0;
          for_each_summed(gradients, [&](auto* values, std::int64_t count) {
            const std::int64_t from = std::max(at, begin), to = std::min(at + count, end);
            if (from < to) {
              const auto n = static_cast<std::size_t>(to - from);
              const flat own(values + (from - at), n), shared(t.reduced.view().data() + (from - begin), n);
              Kokkos::deep_copy(exec, back ? own : shared, back ? shared : own);
            }
            at += count;
          });
        };
        move(false);
        for (std::size_t a = M::rank; a-- > 0;) {
          if (!layout::axis_splits_groups[a] || mesh_.extent(a) == 1) continue;
          const std::int64_t last = std::min(end, elements[a == layout::expert_axis_index ? 0 : 1]);
          if (begin < last) all_reduce_sum(exec, mesh_.along(a), t.reduced.part(0, last - begin), t.reduce_scratch);
        }
        move(true);
      }
    });
  }
}

template <class E, precision P, class M, class R>
std::vector<std::vector<std::int64_t>> transformer<E, P, M, R>::expert_loads(const E& exec, const tape_type& t) const {
  std::vector<std::vector<std::int64_t>> loads;
  for_each_sparse(t, [&](const auto& layer) { loads.push_back(sparse_ffn_.sparse().expert_load(exec, layer)); });
  return loads;
}

/// The outputs that are not finite: their sum over the ranks of an axis, or, where these have columns of the same
/// outputs, the largest number of them.
template <class E, precision P, class M, class R>
void transformer<E, P, M, R>::gather_nonfinite(model_summary& s, std::size_t axis, bool sum) const {
  const std::size_t layers = s.layers.size();
  const communicator& along = mesh_.along(axis);
  const auto ranks = static_cast<std::size_t>(along.size()), here = static_cast<std::size_t>(along.rank());
  std::vector<double> counts(ranks * layers);
  for (std::size_t i = 0; i < layers; ++i) counts[here * layers + i] = s.layers[i].nonfinite_outputs;
  along.all_gather(counts.data(), std::vector<std::int64_t>(ranks, static_cast<std::int64_t>(layers)), sizeof(double));
  for (std::size_t i = 0; i < layers; ++i) {
    double& found = s.layers[i].nonfinite_outputs = 0;
    for (std::size_t r = 0; r < ranks; ++r)
      found = sum ? found + counts[r * layers + i] : std::max(found, counts[r * layers + i]);
  }
}

template <class E, precision P, class M, class R>
model_summary transformer<E, P, M, R>::summary(const E& exec, const tape_type& t) const {
  const auto sums = model::read_sums(exec, t.loss);
  model_summary s;
  s.targets = sums.targets;
  const double each = sums.targets > 0 ? 1 / sums.targets : 0;
  s.cross_entropy = sums.cross_entropy * each;
  s.z = sums.z * each;
  s.accuracy = sums.correct * each;
  for_each_sparse(t, [&](const auto& layer) {
    const auto one = sparse_ffn_.sparse().summary(exec, layer);
    const auto& c = config_.routing;
    const double balance = c.routing == routing_policy::expert_choice ? 0 : c.load_balance;
    s.auxiliary +=
        balance * one.load_balance + c.router_z * one.router_z + c.importance * one.importance + c.load * one.load;
    s.dropped_fraction += one.dropped_fraction;
    s.layers.push_back(one);
  });
  if (!s.layers.empty()) {
    s.dropped_fraction /= static_cast<double>(s.layers.size());
    if (config_.auxiliary == auxiliary_reduction::mean) s.auxiliary /= static_cast<double>(s.layers.size());
  }
  s.loss = s.cross_entropy + config_.z_loss * s.z + s.auxiliary;
  if (s.layers.empty()) return s; // of a layer's summary the one count that is this rank's own
  if constexpr (layout::d_ff_split && layout::experts_split) gather_nonfinite(s, layout::d_ff_axis_index, false);
  if constexpr (layout::groups_split)
    for (std::size_t a = M::rank; a-- > 0;)
      if (layout::axis_splits_groups[a]) gather_nonfinite(s, a, true);
  return s;
}

} // namespace switchyard

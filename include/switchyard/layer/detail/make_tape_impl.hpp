// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/detail/reduced.hpp>
#include <switchyard/layer/memory.hpp>
#include <switchyard/layer/switch_layer.hpp>

// All memory of a pass, and of what it exchanges. Definitions of switch_layer's members.

namespace switchyard {

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::make_tape(const E& exec, std::int64_t groups, std::int64_t tokens,
                                            gradient_sums sums) const -> tape_type {
  if constexpr (M::rank > 0) agree_on(mesh_.world(), {{"groups", groups}, {"tokens", tokens}});
  detail::require(groups >= 0, "groups = ", groups, ": must be at least 0");
  detail::require(tokens >= 0 && tokens < (std::int64_t{1} << 31), "tokens = ", tokens, ": must be in [0, 2^31)");
  const auto number = [](auto n) { return static_cast<double>(n); };
  const double widest = number(std::max({config_.experts, config_.d_model, 2 * config_.d_ff}));
  const double slots = config_.dropless ? 0 : number(groups) * number(config_.experts) * number(capacity_of(tokens));
  detail::check_size(groups, tokens, number(groups) * number(tokens) * config_.choices(), widest);
  detail::check_size(groups, tokens, slots, layout::experts_split ? widest : 1); // else there are as few as rows
  std::string complaint;
  tape_type t;
  try {
    t = allocate_tape(exec, groups, tokens, sums);
  } catch (const error&) {
    throw; // of all ranks alike
  } catch (const std::exception& e) {
    complaint =
        detail::message("groups = ", groups, ", tokens = ", tokens, ": no memory for the tape, which needs about ",
                        detail::tape_bytes<P>(config_, groups_here(groups).count, tokens),
                        " bytes; use fewer groups or tokens, or more ranks (", e.what(), ")");
  }
  if constexpr (M::rank > 0)
    if (mesh_.world().size() > 1) agree(mesh_.world(), complaint);
  if (!complaint.empty()) throw error(complaint);
  return t;
}

/// Slots of an expert in a group of so many tokens, in training or not.
template <class E, precision P, class M, class R, class G>
std::int64_t switch_layer<E, P, M, R, G>::capacity_of(std::int64_t tokens) const {
  return std::max(config_.capacity(tokens, true), config_.capacity(tokens, false));
}

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::tape_facts(std::int64_t tokens) const -> std::array<detail::fact, 14> {
  const auto all = packed_facts();
  return {{all[0],
           all[1],
           all[2],
           all[3],
           all[4],
           all[5],
           all[6],
           {"routing", static_cast<int>(config_.routing)},
           {"choices of a token", config_.choices()},
           {"slot order", static_cast<int>(config_.order)},
           {"capacity", capacity_of(tokens)},
           {"dropless", config_.dropless},
           {"activation", static_cast<int>(config_.activation)},
           {"noise on the router's input", config_.jitter > 0 || config_.input_dropout > 0}}};
}

template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::check_made_here(const packed_type& packed, const tape_type& t) const {
  detail::check_made_for("packed weights", "pack", packed.made_for, packed_facts());
  detail::check_made_for("tape", "make_tape", t.made_for, tape_facts(t.size.tokens));
}

template <class E, precision P, class M, class R, class G>
auto switch_layer<E, P, M, R, G>::allocate_tape(const E& exec, std::int64_t groups, std::int64_t tokens,
                                                gradient_sums sums) const -> tape_type {
  const part here = groups_here(groups);
  const std::int64_t capacity = capacity_of(tokens);
  const std::int64_t m = config_.d_model;
  tape_type t;
  t.made_for = tape_facts(tokens);
  t.size = {here.count, tokens, config_.experts, here.begin, groups};
  t.choices = config_.choices();
  t.sums = sums;
  t.decision = router::decision<real, space>(t.size, t.choices);
  t.slots = router::slot_scratch<real, space>(t.size, config_.routing, config_.order, t.choices);
  t.statistics = router::statistics<real, space>(t.size);
  t.all_tokens = typename tape_type::template vector<std::int64_t>("switchyard::all_tokens", 2);
  Kokkos::deep_copy(exec, Kokkos::subview(t.all_tokens, 1), t.tokens());
  const auto allocate = [](auto& view, const char* what, std::int64_t rows, std::int64_t columns) {
    view = detail::make_raw<std::remove_reference_t<decltype(view)>>(std::string("switchyard::") + what, rows, columns);
  };
  if (config_.jitter > 0 || config_.input_dropout > 0) allocate(t.scaled_input, "scaled_input", t.tokens(), m);
  allocate(t.dq, "dq", t.tokens(), t.choices);
  allocate(t.dh, "dh", t.tokens(), config_.experts);

  const std::int64_t slots = std::min(t.tokens() * t.choices, config_.experts * here.count * capacity);
  t.assignment = dispatch::assignment<space>(t.size, slots);
  t.ffn = {config_.activation, config_.gated, 0, {}, config_.d_ff, d_ff_here().begin, d_ff_here().begin == 0};
  if constexpr (layout::experts_split) {
    t.compact = config_.dropless;
    const std::size_t axis = layout::expert_axis_index;
    t.exchange = dispatch::exchange<value, space>(mesh_.along(axis), over_model(),
                                                  {t.size, groups_within(groups, axis), m, capacity, t.choices,
                                                   config_.dropless, canonical() ? 1 : config_.exchange_chunks});
    make_hidden(t, t.exchange.reserved());
  } else {
    make_hidden(t, slots);
    if constexpr (!layout::d_ff_split) {
      allocate(t.output, "output", slots, m);
      allocate(t.row_input_gradient, "row_input_gradient", slots, m);
    }
    allocate(t.row_gradient, "row_gradient", slots, m);
  }
  if constexpr (layout::d_ff_split) make_model_sums(t, slots);
  if constexpr (layout::groups_split) make_group_sums(t, groups);
  if (canonical()) make_canonical(exec, t, groups);
  t.summary = decltype(t.summary)("switchyard::summary", t.statistics.result.extent(0));
  return t;
}

/// Buffers of what is summed over the ranks that split d_ff.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::make_model_sums(tape_type& t, std::int64_t slots) const {
  const auto make = [&](auto& values, const char* what, std::int64_t elements) {
    using made = std::remove_reference_t<decltype(values)>;
    using vector = std::remove_cvref_t<decltype(values.view())>;
    values = made(vector(std::string("switchyard::") + what, static_cast<std::size_t>(elements)), model());
  };
  const std::int64_t ranks = model().size(), m = config_.d_model;
  if constexpr (layout::experts_split) {
    t.columns = dispatch::columns<value, space>(model(), m);
    t.columns.reserve(t.tokens());
    make(t.dq_sum, "dq", t.tokens() * t.choices);
    make(t.dq_scratch, "dq_scratch", t.tokens() * t.choices + ranks);
    t.dq = typename tape_type::template matrix<real>(t.dq_sum.view().data(), t.dq.extent(0), t.dq.extent(1));
  } else { // rows without a token are summed too, so they start as zeros
    using matrix = typename tape_type::template matrix<value>;
    make(t.output_sum, "output", slots * m);
    make(t.input_gradient_sum, "row_input_gradient", slots * m);
    make(t.row_scratch, "row_scratch", slots * m + ranks);
    const auto rows = static_cast<std::size_t>(slots), columns = static_cast<std::size_t>(m);
    t.output = matrix(t.output_sum.view().data(), rows, columns);
    t.row_input_gradient = matrix(t.input_gradient_sum.view().data(), rows, columns);
  }
}

/// Buffers of what is exchanged over the axes that split groups: statistics and gradients.
template <class E, precision P, class M, class R, class G>
void switch_layer<E, P, M, R, G>::make_group_sums(tape_type& t, std::int64_t groups) const {
  using matrix = typename tape_type::template matrix<real>;
  using vector = typename tape_type::template vector<gradient>;
  const auto& sums = t.statistics.sums;
  std::int64_t most = 1;
  for (std::size_t a = M::rank; a-- > 0;) {
    if (!layout::axis_splits_groups[a]) continue;
    const part shared = groups_within(groups, a);
    typename tape_type::shared_sums level{
        a,
        staged<matrix>(matrix(sums.data() + static_cast<std::size_t>(shared.begin) * sums.extent(1),
                              static_cast<std::size_t>(shared.count), sums.extent(1)),
                       mesh_.along(a)),
        {}};
    for (int r = 0; r < mesh_.extent(a); ++r) level.counts.push_back(part_of(shared.count, mesh_.extent(a), r).count);
    t.group_sums.push_back(std::move(level));
    most = std::max(most, mesh_.extent(a));
  }
  if (t.sums == gradient_sums::by_caller || canonical()) return;
  const std::size_t summed = detail::reduced_size(config_, experts_here(), d_ff_here(), layout::experts_summed);
  t.reduced = staged<vector>(vector("switchyard::reduced", summed), mesh_.world());
  t.reduce_scratch =
      staged<vector>(vector("switchyard::reduce_scratch", summed + static_cast<std::size_t>(most)), mesh_.world());
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/combine/combine.hpp>
#include <switchyard/dispatch/columns.hpp>
#include <switchyard/dispatch/exchange.hpp>
#include <switchyard/experts/ffn.hpp>
#include <switchyard/layer/canonical.hpp>
#include <switchyard/layer/detail/checks.hpp>
#include <switchyard/layer/parameters.hpp>
#include <switchyard/router/router.hpp>

namespace switchyard {

/// How one forward pass runs.
template <class Space>
struct forward_options {
  bool training = true;   ///< jitter, dropout and sampling act; capacity_factor, not eval_capacity_factor
  std::uint32_t step = 0; ///< keys the random draws, with layer
  std::uint16_t layer = 0;
  Kokkos::View<const float**, Kokkos::LayoutRight, Space>
      mask{}; ///< [group, token] here; real iff > 0; empty: all real
};

struct backward_options {
  bool accumulate = false; ///< gradients += instead of =
  double loss_scale = 1;   ///< factor of the auxiliary losses in the gradient
};

/// Who adds up, over the ranks, the gradients of parameters that are replicated where the groups are split.
enum class gradient_sums : std::uint8_t {
  by_layer, ///< every backward
  by_caller ///< nobody in here: backward leaves this rank's part, and several backwards may add to it before one sum
};

/// All that a forward leaves for its backward, and all memory that either needs. Made by switch_layer::make_tape; one
/// tape per pass in flight. It keeps shallow references to x and the mask: leave them alone until the backward is done.
template <class Exec, precision P, bool Exchanged>
struct switch_tape {
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using real = typename P::router_type;
  using gradient = typename P::gradient_type;
  template <class T>
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, space>;
  template <class T>
  using vector = Kokkos::View<T*, space>;

  router::problem size;
  std::array<detail::fact, 14> made_for; // the layer's numbers: forward and backward refuse a tape of another one
  int choices = 1;
  bool compact = false; // an exchange of the rows in use, dropless, not of padded blocks
  gradient_sums sums = gradient_sums::by_layer;

  // of the pass in flight
  router::settings set;
  router::input_noise noise;
  experts::ffn_settings ffn;
  router::padding<space> pad;
  matrix<const value> x; // [T, M]
  bool forward_done = false;

  router::decision<real, space> decision;
  router::slot_scratch<real, space> slots;
  router::statistics<real, space> statistics;
  /// The rows of statistics.sums that the ranks along one axis share, and how many of them each has.
  struct shared_sums {
    std::size_t axis = 0;
    staged<matrix<real>> rows;
    std::vector<std::int64_t> counts;
  };
  std::vector<shared_sums> group_sums; // the innermost axis that splits groups first
  matrix<real> scaled_input;           // [T, M] x~, only where jitter or input dropout is configured
  vector<std::int64_t> all_tokens;     // {0, T}: the router's one group of rows

  dispatch::assignment<space> assignment;
  dispatch::exchange<value, space> exchange;           // where experts are split
  std::vector<experts::ffn_tape<value, space>> hidden; // one; canonical, of each piece of the hidden layers here
  matrix<value> output;                                // [rows, M] o, compact; with an exchange it lives there
  matrix<value> row_gradient;                          // [rows, M] do, then
  matrix<value> row_input_gradient;                    // [rows, M] dX
  matrix<real> dq, dh;                                 // [T, K], [T, E]

  // where d_ff is split: with an exchange, y and dx by columns, and the sum of dq; without, output and
  // row_input_gradient as they are summed
  dispatch::columns<value, space> columns;
  staged<vector<real>> dq_sum, dq_scratch;
  staged<vector<value>> output_sum, input_gradient_sum, row_scratch;

  // sums over ranks, only where a parameter is replicated over an axis that splits the groups
  staged<vector<gradient>> reduced, reduce_scratch;

  canonical_sums<value, real, gradient, space> canonical; // empty where they are off

  Kokkos::View<double*, Kokkos::HostSpace> summary;

  std::int64_t tokens() const { return size.groups * size.tokens; }

  /// How often a dropless pass has found more rows than there was room for. Without an exchange there always is room.
  std::int64_t grown() const { return exchange.grown(); }

  dispatch::slot_map<space> map() const {
    return {assignment.group_offset, size.groups, set.capacity, Exchanged && !compact};
  }
  matrix<value> combined_rows() const {
    if constexpr (Exchanged)
      return exchange.token_output();
    else
      return output;
  }
};

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/dispatch/detail/exchange_kernels.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/mesh.hpp>

/// \file
/// The exchange: slots travel between the ranks that hold their tokens and the ranks that hold their experts.
///
///   token side   [E, groups here, C, M]                        S<group>  on the axis
///   expert side  [E here, G, C, M], stored source by source    S<experts> on the axis
///
/// An all-to-all moves whole padded blocks, so its bytes are known beforehand; the counts of filled slots go with it,
/// and only those rows are ever computed with. The rows of an expert are ordered by (global group, position), as on one
/// rank: what they compute has the same bytes under every layout.

namespace switchyard::dispatch {

template <class T, class Space>
class exchange {
 public:
  using buffer = Kokkos::View<T**, Kokkos::LayoutRight, Space>; // [slots, M]

  exchange() = default;

  /// Collective only in that every rank along the axis makes one. Allocates, for capacities up to max_capacity.
  exchange(const communicator& along, const router::problem& size, std::int64_t d_model, std::int64_t max_capacity)
      : along_(along), size_(size), experts_(part_of(size.experts, along.size(), along.rank())), d_model_(d_model) {
    const auto slots_out = static_cast<std::size_t>(size.experts * size.groups * max_capacity);
    const auto slots_in = static_cast<std::size_t>(experts_.count * size.groups_total * max_capacity);
    const auto make = [&](const char* what, std::size_t slots) {
      return staged<buffer>(
          buffer(std::string("switchyard::dispatch::") + what, slots, static_cast<std::size_t>(d_model)));
    };
    token_scratch_ = make("token_scratch", slots_out);
    token_output_ = make("token_output", slots_out);
    expert_input_ = make("expert_input", slots_in);
    expert_gradient_ = make("expert_gradient", slots_in);
    expert_scratch_ = make("expert_scratch", slots_in);
    filled_out_ = staged<counts>(
        counts("switchyard::dispatch::filled_out", static_cast<std::size_t>(size.experts * size.groups)));
    filled_in_ = staged<counts>(
        counts("switchyard::dispatch::filled_in", static_cast<std::size_t>(experts_.count * size.groups_total)));
    block_ = list("switchyard::dispatch::block", static_cast<std::size_t>(size.groups_total));
    stride_ = list("switchyard::dispatch::stride", static_cast<std::size_t>(size.groups_total));
    expert_offset_ = list("switchyard::dispatch::expert_offset", static_cast<std::size_t>(experts_.count + 1));
    group_offset_ =
        list("switchyard::dispatch::group_offset", static_cast<std::size_t>(experts_.count * size.groups_total + 1));
    place_ = list("switchyard::dispatch::place", slots_in);
    slot_ = list("switchyard::dispatch::slot", slots_in);
    number_blocks();
  }

  part experts() const { return experts_; }
  buffer token_scratch() const { return token_scratch_.view(); }
  buffer token_output() const { return token_output_.view(); }
  buffer expert_input() const { return expert_input_.view(); }
  buffer expert_gradient() const { return expert_gradient_.view(); }
  buffer expert_scratch() const { return expert_scratch_.view(); }

  gemm::row_groups<Space> groups(std::int64_t capacity) const {
    return {expert_offset_, experts_.count * size_.groups_total * capacity};
  }
  gemm::index_view<Space> place() const { return place_; } // row -> slot of the expert side's buffers
  gemm::index_view<Space> slot() const { return slot_; }   // row -> global slot

  /// filled [groups, E] of the token side -> row lists of the expert side. Communicates: one all-to-all of counts.
  template <class Exec>
  void list_rows(const Exec& exec, const Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Space>& filled,
                 std::int64_t capacity) {
    using policy = Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>;
    Kokkos::parallel_for("switchyard::dispatch::transpose_counts", policy(exec, 0, size_.experts * size_.groups),
                         detail::transpose_kernel<Space>{size_.groups, filled, filled_out_.view()});
    count_slots(1);
    all_to_all(exec, along_, filled_out_, out_, filled_in_, in_, 1);
    Kokkos::parallel_scan("switchyard::dispatch::arrived_offset", policy(exec, 0, experts_.count * size_.groups_total),
                          detail::arrived_offset_kernel<Space>{size_.groups_total, filled_in_.view(), block_, stride_,
                                                               group_offset_, expert_offset_});
    Kokkos::parallel_for("switchyard::dispatch::arrived_rows", policy(exec, 0, experts_.count * size_.groups_total),
                         detail::arrived_row_kernel<Space>{size_.groups_total, experts_.begin, capacity,
                                                           filled_in_.view(), block_, stride_, group_offset_, place_,
                                                           slot_});
  }

  /// Forward: token_scratch -> expert_input, expert_scratch -> token_output.
  template <class Exec>
  void send_tokens(const Exec& exec, std::int64_t capacity) {
    to_experts(exec, expert_input_, capacity);
  }
  template <class Exec>
  void return_outputs(const Exec& exec, std::int64_t capacity) {
    to_tokens(exec, token_output_, capacity);
  }
  /// Backward, their transposes: token_scratch -> expert_gradient, expert_scratch -> token_scratch.
  template <class Exec>
  void send_gradients(const Exec& exec, std::int64_t capacity) {
    to_experts(exec, expert_gradient_, capacity);
  }
  template <class Exec>
  void return_gradients(const Exec& exec, std::int64_t capacity) {
    to_tokens(exec, token_scratch_, capacity);
  }

 private:
  using list = Kokkos::View<std::int64_t*, Space>;
  using counts = Kokkos::View<std::int32_t*, Space>;

  template <class Exec>
  void to_experts(const Exec& exec, const staged<buffer>& arriving, std::int64_t capacity) {
    count_slots(capacity);
    all_to_all(exec, along_, token_scratch_, out_, arriving, in_, d_model_);
  }
  template <class Exec>
  void to_tokens(const Exec& exec, const staged<buffer>& arriving, std::int64_t capacity) {
    count_slots(capacity);
    all_to_all(exec, along_, expert_scratch_, in_, arriving, out_, d_model_);
  }

  /// Blocks of `each` slots to and from every rank along the axis.
  void count_slots(std::int64_t each) {
    const int ranks = along_.size();
    out_.resize(static_cast<std::size_t>(ranks));
    in_.resize(static_cast<std::size_t>(ranks));
    for (int r = 0; r < ranks; ++r) {
      out_[static_cast<std::size_t>(r)] = part_of(size_.experts, ranks, r).count * size_.groups * each;
      in_[static_cast<std::size_t>(r)] = experts_.count * part_of(size_.groups_total, ranks, r).count * each;
    }
  }

  /// Block (expert e here, group g) of the expert side is number block_(g) + e * stride_(g).
  void number_blocks() {
    auto block = Kokkos::create_mirror_view(block_);
    auto stride = Kokkos::create_mirror_view(stride_);
    for (int r = 0; r < along_.size(); ++r) {
      const part groups = part_of(size_.groups_total, along_.size(), r);
      for (std::int64_t g = 0; g < groups.count; ++g) {
        block(static_cast<std::size_t>(groups.begin + g)) = experts_.count * groups.begin + g;
        stride(static_cast<std::size_t>(groups.begin + g)) = groups.count;
      }
    }
    Kokkos::deep_copy(block_, block);
    Kokkos::deep_copy(stride_, stride);
  }

  communicator along_ = self();
  router::problem size_;
  part experts_;
  std::int64_t d_model_ = 0;
  staged<buffer> token_scratch_, token_output_, expert_input_, expert_gradient_, expert_scratch_;
  staged<counts> filled_out_, filled_in_;
  list block_, stride_, expert_offset_, group_offset_, place_, slot_;
  std::vector<std::int64_t> out_, in_; // slots to and from each rank
};

/// x [T, M] -> the token side's blocks.
template <class Exec, class T, class Real, class Space>
void fill_blocks(const Exec& exec, const router::problem& size, const router::settings& set,
                 const router::decision<Real, Space>& d, const slot_map<Space>& map,
                 const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
                 const Kokkos::View<T**, Kokkos::LayoutRight, Space>& blocks) {
  Kokkos::parallel_for("switchyard::dispatch::fill_blocks",
                       Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, size.groups * size.tokens),
                       detail::fill_kernel<T, Real, Space>{size, set, d, map, x, blocks});
}

} // namespace switchyard::dispatch

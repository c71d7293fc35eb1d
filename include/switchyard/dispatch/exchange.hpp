// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/dispatch/chunks.hpp>
#include <switchyard/dispatch/columns.hpp>
#include <switchyard/dispatch/detail/slot_rows.hpp>

/// \file
/// The exchange: slots travel between the ranks that hold their tokens and the ranks that hold their experts.
///
///   token side   [E, groups here, C, M here]                  S<group>  on the axis
///   expert side  [E here, G, C, M], stored source by source   S<experts> on the axis
///
/// With capacity, an all-to-all moves whole padded blocks, so its bytes are known beforehand; the counts of filled
/// slots go with it, and only those rows are ever computed with. Dropless, the counts go first and then the rows in use
/// alone. The rows of an expert are ordered by (global group, position), as on one rank: what they compute has the same
/// bytes under every layout.
///
/// In chunks, the experts here are cut, and what belongs to a chunk travels by itself: while one is under way, another
/// one is worked on. Rows, places and bytes are those of the exchange at once.
///
/// Where a second axis splits the experts' hidden layer, its ranks hold the same tokens. Each sends M / ranks columns
/// of the slots; on the expert side they gather them, and they scatter the sum of what the experts made of them.

namespace switchyard::dispatch {

/// What an exchange is made for.
struct exchange_extents {
  router::problem size;          ///< the tokens here
  part groups;                   ///< of all ranks along the axis
  std::int64_t d_model = 0;      ///< M
  std::int64_t max_capacity = 0; ///< C at most
  int choices = 1;               ///< K
  bool dropless = false;
  std::int64_t chunks = 1; ///< at most
};

template <class T, class Space>
class exchange {
 public:
  using flat = Kokkos::View<T*, Space>;
  using buffer = Kokkos::View<T**, Kokkos::LayoutRight, Space>; // [slots, M] or [slots, M here]

  exchange() = default;

  /// Collective only in that every rank along both axes makes one. Allocates all that it needs with capacity; dropless,
  /// the expert side has room for an equal share of the tokens at first, and grows.
  exchange(const communicator& along, const communicator& model, const exchange_extents& n)
      : along_(along), n_(n), experts_(part_of(n.size.experts, along.size(), along.rank())),
        columns_(model, n.d_model, along) {
    const std::int64_t here = n.size.groups, all = n.groups.count;
    token_slots_ = n.size.experts * here * n.max_capacity;
    if (n.dropless) token_slots_ = std::min(token_slots_, here * n.size.tokens * n.choices);
    token_scratch_ = make("token_scratch", token_slots_ * columns_.width());
    token_output_ = make("token_output", token_slots_ * columns_.width());
    filled_out_ =
        staged<counts>(counts("switchyard::dispatch::filled_out", static_cast<std::size_t>(n.size.experts * here)));
    filled_in_ =
        staged<counts>(counts("switchyard::dispatch::filled_in", static_cast<std::size_t>(experts_.count * all)));
    block_ = list("switchyard::dispatch::block", static_cast<std::size_t>(all));
    stride_ = list("switchyard::dispatch::stride", static_cast<std::size_t>(all));
    if (n.dropless)
      first_slot_ = list("switchyard::dispatch::first_slot", static_cast<std::size_t>(experts_.count * all));
    expert_offset_ = list("switchyard::dispatch::expert_offset", static_cast<std::size_t>(experts_.count + 1));
    group_offset_ = list("switchyard::dispatch::group_offset", static_cast<std::size_t>(experts_.count * all + 1));
    const auto ranks = static_cast<std::size_t>(along.size());
    for (auto* v : {&out_, &in_, &counts_out_, &counts_in_}) v->resize(ranks);
    number_blocks();
    if (!columns_.cut()) // columns are gathered of all slots at once
      chunks_ = exchange_chunks<Space>(along, n.size.experts, n.groups, n.chunks);
    reserve(n.dropless ? (all * n.size.tokens * n.choices * experts_.count + n.size.experts - 1) / n.size.experts
                       : experts_.count * all * n.max_capacity);
    grown_ = 0;
  }

  part experts() const { return experts_; }
  std::int64_t first_column() const { return columns_.first(); } ///< of the token side's buffers
  buffer token_scratch() const { return token_side(token_scratch_); }
  buffer token_output() const { return token_side(token_output_); }
  const buffer& expert_input() const { return expert_input_; }
  const buffer& expert_gradient() const { return expert_gradient_; }
  const buffer& expert_scratch() const { return expert_scratch_; }

  gemm::row_groups<Space> groups() const { return {expert_offset_, slots_in_}; }
  gemm::index_view<Space> place() const { return place_; } // row -> slot of the expert side's buffers
  gemm::index_view<Space> slot() const { return slot_; }   // row -> global slot
  /// First row of (expert here, group of those along the axis); one more at the end.
  gemm::index_view<Space> group_offset() const { return group_offset_; }
  /// Does it go in more than one piece? Then tokens_through and gradients_through, and nothing else, move the slots.
  bool in_chunks() const { return chunks_.several(); }
  gemm::row_groups<Space> groups(const exchange_chunk& c) const { return chunks_.groups(c); }
  std::int64_t reserved() const { return reserved_; } ///< slots that the expert side has room for
  std::int64_t grown() const { return grown_; }       ///< how often it had to grow

  /// Slots that this pass sends to each rank along the axis, and gets from it.
  const std::vector<std::int64_t>& sent() const { return out_; }
  const std::vector<std::int64_t>& arrived() const { return in_; }

  /// filled [groups, E] of the token side -> row lists of the expert side. Communicates: one all-to-all of counts.
  /// Dropless, waits for them, and allocates where more rows arrive than ever before.
  template <class Exec>
  void list_rows(const Exec& exec, const Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Space>& filled,
                 std::int64_t capacity) {
    const std::int64_t here = n_.size.groups, all = n_.groups.count;
    for_each_index("switchyard::dispatch::transpose_counts", exec, n_.size.experts * here,
                   detail::transpose_kernel<Space>{here, filled, filled_out_.view()});
    count_blocks(1, counts_out_, counts_in_);
    all_to_all(exec, along_, filled_out_, counts_out_, filled_in_, counts_in_, 1);
    if (n_.dropless)
      count_rows();
    else
      count_blocks(capacity, out_, in_);
    slots_in_ = 0;
    for (const std::int64_t n : in_) slots_in_ += n;
    reserve(slots_in_);
    Kokkos::parallel_scan("switchyard::dispatch::first_slot",
                          indices(exec, static_cast<std::int64_t>(first_slot_.extent(0))),
                          detail::first_slot_kernel<Space>{filled_in_.view(), first_slot_});
    Kokkos::parallel_scan(
        "switchyard::dispatch::arrived_offset", indices(exec, experts_.count * all),
        detail::arrived_offset_kernel<Space>{all, filled_in_.view(), block_, stride_, group_offset_, expert_offset_});
    for_each_index("switchyard::dispatch::arrived_rows", exec, experts_.count * all,
                   detail::arrived_row_kernel<Space>{n_.groups, n_.size.groups_total, experts_.begin, capacity,
                                                     filled_in_.view(), block_, stride_, first_slot_, group_offset_,
                                                     place_, slot_});
    if (in_chunks())
      chunks_.cut(exec, filled_out_.wire(), filled_in_.wire(), n_.dropless ? nullptr : &capacity, expert_offset_);
  }

  /// In chunks: token_scratch -> expert_input, work(chunk), expert_scratch -> token_output. All chunks set out at once,
  /// each returns as soon as it is worked on. Communicates two all-to-alls per chunk, in the same order on all ranks.
  template <class Exec, class Work>
  void tokens_through(const Exec& exec, const Work& work) {
    through(exec, input_, token_output_, work, [] {});
  }
  /// token_scratch -> expert_gradient, work(chunk), expert_scratch -> token_scratch, with meanwhile() behind the last
  /// ones on their way back.
  template <class Exec, class Work, class Meanwhile>
  void gradients_through(const Exec& exec, const Work& work, const Meanwhile& meanwhile) {
    through(exec, gradient_, token_scratch_, work, meanwhile);
  }

  /// Forward: token_scratch -> expert_input, expert_scratch -> token_output. Each is one all-to-all, and over the
  /// second axis one all-gather on the way there and one reduce-scatter on the way back; `summed`: none, expert_scratch
  /// is the sum on every rank.
  template <class Exec>
  void send_tokens(const Exec& exec) {
    to_experts(exec, input_, expert_input_);
  }
  template <class Exec>
  void return_outputs(const Exec& exec, bool summed = false) {
    to_tokens(exec, token_output_, summed);
  }
  /// Backward, their transposes: token_scratch -> expert_gradient, expert_scratch -> token_scratch.
  template <class Exec>
  void send_gradients(const Exec& exec) {
    to_experts(exec, gradient_, expert_gradient_);
  }
  template <class Exec>
  void return_gradients(const Exec& exec, bool summed = false) {
    to_tokens(exec, token_scratch_, summed);
  }

 private:
  using list = Kokkos::View<std::int64_t*, Space>;
  using counts = Kokkos::View<std::int32_t*, Space>;

  staged<flat> make(const char* what, std::int64_t elements) const {
    return staged<flat>(flat(std::string("switchyard::dispatch::") + what, static_cast<std::size_t>(elements)), along_);
  }
  buffer token_side(const staged<flat>& values) const { return as_matrix(values, token_slots_, columns_.width()); }
  static buffer as_matrix(const staged<flat>& values, std::int64_t rows, std::int64_t width) {
    return buffer(values.view().data(), static_cast<std::size_t>(rows), static_cast<std::size_t>(width));
  }

  /// Where the columns are whole, the expert side's buffers are what travels; where they are cut, their columns are.
  void reserve(std::int64_t slots) {
    if (slots <= reserved_) return;
    input_ = gradient_ = scratch_ = {};
    place_ = slot_ = {};
    input_ = make("expert_input", slots * n_.d_model);
    gradient_ = make("expert_gradient", slots * n_.d_model);
    scratch_ = make("expert_scratch", slots * n_.d_model);
    expert_input_ = as_matrix(input_, slots, n_.d_model);
    expert_gradient_ = as_matrix(gradient_, slots, n_.d_model);
    expert_scratch_ = as_matrix(scratch_, slots, n_.d_model);
    place_ = list("switchyard::dispatch::place", static_cast<std::size_t>(slots));
    slot_ = list("switchyard::dispatch::slot", static_cast<std::size_t>(slots));
    columns_.reserve(slots);
    reserved_ = slots;
    ++grown_;
  }

  template <class Exec>
  void to_experts(const Exec& exec, const staged<flat>& arriving, const buffer& whole) {
    all_to_all(exec, along_, token_scratch_, out_, columns_.cut() ? columns_.mine(slots_in_) : arriving, in_,
               columns_.width());
    if (columns_.cut()) columns_.gather(exec, slots_in_, whole, expert_offset_, place_);
  }
  template <class Exec>
  void to_tokens(const Exec& exec, const staged<flat>& arriving, bool summed) {
    if (columns_.cut() && summed) columns_.take(exec, slots_in_, expert_scratch_, expert_offset_, place_);
    if (columns_.cut() && !summed) columns_.scatter_sum(exec, slots_in_, expert_scratch_, expert_offset_, place_);
    all_to_all(exec, along_, columns_.cut() ? columns_.mine(slots_in_) : scratch_, in_, arriving, out_,
               columns_.width());
  }

  template <class Exec, class Work, class Meanwhile>
  void through(const Exec& exec, const staged<flat>& arriving, const staged<flat>& returning, const Work& work,
               const Meanwhile& meanwhile) {
    std::vector<started<flat>> there, back;
    there.reserve(chunks_.all().size());
    back.reserve(chunks_.all().size());
    for (const exchange_chunk& c : chunks_.all())
      there.push_back(start_all_to_all(exec, along_, token_scratch_, c.out, arriving, c.in, columns_.width()));
    for (const exchange_chunk& c : chunks_.all()) {
      there[c.number].wait(exec); // then its slots on the token side may be written
      work(c);
      back.push_back(start_all_to_all(exec, along_, scratch_, c.in, returning, c.out, columns_.width()));
    }
    meanwhile();
    for (auto& b : back) b.wait(exec);
  }

  /// Blocks of `each` slots to and from every rank along the axis.
  void count_blocks(std::int64_t each, std::vector<std::int64_t>& out, std::vector<std::int64_t>& in) const {
    for (int r = 0; r < along_.size(); ++r) {
      const auto at = static_cast<std::size_t>(r);
      out[at] = part_of(n_.size.experts, along_.size(), r).count * n_.size.groups * each;
      in[at] = experts_.count * part_of(n_.groups.count, along_.size(), r).count * each;
    }
  }
  /// The same of the rows in use, from the counts that the host has just sent and received.
  void count_rows() {
    const auto sum = [](const std::int32_t* first, std::int64_t n) {
      std::int64_t total = 0;
      for (std::int64_t i = 0; i < n; ++i) total += first[i];
      return total;
    };
    const std::int32_t *out = filled_out_.wire(), *in = filled_in_.wire();
    for (std::size_t r = 0; r < out_.size(); ++r) {
      out_[r] = sum(out, counts_out_[r]);
      in_[r] = sum(in, counts_in_[r]);
      out += counts_out_[r];
      in += counts_in_[r];
    }
  }

  /// Block (expert e here, group g of those along the axis) of the expert side is number block_(g) + e * stride_(g).
  void number_blocks() {
    auto block = Kokkos::create_mirror_view(block_);
    auto stride = Kokkos::create_mirror_view(stride_);
    for (int r = 0; r < along_.size(); ++r) {
      const part groups = part_of(n_.groups.count, along_.size(), r);
      for (std::int64_t g = 0; g < groups.count; ++g) {
        block(static_cast<std::size_t>(groups.begin + g)) = experts_.count * groups.begin + g;
        stride(static_cast<std::size_t>(groups.begin + g)) = groups.count;
      }
    }
    Kokkos::deep_copy(block_, block);
    Kokkos::deep_copy(stride_, stride);
  }

  communicator along_ = self();
  exchange_extents n_;
  part experts_;
  columns<T, Space> columns_;
  std::int64_t token_slots_ = 0, slots_in_ = 0, reserved_ = -1, grown_ = 0;
  staged<flat> token_scratch_, token_output_, input_, gradient_, scratch_;
  buffer expert_input_, expert_gradient_, expert_scratch_;
  staged<counts> filled_out_, filled_in_;
  list block_, stride_, first_slot_, expert_offset_, group_offset_, place_, slot_;
  exchange_chunks<Space> chunks_;
  std::vector<std::int64_t> out_, in_, counts_out_, counts_in_; // slots, and counts, to and from each rank
};

/// x [T, M], its columns from `first` -> the token side's slots.
template <class Exec, class T, class Real, class Space>
void fill_blocks(const Exec& exec, const router::problem& size, const router::settings& set,
                 const router::decision<Real, Space>& d, const slot_map<Space>& map,
                 const Kokkos::View<const T**, Kokkos::LayoutRight, Space>& x,
                 const Kokkos::View<T**, Kokkos::LayoutRight, Space>& blocks, std::int64_t first = 0) {
  if constexpr (gpu_space<Exec>) {
    const auto run = [&]<int N>(std::integral_constant<int, N>) {
      gpu::for_each_warp("switchyard::dispatch::fill_blocks", exec, size.groups * size.tokens,
                         detail::fill_rows<T, Real, Space, N>{{size, set, d, map}, x, blocks, first});
    };
    return gpu::in_wide_pieces(x, first) && gpu::in_wide_pieces(blocks) ? run(gpu::pieces<T>())
                                                                        : run(gpu::pieces_of_one());
  } else {
    for_each_index("switchyard::dispatch::fill_blocks", exec, size.groups * size.tokens,
                   detail::fill_kernel<T, Real, Space>{size, set, d, map, x, blocks, first});
  }
}

} // namespace switchyard::dispatch

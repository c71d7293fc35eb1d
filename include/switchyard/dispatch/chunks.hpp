// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/dispatch/detail/exchange_kernels.hpp>
#include <switchyard/gemm/rows.hpp>
#include <switchyard/mesh/collectives.hpp>

/// \file
/// An exchange in chunks: the experts of every rank are cut, and what belongs to a chunk travels by itself. Rows and
/// places are those of the exchange at once. Slots lie in the order (rank, expert there, group) on both sides, so those
/// of consecutive experts of a rank are in a row.

namespace switchyard::dispatch {

/// What belongs to some of the experts here.
struct exchange_chunk {
  std::size_t number = 0;
  part rows;         ///< of the expert side
  some_rows out, in; ///< slots of the token side, to each rank; of the expert side, from each rank
};

template <class Space>
class exchange_chunks {
 public:
  exchange_chunks() = default;
  /// For the experts and groups of all ranks along the axis: at most `most` chunks, no more than a rank has experts;
  /// as many on every rank. Allocates.
  exchange_chunks(const communicator& along, std::int64_t experts, part groups, std::int64_t most) {
    const int ranks = along.size();
    for (int r = 0; r < ranks; ++r) {
      experts_.push_back(part_of(experts, ranks, r).count);
      groups_.push_back(part_of(groups.count, ranks, r).count);
    }
    here_ = static_cast<std::size_t>(along.rank());
    all_.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(experts_[0], 1, most)));
    for (std::size_t c = 0; c < all_.size(); ++c) {
      all_[c].number = c;
      for (auto* v : {&all_[c].out.counts, &all_[c].out.begins, &all_[c].in.counts, &all_[c].in.begins})
        v->resize(static_cast<std::size_t>(ranks));
    }
    if (several()) offset_ = offsets("switchyard::dispatch::chunk_offset", all_.size() * offsets_of_one());
  }

  bool several() const { return all_.size() > 1; }
  const std::vector<exchange_chunk>& all() const { return all_; }

  /// The rows of one chunk: all experts here, those of other chunks without rows.
  gemm::row_groups<Space> groups(const exchange_chunk& c) const {
    const std::size_t n = offsets_of_one();
    return {Kokkos::subview(offset_, std::pair(c.number * n, (c.number + 1) * n)), c.rows.count};
  }

  /// Those of a pass, from the slots in use of every block: out [experts, groups here] of the token side, in [experts
  /// here, groups] rank by rank, and the row offsets of the experts here. Blocks have `capacity` slots each, or, for
  /// none, those in use. Allocates nothing.
  template <class Exec>
  void cut(const Exec& exec, const std::int32_t* out, const std::int32_t* in, const std::int64_t* capacity,
           const gemm::index_view<Space>& expert_offset) {
    const auto slots = [&](const std::int32_t* filled, std::int64_t blocks) {
      return capacity != nullptr ? blocks * *capacity : sum(filled, blocks);
    };
    const auto pieces = static_cast<std::int64_t>(all_.size());
    for (exchange_chunk& c : all_) c.rows = {0, 0};
    std::int64_t out_begin = 0, in_begin = 0;
    for (std::size_t r = 0; r < experts_.size(); ++r)
      for (exchange_chunk& c : all_) {
        const auto number = static_cast<std::int64_t>(c.number);
        const std::int64_t sent = part_of(experts_[r], pieces, number).count * groups_[here_];
        const std::int64_t arrived = part_of(experts_[here_], pieces, number).count * groups_[r];
        c.out.counts[r] = slots(out, sent);
        c.in.counts[r] = slots(in, arrived);
        c.out.begins[r] = out_begin;
        c.in.begins[r] = in_begin;
        c.rows.count += sum(in, arrived);
        out += sent;
        in += arrived;
        out_begin += c.out.counts[r];
        in_begin += c.in.counts[r];
      }
    for (std::size_t c = 1; c < all_.size(); ++c) all_[c].rows.begin = all_[c - 1].rows.begin + all_[c - 1].rows.count;
    for_each_index("switchyard::dispatch::chunk_offset", exec, static_cast<std::int64_t>(offset_.extent(0)),
                   detail::chunk_offset_kernel<Space>{experts_[here_], pieces, expert_offset, offset_});
  }

 private:
  using offsets = Kokkos::View<std::int64_t*, Space>;

  std::size_t offsets_of_one() const { return static_cast<std::size_t>(experts_[here_] + 1); }
  static std::int64_t sum(const std::int32_t* first, std::int64_t n) {
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < n; ++i) total += first[i];
    return total;
  }

  std::vector<std::int64_t> experts_, groups_; // of each rank along the axis
  std::size_t here_ = 0;
  std::vector<exchange_chunk> all_;
  offsets offset_;
};

} // namespace switchyard::dispatch

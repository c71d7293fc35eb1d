// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <optional>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/mesh/exchanges.hpp>
#include <switchyard/mesh/mesh.hpp>

/// \file
/// Collectives on Kokkos views, of any memory space: the exchanges, and sums that are made of them. Every rank calls
/// them, always, whatever it holds.

namespace switchyard {

namespace detail {
/// Sums are carried out in float (double for double) in the order of the ranks and rounded once.
template <storage_type T, class Space>
struct add_parts {
  using acc = accumulate_t<T>;
  /// Elements that one call adds: plain loops over many on the host, one on devices.
  static constexpr int block = std::is_same_v<Space, Kokkos::HostSpace> ? 2048 : 1;
  Kokkos::View<const T*, Space> parts; // [ranks, mine], that of this rank left out
  Kokkos::View<const T*, Space> own;   // [mine]; its memory may be that of the sum
  Kokkos::View<T*, Space> sum;         // [>= begin + mine]
  std::int64_t ranks, rank, mine, begin;

  std::int64_t calls() const { return (mine + block - 1) / block; }
  KOKKOS_FUNCTION void operator()(std::int64_t call) const {
    in_vector_code([&] {
      const std::int64_t first = call * block;
      const int n = static_cast<int>(mine - first < block ? mine - first : block);
      const auto part_of_rank = [&](std::int64_t r) {
        return r == rank ? own.data() + first : parts.data() + (r * mine + first);
      };
      const T* from = part_of_rank(0);
      const T* const next = ranks > 1 ? part_of_rank(1) : nullptr;
      acc total[block]; // `sum` may be `own`, so nothing is written there before all is read
      if (next == nullptr)
        for (int i = 0; i < n; ++i) total[i] = static_cast<acc>(from[i]);
      else
        for (int i = 0; i < n; ++i) total[i] = static_cast<acc>(from[i]) + static_cast<acc>(next[i]);
      for (std::int64_t r = 2; r < ranks; ++r) {
        from = part_of_rank(r);
        for (int i = 0; i < n; ++i) total[i] += static_cast<acc>(from[i]);
      }
      T* const to = sum.data() + begin + first;
      for (int i = 0; i < n; ++i) to[i] = static_cast<T>(total[i]);
    });
  }
};

/// The exchange under a sum: part r of everybody's data goes to rank r, or of each part piece k of `pieces`. What this
/// rank has of its own part stays where it is.
struct parts_exchange {
  some_rows out, in;
  part own;        ///< elements of this rank's part that this is about
  std::int64_t at; ///< where they arrive: [ranks, own.count] elements from there on, at the two ends by turns

  parts_exchange(const communicator& comm, const std::vector<std::int64_t>& counts, int pieces = 1, int k = 0)
      : out(all_rows(counts)) {
    const auto here = static_cast<std::size_t>(comm.rank());
    own = part_of(counts[here], pieces, k);
    at = k % 2 == 0 ? 0 : comm.size() * (counts[here] - own.count);
    in.counts.assign(counts.size(), own.count);
    for (std::size_t r = 0; r < counts.size(); ++r) {
      const part piece = part_of(counts[r], pieces, k);
      out.begins[r] += piece.begin;
      out.counts[r] = piece.count;
      in.begins.push_back(at + static_cast<std::int64_t>(r) * own.count);
    }
    out.counts[here] = in.counts[here] = 0;
  }
};

/// sum[begin ...) = this rank's part of data + what has arrived of it in scratch, or of one piece of that.
template <class Exec, class T, class Space>
void add_arrived(const Exec& exec, const communicator& comm, const staged<Kokkos::View<T*, Space>>& data,
                 const std::vector<std::int64_t>& counts, const staged<Kokkos::View<T*, Space>>& scratch,
                 const parts_exchange& parts, const Kokkos::View<T*, Space>& sum, std::int64_t begin) {
  const part own = parts.own;
  const std::int64_t first = first_unit(counts, nullptr, comm.rank());
  const add_parts<T, Space> add{scratch.part(parts.at, comm.size() * own.count).view(),
                                data.part(first + own.begin, own.count).view(),
                                sum,
                                comm.size(),
                                comm.rank(),
                                own.count,
                                begin + own.begin};
  for_each_index("switchyard::mesh::sum_parts", exec, add.calls(), add);
}

/// Large parts in pieces: one is added, still in the cache on the host, while the next is under way.
template <class Exec, class T, class Space>
void sum_parts(const Exec& exec, const communicator& comm, const staged<Kokkos::View<T*, Space>>& data,
               const std::vector<std::int64_t>& counts, const staged<Kokkos::View<T*, Space>>& scratch,
               const Kokkos::View<T*, Space>& sum, std::int64_t begin, collective kind) {
  constexpr std::int64_t bytes = std::int64_t{std::is_same_v<Space, Kokkos::HostSpace> ? 1 : 64} << 20;
  const std::int64_t largest = counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
  const int pieces = static_cast<int>(std::max<std::int64_t>(1, largest * std::int64_t{sizeof(T)} / bytes));
  const auto start = [&](const parts_exchange& parts) {
    return start_all_to_all(exec, comm, data, parts.out, scratch, parts.in, 1, kind);
  };
  parts_exchange now(comm, counts, pieces, 0);
  std::optional<started<Kokkos::View<T*, Space>>> under_way(start(now));
  for (int k = 1; k <= pieces; ++k) {
    const parts_exchange arrived = std::move(now);
    under_way->wait(exec);
    if (k < pieces) {
      now = parts_exchange(comm, counts, pieces, k);
      static_cast<void>(under_way.emplace(start(now)));
    }
    add_arrived(exec, comm, data, counts, scratch, arrived, sum, begin);
  }
}

/// How an all-reduce of so many elements is cut.
inline std::vector<std::int64_t> even_parts(std::int64_t elements, int ranks) {
  std::vector<std::int64_t> counts;
  for (int r = 0; r < ranks; ++r) counts.push_back(part_of(elements, ranks, r).count);
  return counts;
}

/// The first half of an all-reduce: this rank's part of data (=) the sum of everybody's.
template <class Exec, class T, class Space>
std::vector<std::int64_t> sum_own_part(const Exec& exec, const communicator& comm,
                                       const staged<Kokkos::View<T*, Space>>& data,
                                       const staged<Kokkos::View<T*, Space>>& scratch) {
  std::vector<std::int64_t> counts = even_parts(static_cast<std::int64_t>(data.view().extent(0)), comm.size());
  sum_parts(exec, comm, data, counts, scratch, data.view(), first_unit(counts, nullptr, comm.rank()),
            collective::all_reduce);
  return counts;
}
} // namespace detail

/// sum[0 .. counts[rank]) = the sum over the ranks of their part number `rank`; part r of data has counts[r] elements.
/// 16-bit values travel as such and are added in float; the order is that of the ranks. `scratch` has at least
/// ranks * counts[rank] elements. Parts of 2 MiB or more (128 in the memory of devices) go in pieces, one of which is
/// added while the next is under way. Waits for exec; allocates no view; the same bytes on every run.
template <class Exec, class T, class Space>
void reduce_scatter_sum(const Exec& exec, const communicator& comm, const staged<Kokkos::View<T*, Space>>& data,
                        const std::vector<std::int64_t>& counts, const staged<Kokkos::View<T*, Space>>& scratch,
                        const Kokkos::View<T*, Space>& sum) {
  detail::sum_parts(exec, comm, data, counts, scratch, sum, 0, collective::reduce_scatter);
}

/// data (=) its sum over the ranks, the same bytes on each of them: part r of every rank goes to rank r, which adds
/// them in rank order and hands the sum to all. As many bytes as a ring moves, and a fixed order; 16-bit values travel
/// as such and are added in float. `scratch` has at least size(data) + ranks elements. Waits for exec; allocates no
/// view.
template <class Exec, class T, class Space>
void all_reduce_sum(const Exec& exec, const communicator& comm, const staged<Kokkos::View<T*, Space>>& data,
                    const staged<Kokkos::View<T*, Space>>& scratch) {
  const std::vector<std::int64_t> counts = detail::sum_own_part(exec, comm, data, scratch);
  all_gather(exec, comm, data, counts, 1, collective::all_reduce);
}

} // namespace switchyard

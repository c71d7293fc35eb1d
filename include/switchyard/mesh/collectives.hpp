// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/mesh/communicator.hpp>

/// \file
/// Collectives on Kokkos views, of any memory space. Every rank calls them, always, whatever it holds.

namespace switchyard {

/// A view and its twin in host memory: the same memory where the host can reach it, a staging copy where not. The one
/// place that stages; allocated once, with the view.
template <class View>
class staged {
 public:
  staged() = default;
  explicit staged(const View& view) : view_(view), host_(Kokkos::create_mirror_view(view)) {}

  const View& view() const { return view_; }

  /// The values as the host may read them: waits for exec.
  template <class Exec>
  auto* to_host(const Exec& exec) const {
    if constexpr (!same_memory) Kokkos::deep_copy(exec, host_, view_);
    exec.fence("switchyard: the values must be complete before they are sent");
    return host_.data();
  }
  /// Where the host puts what arrives; from_host then brings it to the view.
  auto* host() const { return host_.data(); }
  template <class Exec>
  void from_host(const Exec& exec) const {
    if constexpr (!same_memory) Kokkos::deep_copy(exec, view_, host_);
  }

 private:
  static constexpr bool same_memory =
      Kokkos::SpaceAccessibility<Kokkos::HostSpace, typename View::memory_space>::accessible;
  View view_;
  decltype(Kokkos::create_mirror_view(std::declval<const View&>())) host_;
};

/// counts[r] rows of `row` elements go to rank r and come back as receive_counts[r]; buffers in rank order.
/// Waits for exec; allocates nothing.
template <class Exec, class View>
void all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                const std::vector<std::int64_t>& counts, const staged<View>& receive,
                const std::vector<std::int64_t>& receive_counts, std::int64_t row) {
  const auto* from = send.to_host(exec);
  comm.all_to_all(from, counts, receive.host(), receive_counts,
                  static_cast<std::size_t>(row) * sizeof(typename View::value_type));
  receive.from_host(exec);
}

/// Every rank's rows, in rank order; this rank's are already in their place. Waits for exec; allocates nothing.
template <class Exec, class View>
void all_gather(const Exec& exec, const communicator& comm, const staged<View>& data,
                const std::vector<std::int64_t>& counts, std::int64_t row) {
  auto* here = const_cast<typename View::non_const_value_type*>(data.to_host(exec));
  comm.all_gather(here, counts, static_cast<std::size_t>(row) * sizeof(typename View::value_type));
  data.from_host(exec);
}

namespace detail {
template <class T, class Space>
struct add_parts {
  Kokkos::View<const T*, Space> parts; // [ranks, mine]
  Kokkos::View<T*, Space> sum;         // [>= begin + mine]
  std::int64_t ranks, mine, begin;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    T total = parts(i);
    for (std::int64_t r = 1; r < ranks; ++r) total += parts(r * mine + i);
    sum(begin + i) = total;
  }
};
} // namespace detail

/// data (=) its sum over the ranks, the same bytes on each of them: part r of every rank goes to rank r, which adds
/// them in rank order and hands the sum to all. As many bytes as a ring moves, and a fixed order. `scratch` has at
/// least size(data) + ranks elements. Waits for exec; allocates nothing.
template <class Exec, class T>
void all_reduce_sum(const Exec& exec, const communicator& comm,
                    const staged<Kokkos::View<T*, typename Exec::memory_space>>& data,
                    const staged<Kokkos::View<T*, typename Exec::memory_space>>& scratch) {
  const int ranks = comm.size();
  const auto total = static_cast<std::int64_t>(data.view().extent(0));
  const std::int64_t each = total / ranks, more = total % ranks; // as part_of: the first ranks have one more
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks));
  std::int64_t begin = 0;
  for (int r = 0; r < ranks; ++r) {
    counts[static_cast<std::size_t>(r)] = each + (r < more ? 1 : 0);
    if (r < comm.rank()) begin += counts[static_cast<std::size_t>(r)];
  }
  const std::int64_t mine = counts[static_cast<std::size_t>(comm.rank())];
  const std::vector<std::int64_t> from_each(static_cast<std::size_t>(ranks), mine);
  all_to_all(exec, comm, data, counts, scratch, from_each, 1);
  Kokkos::parallel_for(
      "switchyard::all_reduce_sum", Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, mine),
      detail::add_parts<T, typename Exec::memory_space>{scratch.view(), data.view(), ranks, mine, begin});
  all_gather(exec, comm, data, counts, 1);
}

} // namespace switchyard

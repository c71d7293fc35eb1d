// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/core/vector_code.hpp>
#include <switchyard/mesh/mesh.hpp>

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

  /// Elements [begin, begin + count) of a row of values and of its twin, sharing their memory. Allocates nothing.
  staged part(std::int64_t begin, std::int64_t count) const requires(View::rank == 1) {
    const std::pair range(static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + count));
    staged some;
    some.view_ = Kokkos::subview(view_, range);
    some.host_ = Kokkos::subview(host_, range);
    return some;
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
                const std::vector<std::int64_t>& receive_counts, std::int64_t row,
                collective kind = collective::all_to_all) {
  const auto* from = send.to_host(exec);
  comm.all_to_all(from, counts, receive.host(), receive_counts,
                  static_cast<std::size_t>(row) * sizeof(typename View::value_type), kind);
  receive.from_host(exec);
}

/// Every rank's rows, in rank order; this rank's are already in their place. Waits for exec; allocates nothing.
template <class Exec, class View>
void all_gather(const Exec& exec, const communicator& comm, const staged<View>& data,
                const std::vector<std::int64_t>& counts, std::int64_t row, collective kind = collective::all_gather) {
  auto* here = const_cast<typename View::non_const_value_type*>(data.to_host(exec));
  comm.all_gather(here, counts, static_cast<std::size_t>(row) * sizeof(typename View::value_type), kind);
  data.from_host(exec);
}

/// An all_to_all under way. Holds its two views, so nothing goes away under it. Move-only; wait(exec) once, then the
/// rows are there. One that is destroyed before says so on stderr, keeps the views alive until the program ends, and
/// makes no collective call.
template <class View>
class [[nodiscard]] started {
 public:
  started(pending handle, const staged<View>& send, const staged<View>& receive)
      : started(std::move(handle), send, std::vector<staged<View>>{receive}) {}
  /// What arrives lies in parts of one view.
  started(pending handle, const staged<View>& send, std::vector<staged<View>> receive)
      : handle_(std::move(handle)), buffers_(std::make_unique<buffers>(buffers{send, std::move(receive)})) {}
  started(started&&) noexcept = default;
  started& operator=(started&&) = delete;
  ~started() {
    if (buffers_) static_cast<void>(buffers_.release()); // the transport may still write there
  }

  /// Local. Polling it between two pieces of work lets the transport progress.
  bool ready() { return handle_.ready(); }
  /// Local.
  template <class Exec>
  void wait(const Exec& exec) {
    handle_.wait();
    if (buffers_)
      for (const staged<View>& arrived : buffers_->receive) arrived.from_host(exec);
    buffers_.reset();
  }

 private:
  struct buffers {
    staged<View> send;
    std::vector<staged<View>> receive;
  };
  pending handle_;
  std::unique_ptr<buffers> buffers_;
};

/// As all_to_all, but returns when the exchange is under way. Collective: every rank starts the same exchanges in the
/// same order, and waits in any. Waits for exec, once; both views stay untouched until wait().
template <class Exec, class View>
started<View> start_all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                               const std::vector<std::int64_t>& counts, const staged<View>& receive,
                               const std::vector<std::int64_t>& receive_counts, std::int64_t row) {
  const auto* from = send.to_host(exec);
  return {comm.start_all_to_all(from, counts, receive.host(), receive_counts,
                                static_cast<std::size_t>(row) * sizeof(typename View::value_type)),
          send, receive};
}

/// Rows of a buffer that take part in an exchange: counts[r] of them, from row begins[r] on, for rank r.
struct some_rows {
  std::vector<std::int64_t> counts, begins;
};

/// The same with some rows of both views, so that several exchanges under way share them. Those of one must not overlap
/// those that another one receives.
template <class Exec, class View>
started<View> start_all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                               const some_rows& out, const staged<View>& receive, const some_rows& in,
                               std::int64_t row) {
  std::vector<staged<View>> arriving;
  for (std::size_t r = 0; r < out.counts.size(); ++r) {
    send.part(out.begins[r] * row, out.counts[r] * row).to_host(exec);
    arriving.push_back(receive.part(in.begins[r] * row, in.counts[r] * row));
  }
  return {comm.start_all_to_all({collective::all_to_all, send.host(), out.counts, receive.host(), in.counts,
                                 static_cast<std::size_t>(row) * sizeof(typename View::value_type), &out.begins,
                                 &in.begins}),
          send, std::move(arriving)};
}

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
      acc total[block];
      const T* from = part_of_rank(0);
      for (int i = 0; i < n; ++i) total[i] = static_cast<acc>(from[i]);
      for (std::int64_t r = 1; r < ranks; ++r) {
        from = part_of_rank(r);
        for (int i = 0; i < n; ++i) total[i] += static_cast<acc>(from[i]);
      }
      T* const to = sum.data() + begin + first;
      for (int i = 0; i < n; ++i) to[i] = static_cast<T>(total[i]);
    });
  }
};

/// What this rank has of its own part stays where it is.
template <class Exec, class T, class Space>
void sum_parts(const Exec& exec, const communicator& comm, const staged<Kokkos::View<T*, Space>>& data,
               const std::vector<std::int64_t>& counts, const staged<Kokkos::View<T*, Space>>& scratch,
               const Kokkos::View<T*, Space>& sum, std::int64_t begin, collective kind) {
  const auto here = static_cast<std::size_t>(comm.rank());
  const std::int64_t mine = counts[here];
  some_rows out{counts, {}}, in{std::vector<std::int64_t>(counts.size(), mine), {}};
  std::int64_t next = 0;
  for (std::size_t r = 0; r < counts.size(); ++r) {
    out.begins.push_back(next);
    in.begins.push_back(static_cast<std::int64_t>(r) * mine);
    next += counts[r];
  }
  out.counts[here] = in.counts[here] = 0;
  const T* from = data.to_host(exec);
  comm.all_to_all({kind, from, out.counts, scratch.host(), in.counts, sizeof(T), &out.begins, &in.begins});
  scratch.from_host(exec);
  const add_parts<T, Space> add{
      scratch.view(), data.part(out.begins[here], mine).view(), sum, comm.size(), comm.rank(), mine, begin};
  Kokkos::parallel_for("switchyard::mesh::sum_parts",
                       Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::int64_t>>(exec, 0, add.calls()), add);
}
} // namespace detail

/// sum[0 .. counts[rank]) = the sum over the ranks of their part number `rank`; part r of data has counts[r] elements.
/// 16-bit values travel as such and are added in float; the order is that of the ranks. `scratch` has at least
/// ranks * counts[rank] elements. Waits for exec; allocates no view; the same bytes on every run.
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
  const int ranks = comm.size();
  const auto total = static_cast<std::int64_t>(data.view().extent(0));
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) counts[static_cast<std::size_t>(r)] = part_of(total, ranks, r).count;
  const std::int64_t begin = part_of(total, ranks, comm.rank()).begin;
  detail::sum_parts(exec, comm, data, counts, scratch, data.view(), begin, collective::all_reduce);
  all_gather(exec, comm, data, counts, 1, collective::all_reduce);
}

} // namespace switchyard

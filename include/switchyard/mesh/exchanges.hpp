// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/staged.hpp>

/// \file
/// Movements between ranks on Kokkos views of any memory space, at once or under way. Every rank calls them, always,
/// whatever it holds.

namespace switchyard {

namespace detail {
inline std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts) total += count;
  return total;
}

/// What travels must be complete, and so must what came last where the next comes: the only fence of an exchange.
template <class Exec>
void fence_before_exchange(const Exec& exec) {
  exec.fence("switchyard: the values must be complete before they are sent");
}

/// What an exchange over comm is told of its buffers. It follows from types and from how the buffers were made, so it
/// is the same on all ranks, also on one without any rows; of a twin and a view, the view decides, since what reads
/// devices reads pinned memory.
template <class View>
buffer_memory wire_memory(const communicator& comm, const staged<View>& send, const staged<View>& receive) {
  const bool device = staged<View>::memory == buffer_memory::device && comm.takes(buffer_memory::device);
  return device && !(send.has_twin() && receive.has_twin()) ? buffer_memory::device : buffer_memory::host;
}
} // namespace detail

/// counts[r] rows of `row` elements go to rank r and come back as receive_counts[r]; buffers in rank order.
/// Waits for exec; allocates nothing.
template <class Exec, class View>
void all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                const std::vector<std::int64_t>& counts, const staged<View>& receive,
                const std::vector<std::int64_t>& receive_counts, std::int64_t row,
                collective kind = collective::all_to_all) {
  send.leave(exec, 0, detail::sum_of(counts) * row);
  detail::fence_before_exchange(exec);
  comm.all_to_all({kind, send.wire(comm), counts, receive.wire(comm), receive_counts,
                   static_cast<std::size_t>(row) * sizeof(typename View::value_type), nullptr, nullptr,
                   detail::wire_memory(comm, send, receive)});
  receive.arrive(exec, 0, detail::sum_of(receive_counts) * row);
}

/// Rows of a buffer that take part in an exchange: counts[r] of them, from row begins[r] on, for rank r.
struct some_rows {
  std::vector<std::int64_t> counts, begins;

  /// f(first element, elements) for rows that lie in one piece, each of `row` elements.
  template <class F>
  void each_piece(std::int64_t row, const F& f) const {
    std::int64_t begin = 0, end = 0;
    for (std::size_t r = 0; r < counts.size(); ++r) {
      if (counts[r] == 0) continue;
      if (begins[r] != end) {
        if (end > begin) f(begin * row, (end - begin) * row);
        begin = begins[r];
      }
      end = begins[r] + counts[r];
    }
    if (end > begin) f(begin * row, (end - begin) * row);
  }
};

namespace detail {
template <class Exec, class View>
void rows_leave(const Exec& exec, const staged<View>& from, const some_rows& out, std::int64_t row) {
  if (from.has_twin())
    out.each_piece(row, [&](std::int64_t begin, std::int64_t count) { from.leave(exec, begin, count); });
}
template <class Exec, class View>
void rows_arrive(const Exec& exec, const staged<View>& to, const some_rows& in, std::int64_t row) {
  if (to.has_twin()) in.each_piece(row, [&](std::int64_t begin, std::int64_t count) { to.arrive(exec, begin, count); });
}
template <class View>
all_to_all_call call_for(const communicator& comm, const staged<View>& send, const some_rows& out,
                         const staged<View>& receive, const some_rows& in, std::int64_t row, collective kind) {
  return {kind,
          send.wire(comm),
          out.counts,
          receive.wire(comm),
          in.counts,
          static_cast<std::size_t>(row) * sizeof(typename View::value_type),
          &out.begins,
          &in.begins,
          wire_memory(comm, send, receive)};
}
} // namespace detail

/// The same with some rows of both views; all others stay as they are.
template <class Exec, class View>
void all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send, const some_rows& out,
                const staged<View>& receive, const some_rows& in, std::int64_t row,
                collective kind = collective::all_to_all) {
  detail::rows_leave(exec, send, out, row);
  detail::fence_before_exchange(exec);
  comm.all_to_all(detail::call_for(comm, send, out, receive, in, row, kind));
  detail::rows_arrive(exec, receive, in, row);
}

/// Every rank's rows, in rank order; this rank's are already in their place. Waits for exec; allocates nothing.
template <class Exec, class View>
void all_gather(const Exec& exec, const communicator& comm, const staged<View>& data,
                const std::vector<std::int64_t>& counts, std::int64_t row, collective kind = collective::all_gather) {
  const auto here = static_cast<std::size_t>(comm.rank());
  const std::int64_t begin = detail::first_unit(counts, nullptr, comm.rank()) * row, mine = counts[here] * row;
  data.leave(exec, begin, mine);
  detail::fence_before_exchange(exec);
  comm.all_gather({kind, data.wire(comm), counts, static_cast<std::size_t>(row) * sizeof(typename View::value_type),
                   detail::wire_memory(comm, data, data)});
  data.arrive(exec, 0, begin);
  data.arrive(exec, begin + mine, detail::sum_of(counts) * row - begin - mine);
}

/// An exchange under way. Holds its two views, so nothing goes away under it. Move-only; wait(exec) once, then the
/// rows are there. One that is destroyed before says so on stderr, keeps the views alive until the program ends, and
/// makes no collective call.
template <class View>
class [[nodiscard]] started {
 public:
  /// Rows `in` of `receive`, each of `row` elements, are to arrive.
  started(pending handle, const staged<View>& send, const staged<View>& receive, some_rows in, std::int64_t row)
      : handle_(std::move(handle)), buffers_(std::make_unique<buffers>(buffers{send, receive, std::move(in), row})) {}
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
    if (buffers_) detail::rows_arrive(exec, buffers_->receive, buffers_->in, buffers_->row);
    buffers_.reset();
  }

 private:
  struct buffers {
    staged<View> send, receive;
    some_rows in;
    std::int64_t row;
  };
  pending handle_;
  std::unique_ptr<buffers> buffers_;
};

/// As all_to_all, but returns when the exchange is under way. Collective: every rank starts the same exchanges in the
/// same order, and waits in any. Waits for exec, once; both views stay untouched until wait(). Of several that share
/// their views, each has rows of its own in what arrives.
template <class Exec, class View>
started<View> start_all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                               const some_rows& out, const staged<View>& receive, const some_rows& in, std::int64_t row,
                               collective kind = collective::all_to_all) {
  detail::rows_leave(exec, send, out, row);
  detail::fence_before_exchange(exec);
  return {comm.start_all_to_all(detail::call_for(comm, send, out, receive, in, row, kind)), send, receive, in, row};
}

namespace detail {
/// Rows that lie one behind the other, in rank order.
inline some_rows all_rows(const std::vector<std::int64_t>& counts) {
  some_rows all{counts, {}};
  std::int64_t next = 0;
  for (const std::int64_t count : counts) {
    all.begins.push_back(next);
    next += count;
  }
  return all;
}
} // namespace detail

/// The same with buffers in rank order.
template <class Exec, class View>
started<View> start_all_to_all(const Exec& exec, const communicator& comm, const staged<View>& send,
                               const std::vector<std::int64_t>& counts, const staged<View>& receive,
                               const std::vector<std::int64_t>& receive_counts, std::int64_t row) {
  return start_all_to_all(exec, comm, send, detail::all_rows(counts), receive, detail::all_rows(receive_counts), row);
}

/// As all_gather, but returns when it is under way: an exchange in which this rank's rows go to everybody.
template <class Exec, class View>
started<View> start_all_gather(const Exec& exec, const communicator& comm, const staged<View>& data,
                               const std::vector<std::int64_t>& counts, std::int64_t row,
                               collective kind = collective::all_gather) {
  const auto here = static_cast<std::size_t>(comm.rank());
  some_rows in = detail::all_rows(counts);
  some_rows out{std::vector<std::int64_t>(counts.size(), counts[here]),
                std::vector<std::int64_t>(counts.size(), in.begins[here])};
  out.counts[here] = in.counts[here] = 0;
  return start_all_to_all(exec, comm, data, out, data, in, row, kind);
}

} // namespace switchyard

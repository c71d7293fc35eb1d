// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <utility>
#include <vector>

/// \file
/// Who takes part. A communicator is a handle: cheap to copy, held by value, the same type for one process, for MPI and
/// for the counting, checking and faulting ones that wrap another. This header needs no MPI.

namespace switchyard {

/// What an exchange is part of. A backend moves bytes the same way for each; counters and messages tell them apart.
enum class collective { all_to_all, all_gather, reduce_scatter, all_reduce };
inline constexpr int collectives = 4;
constexpr const char* label(collective kind) {
  constexpr const char* labels[collectives] = {"all_to_all", "all_gather", "reduce_scatter", "all_reduce"};
  return labels[static_cast<int>(kind)];
}

/// What a host thread can address, and what it cannot.
enum class buffer_memory { host, device };

/// send_counts[r] units of `unit` bytes go to rank r, receive_counts[r] come from it; in rank order, without gaps, or
/// where the begins say: unit send_begins[r] of `send` is the first that goes to rank r, and unit receive_begins[r] of
/// `receive` the first that comes from it. What goes to several ranks may be the same units. `memory` is where the
/// buffers may lie, the same on every rank, whatever it holds: device where one of the two does.
struct all_to_all_call {
  collective kind;
  const void* send;
  const std::vector<std::int64_t>& send_counts;
  void* receive;
  const std::vector<std::int64_t>& receive_counts;
  std::size_t unit;
  const std::vector<std::int64_t>* send_begins = nullptr;
  const std::vector<std::int64_t>* receive_begins = nullptr;
  buffer_memory memory = buffer_memory::host;
};

/// data holds every rank's part in rank order; this rank's is filled in, the others' arrive. `memory` as above.
struct all_gather_call {
  collective kind;
  void* data;
  const std::vector<std::int64_t>& counts;
  std::size_t unit;
  buffer_memory memory = buffer_memory::host;
};

/// An error that one rank met alone: the others know nothing of it and may be waiting.
struct failure {
  int rank;          ///< of the communicator that the phase was run on
  std::string phase; ///< as given to run_phase
  std::string cause; ///< what() of the exception
};
inline std::string describe(const failure& f) {
  return detail::message("switchyard: rank ", f.rank, " failed in phase '", f.phase, "': ", f.cause);
}

/// An exchange that has been started. Its destructor makes no collective call.
class exchange_in_flight {
 public:
  virtual ~exchange_in_flight() = default;
  virtual bool ready() = 0; ///< local; gives the transport a chance to progress
  virtual void wait() = 0;  ///< local: returns when what this rank sends and receives is complete
};

/// What a backend implements: two movements of bytes, a way to make smaller communicators, and a way to end all ranks.
/// It must honour send_begins and receive_begins, each given or not, in all_to_all and in start: sums, chunks and
/// exchanges under way are made with them. Sums are made of the movements plus local additions in rank order
/// (mesh/collectives.hpp), so no reduction ever depends on an algorithm of the transport.
class communicator_backend {
 public:
  virtual ~communicator_backend() = default; // makes no collective call

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Local, and the same on every rank. May the buffers of a call lie in such memory? What a backend does not take is
  /// staged in host memory by `staged` (mesh/staged.hpp); bytes in host memory that come from no view it takes always.
  virtual bool takes(buffer_memory where) const { return where == buffer_memory::host; }

  /// Collective. Ranks of equal color form a communicator, ordered by their rank here; `name` is for counters and
  /// messages.
  virtual std::shared_ptr<communicator_backend> split(int color, std::string_view name) = 0;

  virtual void all_to_all(const all_to_all_call& call) = 0; ///< collective
  virtual void all_gather(const all_gather_call& call) = 0; ///< collective
  /// Collective: every rank starts the same exchanges in the same order. Both buffers stay untouched until wait().
  /// Counts and begins are read before it returns. nullptr: it is complete already, as where a backend can do no
  /// better.
  virtual std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) {
    all_to_all(call);
    return nullptr;
  }

  /// Local: from here on this rank is in phase `name`, "" for none.
  virtual void enter(std::string_view name) { static_cast<void>(name); }
  /// Local: tells the user and ends all ranks. Where it returns, the exception that caused it goes on.
  virtual void fail(const failure& what) {
    std::fprintf(stderr, "%s\n", describe(what).c_str());
    std::fflush(stderr);
    std::abort();
  }
};

/// The handle of a started exchange. Move-only: an exchange is waited for once. One that is destroyed without wait()
/// says so on stderr and makes no collective call; its buffers must then stay alive until the program ends.
class [[nodiscard]] pending {
 public:
  pending(std::unique_ptr<exchange_in_flight> exchange, collective kind)
      : exchange_(std::move(exchange)), kind_(kind), open_(true) {}
  pending(pending&& other) noexcept
      : exchange_(std::move(other.exchange_)), kind_(other.kind_), open_(std::exchange(other.open_, false)) {}
  pending& operator=(pending&&) = delete;
  ~pending() {
    if (open_)
      std::fprintf(stderr, "switchyard: an %s was started and never waited for; call wait() on its handle\n",
                   label(kind_));
  }

  /// Local. Polling it lets the transport progress between two pieces of work.
  bool ready() { return !exchange_ || exchange_->ready(); }
  /// Local. Afterwards what was sent may be overwritten, and what was received is there. A second wait does nothing.
  void wait() {
    open_ = false; // also where it throws: then the error is the message
    if (exchange_) exchange_->wait();
    exchange_.reset();
  }

 private:
  std::unique_ptr<exchange_in_flight> exchange_;
  collective kind_;
  bool open_;
};

/// A group of ranks that call the same collectives in the same order.
class communicator {
 public:
  explicit communicator(std::shared_ptr<communicator_backend> backend) : backend_(std::move(backend)) {
    if (!backend_) throw communicator_error("communicator(nullptr): needs a backend; use self() for one process");
  }

  int rank() const { return backend_->rank(); }
  int size() const { return backend_->size(); }
  bool takes(buffer_memory where) const { return backend_->takes(where); } ///< local; see communicator_backend
  /// Collective. Ranks of equal color form a communicator; `name` appears in counters and messages.
  communicator split(int color, std::string_view name = "split") const {
    return communicator(backend_->split(color, name));
  }

  /// Collective; see all_to_all_call.
  void all_to_all(const void* send, const std::vector<std::int64_t>& send_counts, void* receive,
                  const std::vector<std::int64_t>& receive_counts, std::size_t unit,
                  collective kind = collective::all_to_all) const {
    all_to_all({kind, send, send_counts, receive, receive_counts, unit});
  }
  void all_to_all(const all_to_all_call& call) const { backend_->all_to_all(call); }
  /// Collective; see all_gather_call.
  void all_gather(void* data, const std::vector<std::int64_t>& counts, std::size_t unit,
                  collective kind = collective::all_gather) const {
    all_gather({kind, data, counts, unit});
  }
  void all_gather(const all_gather_call& call) const { backend_->all_gather(call); }
  /// Collective, as all_to_all; the buffers are in use until the handle's wait().
  pending start_all_to_all(const void* send, const std::vector<std::int64_t>& send_counts, void* receive,
                           const std::vector<std::int64_t>& receive_counts, std::size_t unit,
                           collective kind = collective::all_to_all) const {
    return start_all_to_all({kind, send, send_counts, receive, receive_counts, unit});
  }
  pending start_all_to_all(const all_to_all_call& call) const { return {backend_->start(call), call.kind}; }

  const std::shared_ptr<communicator_backend>& backend() const { return backend_; }

 private:
  std::shared_ptr<communicator_backend> backend_;
};

namespace detail {
/// The first unit of rank `rank` in a buffer of units.
inline std::int64_t first_unit(const std::vector<std::int64_t>& counts, const std::vector<std::int64_t>* begins,
                               int rank) {
  if (begins != nullptr) return (*begins)[static_cast<std::size_t>(rank)];
  std::int64_t before = 0;
  for (int r = 0; r < rank; ++r) before += counts[static_cast<std::size_t>(r)];
  return before;
}

/// One count for each rank, none negative.
inline void check_counts(const std::vector<std::int64_t>& counts, int ranks) {
  require(counts.size() == static_cast<std::size_t>(ranks), "counts.size() = ", counts.size(),
          ": the communicator has ", ranks, " ranks; give one count for each");
  for (const std::int64_t count : counts) require(count >= 0, "count = ", count, ": must not be negative");
}

class self_backend final : public communicator_backend {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::shared_ptr<communicator_backend> split(int, std::string_view) override {
    return std::make_shared<self_backend>();
  }
  void all_to_all(const all_to_all_call& call) override {
    const auto bytes = static_cast<std::size_t>(call.send_counts[0]) * call.unit;
    const auto at = [&](const std::vector<std::int64_t>* begins) {
      return static_cast<std::size_t>(first_unit(call.send_counts, begins, 0)) * call.unit;
    };
    if (bytes > 0)
      std::memcpy(static_cast<char*>(call.receive) + at(call.receive_begins),
                  static_cast<const char*>(call.send) + at(call.send_begins), bytes);
  }
  void all_gather(const all_gather_call&) override {}
};
} // namespace detail

/// This process alone. Needs no MPI.
inline communicator self() {
  return communicator(std::make_shared<detail::self_backend>());
}

} // namespace switchyard

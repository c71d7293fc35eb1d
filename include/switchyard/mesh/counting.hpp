// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <switchyard/mesh/detail/forwarding.hpp>

/// \file
/// Counting what is sent. Bytes are those addressed to other ranks in a direct exchange, (p-1)/p of a tensor: not what
/// an algorithm inside the transport forwards, and nothing for what a rank sends itself.

namespace switchyard {

/// What this rank sent, per communicator name (a mesh names its axes) and collective. A handle: copies count into the
/// same place. Not for several threads at once, as no communicator is.
class traffic {
 public:
  struct entry {
    std::string name; ///< of the communicator; "world" for the one that was wrapped
    std::array<std::int64_t, collectives> bytes{}, calls{};
  };

  std::int64_t bytes(std::string_view name, collective kind) const { return sum(&entry::bytes, name, kind); }
  std::int64_t calls(std::string_view name, collective kind) const { return sum(&entry::calls, name, kind); }
  std::int64_t bytes(collective kind) const { return sum(&entry::bytes, {}, kind); }
  std::int64_t bytes() const {
    std::int64_t total = 0;
    for (int kind = 0; kind < collectives; ++kind) total += bytes(static_cast<collective>(kind));
    return total;
  }
  /// In the order in which the communicators were first used.
  const std::vector<entry>& entries() const { return *entries_; }
  void reset() { entries_->clear(); }

  void add(std::string_view name, collective kind, std::int64_t bytes) {
    for (entry& e : *entries_)
      if (e.name == name) return add(e, kind, bytes);
    entries_->push_back({std::string(name)});
    add(entries_->back(), kind, bytes);
  }

 private:
  static void add(entry& e, collective kind, std::int64_t bytes) {
    e.bytes[static_cast<std::size_t>(kind)] += bytes;
    ++e.calls[static_cast<std::size_t>(kind)];
  }
  std::int64_t sum(std::array<std::int64_t, collectives> entry::*what, std::string_view name, collective kind) const {
    std::int64_t total = 0;
    for (const entry& e : *entries_)
      if (name.empty() || e.name == name) total += (e.*what)[static_cast<std::size_t>(kind)];
    return total;
  }

  std::shared_ptr<std::vector<entry>> entries_ = std::make_shared<std::vector<entry>>();
};

namespace detail {
class counting_backend final : public forwarding_backend {
 public:
  counting_backend(std::shared_ptr<communicator_backend> inner, traffic into, std::string name)
      : forwarding_backend(std::move(inner)), into_(std::move(into)), name_(std::move(name)) {}

  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<counting_backend>(inner().split(color, name), into_, std::string(name));
  }
  void all_to_all(const all_to_all_call& call) override {
    inner().all_to_all(call);
    into_.add(name_, call.kind, sent(call));
  }
  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override {
    auto exchange = inner().start(call);
    into_.add(name_, call.kind, sent(call));
    return exchange;
  }
  void all_gather(const all_gather_call& call) override {
    inner().all_gather(call);
    const std::int64_t mine = call.counts[static_cast<std::size_t>(rank())];
    into_.add(name_, call.kind, mine * (size() - 1) * static_cast<std::int64_t>(call.unit));
  }

 private:
  std::int64_t sent(const all_to_all_call& call) const {
    std::int64_t units = 0;
    for (int r = 0; r < size(); ++r)
      if (r != rank()) units += call.send_counts[static_cast<std::size_t>(r)];
    return units * static_cast<std::int64_t>(call.unit);
  }

  traffic into_;
  std::string name_;
};
} // namespace detail

/// The same ranks, with every byte that this rank addresses to another one counted into `into`. Local. Communicators
/// made by split() count under their own names: mesh m{counting(mpi(MPI_COMM_WORLD), t)} gives bytes per axis.
inline communicator counting(const communicator& comm, const traffic& into) {
  return communicator(std::make_shared<detail::counting_backend>(comm.backend(), into, "world"));
}

} // namespace switchyard

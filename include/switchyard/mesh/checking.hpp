// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/detail/forwarding.hpp>

/// \file
/// A communicator that checks, before each collective, that all ranks make the same one: for debugging, at the price of
/// some small exchanges per call.

namespace switchyard {

namespace detail {
/// What all communicators that came from one checking() share: the calls of this rank, on any of them, in order.
struct call_sequence {
  communicator world;
  std::int64_t calls = 0;
  std::string phase = {};
};

class checking_backend final : public forwarding_backend {
 public:
  checking_backend(std::shared_ptr<communicator_backend> inner, std::shared_ptr<call_sequence> sequence,
                   std::string name)
      : forwarding_backend(std::move(inner)), sequence_(std::move(sequence)), name_(std::move(name)) {}

  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    same_everywhere(message("split into '", name, "'"));
    return std::make_shared<checking_backend>(inner().split(color, name), sequence_, std::string(name));
  }
  void all_to_all(const all_to_all_call& call) override {
    check(call, "");
    inner().all_to_all(call);
  }
  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override {
    check(call, "start of ");
    return inner().start(call);
  }
  void all_gather(const all_gather_call& call) override {
    same_everywhere(message(label(call.kind), " (gather) in units of ", call.unit, " bytes", where(call.memory)));
    std::string counts;
    for (const std::int64_t count : call.counts) counts += message(count, ' ');
    const std::vector<std::string> all = gather_text(communicator_here(), counts);
    std::string complaint;
    for (std::size_t r = 0; r < all.size() && complaint.empty(); ++r)
      if (all[r] != all[0])
        complaint = message("gathers counts ", all[r], "where rank 0 of ", name_, " gathers ", all[0]);
    agree(complaint);
    inner().all_gather(call);
  }
  void enter(std::string_view name) override {
    sequence_->phase = name;
    inner().enter(name);
  }

 private:
  static const char* where(buffer_memory memory) { return memory == buffer_memory::device ? " in device memory" : ""; }
  communicator communicator_here() const {
    return communicator(std::shared_ptr<communicator_backend>(std::shared_ptr<void>(), &inner()));
  }

  /// All ranks of the world, not only those of this axis: they all walk the same program.
  void same_everywhere(const std::string& what) {
    const std::int64_t number = sequence_->calls++;
    const std::string text = message(what, " on '", name_, "', phase '", sequence_->phase, "'");
    const std::vector<std::string> all = gather_text(sequence_->world, text);
    for (std::size_t r = 1; r < all.size(); ++r)
      if (all[r] != all[0])
        throw disagreement(message("call ", number, ": rank ", r, " calls ", all[r], ", but rank 0 calls ", all[0],
                                   "; all ranks must make the same calls in the same order"));
  }
  void agree(const std::string& complaint) const {
    switchyard::agree(sequence_->world,
                      complaint.empty() ? complaint : message("call ", sequence_->calls - 1, ": ", complaint));
  }

  void check(const all_to_all_call& call, const char* how) {
    same_everywhere(message(how, label(call.kind), " in units of ", call.unit, " bytes", where(call.memory)));
    const auto ranks = static_cast<std::size_t>(size());
    std::string complaint;
    if (call.send_counts.size() != ranks || call.receive_counts.size() != ranks)
      complaint = message("gives ", call.send_counts.size(), " and ", call.receive_counts.size(), " counts for ", ranks,
                          " ranks");
    agree(complaint); // before the counts travel
    const std::vector<std::int64_t> one(ranks, 1);
    std::vector<std::int64_t> arriving(ranks);
    inner().all_to_all({call.kind, call.send_counts.data(), one, arriving.data(), one, sizeof(std::int64_t)});
    for (std::size_t r = 0; r < ranks && complaint.empty(); ++r)
      if (arriving[r] != call.receive_counts[r])
        complaint = message("expects ", call.receive_counts[r], " units from rank ", r, " of '", name_,
                            "', which sends ", arriving[r]);
    agree(complaint);
  }

  std::shared_ptr<call_sequence> sequence_;
  std::string name_;
};
} // namespace detail

/// The same ranks, checked: before each collective, on comm or on any communicator split from it, all ranks of comm
/// compare what they are about to do: the kind, the communicator's name, the unit, the memory, the phase, and the
/// counts that must match. Where they differ, every rank throws disagreement with the number of the call, the rank, and
/// both calls. A rank that makes no call at all is not seen: that is for time-outs. Local.
inline communicator checking(const communicator& comm) {
  auto sequence = std::make_shared<detail::call_sequence>(detail::call_sequence{comm});
  return communicator(std::make_shared<detail::checking_backend>(comm.backend(), std::move(sequence), "world"));
}

} // namespace switchyard

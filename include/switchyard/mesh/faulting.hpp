// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <csignal>
#include <switchyard/mesh/detail/forwarding.hpp>

/// \file
/// A communicator that fails on purpose, for tests of what happens then.

namespace switchyard {

/// When a rank fails, and how. A call is one collective of this rank, on the wrapped communicator or on any that was
/// split from it; they are counted from 0, where a phase is given within that phase, every time it is entered.
struct fault {
  enum class action { throw_error, kill };

  int rank = 0;           ///< of the wrapped communicator
  std::string phase = {}; ///< "": in any phase, or in none
  std::int64_t call = 0;  ///< before this call is made
  action what = action::throw_error;
};

namespace detail {
/// What all communicators that came from one faulting() share.
struct fault_state {
  fault plan;
  bool this_rank = false;
  std::string phase = {};
  std::int64_t calls = 0;

  void before(collective kind) {
    if (!this_rank || (!plan.phase.empty() && plan.phase != phase)) return;
    if (calls++ != plan.call) return;
    const std::string text =
        message("planned fault: rank ", plan.rank, ", phase '", phase, "', call ", plan.call, ", ", label(kind));
    if (plan.what == fault::action::throw_error) throw communicator_error(text);
    std::fprintf(stderr, "switchyard: %s: killed\n", text.c_str());
    std::fflush(stderr);
    std::raise(SIGKILL);
  }
};

class faulting_backend final : public forwarding_backend {
 public:
  faulting_backend(std::shared_ptr<communicator_backend> inner, std::shared_ptr<fault_state> state)
      : forwarding_backend(std::move(inner)), state_(std::move(state)) {}

  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<faulting_backend>(inner().split(color, name), state_);
  }
  void all_to_all(const all_to_all_call& call) override {
    state_->before(call.kind);
    inner().all_to_all(call);
  }
  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override {
    state_->before(call.kind);
    return inner().start(call);
  }
  void all_gather(const all_gather_call& call) override {
    state_->before(call.kind);
    inner().all_gather(call);
  }
  void enter(std::string_view name) override {
    state_->phase = name;
    inner().enter(name);
  }

 private:
  std::shared_ptr<fault_state> state_;
};
} // namespace detail

/// The same ranks, one of which fails as planned: it throws communicator_error, or dies of SIGKILL after a line on
/// stderr that names rank, phase and call. Local.
inline communicator faulting(const communicator& comm, const fault& plan) {
  detail::require(plan.rank >= 0 && plan.rank < comm.size(), "fault.rank = ", plan.rank, ": the communicator has ",
                  comm.size(), " ranks; name one of them");
  auto state = std::make_shared<detail::fault_state>(detail::fault_state{plan, plan.rank == comm.rank()});
  return communicator(std::make_shared<detail::faulting_backend>(comm.backend(), std::move(state)));
}

} // namespace switchyard

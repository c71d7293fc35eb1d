// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <functional>
#include <switchyard/mesh/detail/forwarding.hpp>

/// \file
/// What happens when one rank meets an error that the others do not know of: memory runs out, a file is gone, a call of
/// the transport fails. They may be waiting for it in a collective, so the job ends, with one line that says why.
/// Errors that all ranks share (bad extents, a mesh that does not fit) are thrown in constructors and never get here.

namespace switchyard {

/// Runs body() as phase `name` of the ranks of comm. An exception that leaves it, other than a disagreement, which
/// every rank throws alike, is printed with rank, phase and cause, and the communicator is aborted: no rank is left
/// waiting. on_failure() lets the user choose otherwise. Communicates only what body does. Phases do not nest: the
/// innermost name counts, and after it none.
template <class Body>
void run_phase(const communicator& comm, std::string_view name, Body&& body) {
  comm.backend()->enter(name);
  try {
    body();
  } catch (const disagreement&) {
    comm.backend()->enter({});
    throw;
  } catch (const std::exception& e) {
    comm.backend()->fail({comm.rank(), std::string(name), e.what()});
    comm.backend()->enter({});
    throw; // the user's hook returned
  } catch (...) {
    comm.backend()->fail({comm.rank(), std::string(name), "an exception that is not a std::exception"});
    comm.backend()->enter({});
    throw;
  }
  comm.backend()->enter({});
}

namespace detail {
class hooked_backend final : public forwarding_backend {
 public:
  using hook = std::function<void(const failure&)>;

  hooked_backend(std::shared_ptr<communicator_backend> inner, hook call)
      : forwarding_backend(std::move(inner)), call_(std::move(call)) {}

  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<hooked_backend>(inner().split(color, name), call_);
  }
  void fail(const failure& what) override { call_(what); }

 private:
  hook call_;
};
} // namespace detail

/// The same ranks, with `hook` called instead of the abort when a phase fails. It is called on the rank that failed; if
/// it returns, the exception goes on, and that the other ranks do not wait is then up to the user. Local.
inline communicator on_failure(const communicator& comm, std::function<void(const failure&)> hook) {
  detail::require(static_cast<bool>(hook), "on_failure(hook): needs something to call");
  return communicator(std::make_shared<detail::hooked_backend>(comm.backend(), std::move(hook)));
}

} // namespace switchyard

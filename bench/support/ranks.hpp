// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/data.hpp"
#include "support/measure.hpp"
#include <chrono>
#include <memory>
#include <optional>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/detail/forwarding.hpp>
#include <switchyard/mpi.hpp>
#include <thread>

/// \file
/// Ranks that are measured together, and what tells their work from their exchanges.

namespace bench {

/// The largest of what the ranks give, to all of them. Who waits sleeps: its core belongs to those that still work.
inline double largest_of_all(double mine) {
  double largest = mine;
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Iallreduce(&mine, &largest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD, &request);
  for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE), done == 0;)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  return largest;
}

/// Samples begin on all ranks at once and last as long as on the slowest. `rested`: they begin when threads that found
/// no more work in the last one have stopped looking for it.
inline meeting all_ranks(bool rested) {
  return {[rested] {
            if (rested) std::this_thread::sleep_for(std::chrono::milliseconds(20));
            MPI_Barrier(MPI_COMM_WORLD);
          },
          largest_of_all, 9};
}

/// What the first rank that has a complaint says, on every rank. Collective.
inline std::string agreed(const switchyard::communicator& comm, const std::string& complaint) {
  try {
    switchyard::agree(comm, complaint);
  } catch (const switchyard::disagreement& d) {
    return d.what();
  }
  return {};
}

/// One thread for each rank, however many the process has.
template <class Exec = exec_space>
Exec one_thread() {
  if constexpr (std::is_constructible_v<Exec, int>)
    return Exec(1);
  else
    return Exec();
}

/// What the communicators made by `scripted` share.
struct script {
  bool silent = false;    ///< nothing moves: buffers keep what the last exchange left there
  bool recording = false; ///< every exchange is written down, and then made
  std::vector<std::function<void()>> exchanges;
  void replay() const {
    for (const auto& again : exchanges) again();
  }
};

class scripted_backend final : public switchyard::detail::forwarding_backend {
 public:
  scripted_backend(std::shared_ptr<switchyard::communicator_backend> inner, std::shared_ptr<script> shared)
      : forwarding_backend(std::move(inner)), script_(std::move(shared)) {}

  std::shared_ptr<switchyard::communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<scripted_backend>(inner().split(color, name), script_);
  }
  void all_to_all(const switchyard::all_to_all_call& call) override {
    record(call);
    if (!script_->silent) inner().all_to_all(call);
  }
  std::unique_ptr<switchyard::exchange_in_flight> start(const switchyard::all_to_all_call& call) override {
    record(call);
    return script_->silent ? nullptr : inner().start(call);
  }
  void all_gather(const switchyard::all_gather_call& call) override {
    if (script_->recording)
      script_->exchanges.push_back([on = &inner(), kind = call.kind, data = call.data, counts = call.counts,
                                    unit = call.unit, memory = call.memory] {
        on->all_gather({kind, data, counts, unit, memory});
      });
    if (!script_->silent) inner().all_gather(call);
  }

 private:
  void record(const switchyard::all_to_all_call& call) {
    using counts = std::vector<std::int64_t>;
    if (!script_->recording) return;
    const auto copied = [](const counts* begins) { return begins ? std::optional<counts>(*begins) : std::nullopt; };
    script_->exchanges.push_back([on = &inner(), kind = call.kind, send = call.send, out = call.send_counts,
                                  receive = call.receive, in = call.receive_counts, unit = call.unit,
                                  out_begins = copied(call.send_begins), in_begins = copied(call.receive_begins),
                                  memory = call.memory] {
      on->all_to_all({kind, send, out, receive, in, unit, out_begins ? &*out_begins : nullptr,
                      in_begins ? &*in_begins : nullptr, memory});
    });
  }

  std::shared_ptr<script> script_;
};

/// The same ranks, under the script's command. What was recorded may be replayed while the communicators and the
/// buffers that it was made with live.
inline switchyard::communicator scripted(const switchyard::communicator& comm, const std::shared_ptr<script>& shared) {
  return switchyard::communicator(std::make_shared<scripted_backend>(comm.backend(), shared));
}

} // namespace bench

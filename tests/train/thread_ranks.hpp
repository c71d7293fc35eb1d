// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <barrier>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <switchyard/mesh/communicator.hpp>
#include <thread>
#include <vector>

// Ranks that are threads of one process: what ranks do together can be tested without starting a job.

namespace thread_ranks {

class world {
 public:
  explicit world(int size) : size_(size), barrier_(size), posted_(static_cast<std::size_t>(size)) {}
  int size() const { return size_; }

  /// Every rank shows the others what it gives, then f() takes from them.
  template <class F>
  void meet(int rank, const void* call, const F& f) {
    posted_[static_cast<std::size_t>(rank)] = call;
    barrier_.arrive_and_wait();
    f();
    barrier_.arrive_and_wait();
  }
  template <class Call>
  const Call& of(int rank) const {
    return *static_cast<const Call*>(posted_[static_cast<std::size_t>(rank)]);
  }

 private:
  int size_;
  std::barrier<> barrier_;
  std::vector<const void*> posted_;
};

class backend final : public switchyard::communicator_backend {
 public:
  backend(std::shared_ptr<world> all, int rank) : world_(std::move(all)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return world_->size(); }
  std::shared_ptr<communicator_backend> split(int, std::string_view) override {
    throw switchyard::communicator_error("threads do not split");
  }
  void all_to_all(const switchyard::all_to_all_call& call) override {
    world_->meet(rank_, &call, [&] {
      auto* to = static_cast<char*>(call.receive);
      for (int r = 0; r < size(); ++r) {
        const auto& other = world_->of<switchyard::all_to_all_call>(r);
        const std::size_t bytes = count(other.send_counts, rank_) * call.unit;
        if (bytes != count(call.receive_counts, r) * call.unit) std::abort(); // the ranks disagree on the counts
        if (bytes > 0)
          std::memcpy(to + first(call.receive_counts, call.receive_begins, r) * call.unit,
                      static_cast<const char*>(other.send) +
                          first(other.send_counts, other.send_begins, rank_) * call.unit,
                      bytes);
      }
    });
  }
  void all_gather(const switchyard::all_gather_call& call) override {
    world_->meet(rank_, &call, [&] {
      for (int r = 0; r < size(); ++r) {
        const auto& other = world_->of<switchyard::all_gather_call>(r);
        if (other.counts != call.counts || other.unit != call.unit) std::abort();
        const std::size_t at = before(call.counts, r) * call.unit, bytes = count(call.counts, r) * call.unit;
        if (r != rank_ && bytes > 0)
          std::memcpy(static_cast<char*>(call.data) + at, static_cast<const char*>(other.data) + at, bytes);
      }
    });
  }

 private:
  static std::size_t count(const std::vector<std::int64_t>& counts, int rank) {
    return static_cast<std::size_t>(counts[static_cast<std::size_t>(rank)]);
  }
  static std::size_t first(const std::vector<std::int64_t>& counts, const std::vector<std::int64_t>* begins, int rank) {
    return begins != nullptr ? count(*begins, rank) : before(counts, rank);
  }
  static std::size_t before(const std::vector<std::int64_t>& counts, int rank) {
    std::size_t sum = 0;
    for (int r = 0; r < rank; ++r) sum += count(counts, r);
    return sum;
  }

  std::shared_ptr<world> world_;
  int rank_;
};

/// f(comm) on so many ranks at once; what() of the exception that left it on each, "" for none.
inline std::vector<std::string> run(int ranks, const std::function<void(const switchyard::communicator&)>& f) {
  const auto all = std::make_shared<world>(ranks);
  std::vector<std::string> thrown(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      try {
        f(switchyard::communicator(std::make_shared<backend>(all, r)));
      } catch (const std::exception& e) {
        thrown[static_cast<std::size_t>(r)] = e.what();
      }
    });
  for (std::thread& t : threads) t.join();
  return thrown;
}

/// The same; the one message that all ranks threw, "" where none threw, or a complaint that they differ.
inline std::string run_alike(int ranks, const std::function<void(const switchyard::communicator&)>& f) {
  const std::vector<std::string> thrown = run(ranks, f);
  for (const std::string& text : thrown)
    if (text != thrown[0]) return "NOT ALIKE: '" + thrown[0] + "' and '" + text + "'";
  return thrown[0];
}

} // namespace thread_ranks

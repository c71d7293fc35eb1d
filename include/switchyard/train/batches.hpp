// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Profiling_ScopedRegion.hpp>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <switchyard/train/examples.hpp>
#include <thread>

namespace switchyard::train {

/// Which examples of a step are this rank's. A step takes `batch` examples, in `micro_batches` passes of batch /
/// micro_batches each; of every pass, this rank has sequences [first, first + count).
struct batch_part {
  std::int64_t batch = 0;
  std::int64_t micro_batches = 1;
  std::int64_t first = 0, count = 0;

  /// All of them, for one process.
  static batch_part whole(std::int64_t batch, std::int64_t micro_batches = 1) {
    return {batch, micro_batches, 0, batch / micro_batches};
  }
};

/// The batches of training, read ahead by a thread of their own: while the compute works on one, the next ones are
/// made. A batch has this rank's sequences of all passes of a step, [micro_batches * count, length], pass by pass.
/// Nothing communicates. The maker must outlive this object.
template <tokenizer Tokenizer>
class batches {
 public:
  /// position: number of the first example; ahead: batches that wait to be used, at most. Allocates, and starts
  /// reading. Throws invalid_argument for parts that cannot be.
  batches(const example_maker<Tokenizer>& maker, const batch_part& which, std::int64_t position = 0, int ahead = 2)
      : maker_(maker), part_(which), next_to_make_(position), next_to_use_(position) {
    using switchyard::detail::require;
    require(which.batch >= 1 && which.micro_batches >= 1 && which.batch % which.micro_batches == 0,
            "batch = ", which.batch, ", micro_batches = ", which.micro_batches,
            ": both must be at least 1, and the batch a multiple of micro_batches");
    require(which.first >= 0 && which.count >= 0 && which.first + which.count <= which.batch / which.micro_batches,
            "first = ", which.first, ", count = ", which.count, ": must lie in the ", which.batch / which.micro_batches,
            " sequences of a pass");
    require(position >= 0, "position = ", position, ": must be at least 0");
    require(ahead >= 1, "ahead = ", ahead, ": must be at least 1");
    for (int i = 0; i <= ahead; ++i)
      ring_.emplace_back(which.micro_batches * which.count, maker.goal().source_length(), maker.goal().target_length());
    start();
  }
  batches(const batches&) = delete;
  batches& operator=(const batches&) = delete;
  ~batches() { stop(); }

  /// The next batch; it stays as it is until the next call. Waits where it is not ready yet. Throws what went wrong in
  /// making it, and tries again when it is called again.
  const token_batch& next() {
    const Kokkos::Profiling::ScopedRegion region("switchyard::batches::next");
    std::unique_lock lock(mutex_);
    if (in_use_) { // the one of the last call is free now
      in_use_ = false;
      front_ = (front_ + 1) % ring_.size();
      --filled_;
      changed_.notify_all();
    }
    if (filled_ == 0 && used_ > 0) ++waits_;
    changed_.wait(lock, [this] { return filled_ > 0 || problem_; });
    if (filled_ == 0) {
      const std::exception_ptr problem = problem_;
      lock.unlock();
      seek(next_to_use_);
      std::rethrow_exception(problem);
    }
    in_use_ = true;
    ++used_;
    next_to_use_ += part_.batch;
    return ring_[front_];
  }

  /// Number of the first example of the batch that comes next: with it a run can be resumed.
  std::int64_t position() const { return next_to_use_; }

  /// Goes on with another example; what has been read ahead is forgotten.
  void seek(std::int64_t position) {
    switchyard::detail::require(position >= 0, "position = ", position, ": must be at least 0");
    stop();
    next_to_make_ = next_to_use_ = position;
    start();
  }

  /// How often next() had to wait for the reading, but for its first call.
  std::int64_t waits() const { return waits_; }

 private:
  void start() {
    front_ = filled_ = used_ = 0;
    in_use_ = stopping_ = false;
    problem_ = nullptr;
    reader_ = std::thread([this] { read(); });
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (reader_.joinable()) reader_.join();
  }

  /// The reading thread.
  void read() {
    for (;;) {
      std::size_t slot = 0;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || filled_ < ring_.size(); });
        if (stopping_) return;
        slot = (front_ + filled_) % ring_.size();
      }
      std::exception_ptr problem;
      try {
        fill(ring_[slot]);
      } catch (...) {
        problem = std::current_exception();
      }
      {
        const std::lock_guard lock(mutex_);
        problem_ = problem;
        if (!problem) ++filled_;
      }
      changed_.notify_all();
      if (problem) return;
    }
  }
  void fill(token_batch& to) {
    const std::int64_t pass = part_.batch / part_.micro_batches;
    to.position = next_to_make_;
    for (std::int64_t m = 0; m < part_.micro_batches; ++m)
      for (std::int64_t i = 0; i < part_.count; ++i)
        maker_.make(portion::training, next_to_make_ + m * pass + part_.first + i, to, m * part_.count + i);
    next_to_make_ += part_.batch;
  }

  const example_maker<Tokenizer>& maker_;
  batch_part part_;
  std::vector<token_batch> ring_;
  std::thread reader_;
  std::int64_t next_to_make_; // of the reading thread
  std::int64_t next_to_use_, waits_ = 0;

  std::mutex mutex_; // of what follows
  std::condition_variable changed_;
  std::exception_ptr problem_;
  std::size_t front_ = 0, filled_ = 0; // of the ring: in use or ready
  std::int64_t used_ = 0;              // since the start
  bool in_use_ = false, stopping_ = false;
};

} // namespace switchyard::train

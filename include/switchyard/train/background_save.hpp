// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <switchyard/io/state.hpp>
#include <switchyard/mesh/communicator.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <switchyard/train/detail/saving.hpp>
#include <switchyard/train/detail/together.hpp>
#include <thread>
#include <vector>

namespace switchyard::train {

/// A save whose data go to the disk while the program goes on: a copy in memory, a thread that writes it, and an end
/// that all ranks come to. The thread communicates nothing. Until finish() has returned there is no checkpoint.
///
///   train::background_save save(comm, "run", step, slices, state, {.keep = 3});   // slices may change from here on
///   ...                                                                           // the next steps
///   save.finish();                                                                // before the next save
class background_save {
 public:
  /// Copies what this rank owns, and agrees with the others as save_checkpoint does; throws as it does, on every rank
  /// alike, and where the copy does not fit in memory. Collective. Allocates the bytes that this rank owns.
  background_save(const communicator& comm, const std::filesystem::path& folder, std::int64_t step,
                  const std::vector<tensor_slice>& slices, const io::state_map& state, const save_options& options = {})
      : slices_(copy(comm, slices)), saving_(comm, folder, step, slices_, state, options), thread_([this] {
          saving_.write();
          is_written_ = true;
        }) {}
  background_save(const background_save&) = delete;
  background_save& operator=(const background_save&) = delete;

  /// Waits for the thread. A save that was never finished is no checkpoint; its folder stays, as that of a killed job.
  ~background_save() {
    if (!thread_.joinable()) return;
    thread_.join();
    std::fprintf(stderr, "switchyard: a background_save was never finished; call finish() on it\n");
  }

  /// Whether the data of this rank are written, or failed to be. Local.
  bool ready() const { return is_written_; }

  /// Waits for the data of all ranks and makes a checkpoint of them; throws as save_checkpoint does, on every rank
  /// alike. Collective; once.
  saved_checkpoint finish() {
    thread_.join();
    return saving_.commit();
  }

 private:
  std::vector<tensor_slice> copy(const communicator& comm, std::vector<tensor_slice> slices) {
    detail::raise_together(comm, detail::attempt([&] {
                             for (tensor_slice& s : slices)
                               if (detail::is_written(s)) {
                                 memory_.emplace_back(s.bytes.begin(), s.bytes.end());
                                 s.bytes = memory_.back(); // its elements stay where they are when memory_ grows
                               }
                           }));
    return slices;
  }

  std::vector<std::vector<std::byte>> memory_; // what slices_ look at
  std::vector<tensor_slice> slices_;
  detail::saving saving_;
  std::atomic<bool> is_written_ = false;
  std::thread thread_; // last: it uses all of the above
};

} // namespace switchyard::train

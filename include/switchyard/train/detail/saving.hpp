// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <switchyard/config.hpp>
#include <switchyard/io/files.hpp>
#include <switchyard/io/manifest_text.hpp>
#include <switchyard/io/shard.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <switchyard/train/detail/checkpoint_folder.hpp>
#include <switchyard/train/detail/checkpoint_plan.hpp>
#include <switchyard/train/detail/together.hpp>
#include <utility>
#include <vector>

/// \file
/// A save in its three acts. Between begin and commit every rank works by itself, and may do so in a thread:
///
///   begin    all ranks     arguments agree, the slices tile their tensors; rank 0 makes step_<n>.tmp-<id>
///   write    each rank     its file: data, checksums, fsync
///   commit   all ranks     did all succeed? rank 0: checkpoint.json, COMPLETE, fsync, rename, fsync, LATEST, removal
///
/// An error of any rank before the rename removes what was written and is thrown on all; what was there stays.

namespace switchyard::train::detail {

class saving {
 public:
  /// begin. slices and what they look at must stay until write() has returned. Collective.
  saving(const communicator& comm, const fs::path& folder, std::int64_t step, const std::vector<tensor_slice>& slices,
         const io::state_map& state, const save_options& options)
      : comm_(comm), folder_(folder), step_(step), options_(options), state_(state) {
    const phase_scope phase(comm_, "checkpoint_begin");
    raise_together(comm_, attempt([&] {
                     require(!folder.empty(), "folder = \"\": must not be empty; give one for the checkpoints");
                     require(step >= 0, "step = ", step, ": must be at least 0");
                     require(options.keep >= 0, "keep = ", options.keep, ": must be at least 0; 0 keeps all");
                     require(options.block_bytes > 0, "block_bytes = 0: must be at least 1; 4 MiB are usual");
                     check_slices(slices);
                   }));
    agree_on(comm_, {{"folder", folder.string()},
                     {"step", step},
                     {"keep", options.keep},
                     {"replace", options.replace},
                     {"block_bytes", options.block_bytes}});
    std::string lines;
    for (const auto& [name, value] : state.values()) lines += name + " = " + io::to_text(value) + '\n';
    agree_on_lines(comm_, io::xxh64(lines), lines);

    const std::vector<std::string> all = hear(comm_, pack(slices));
    final_ = folder_ / step_name(step_);
    raise_together(comm_, attempt([&] {
                     if (comm_.rank() == 0) make_folder(all);
                   }));
    learn_names();
    for (const tensor_slice& s : slices)
      if (is_written(s)) mine_.push_back({key_of(s.name, {s.offset, s.extent}, s.shape), s.type, s.extent, s.bytes});
  }

  /// write. Local; keeps what goes wrong for commit().
  void write() {
    problem_ = attempt([&] {
      if (!mine_.empty()) written_ = io::write_shard(temporary_ / shard_, mine_, options_.block_bytes);
    });
  }

  /// commit. Collective.
  saved_checkpoint commit() {
    const phase_scope phase(comm_, "checkpoint_commit");
    raise_or_discard(problem_);
    const std::vector<std::string> all = hear(comm_, pack_written());
    saved_checkpoint result;
    raise_or_discard(attempt([&] {
      if (comm_.rank() == 0) finish(all);
    }));
    raise_together(comm_, attempt([&] { // from here on it stays, whatever happens
                     if (comm_.rank() == 0) io::sync_folder(folder_);
                   }));
    const std::string report = tell(comm_, comm_.rank() == 0 ? tidy() : "");
    unpacker in(report);
    result.path = final_;
    result.bytes = in.number();
    for (std::uint64_t n = in.number(); n > 0; --n) result.removed.emplace_back(in.text());
    while (!in.done()) result.notes.push_back(in.text());
    return result;
  }

 private:
  // ---- begin, rank 0 ----
  void make_folder(const std::vector<std::string>& slices) {
    plan_ = make_plan(slices);
    io::make_folders(folder_);
    if (!options_.replace) refuse_existing(fs::exists(fs::symlink_status(final_)));
    std::random_device random; // tells savers apart; results do not depend on it
    do temporary_ = final_.string() + ".tmp-" + io::to_hex(std::uint64_t{random()} << 32 | std::uint64_t{random()});
    while (!io::make_new_folder(temporary_));
  }

  void refuse_existing(bool exists) const {
    if (exists)
      throw file_error(final_.string() +
                       ": there is a checkpoint of this step already, perhaps of another job that saves "
                       "to the same folder; give another folder, or replace = true");
  }

  /// Every rank learns the name of the folder and of its own file: files are numbered among the ranks that write one.
  void learn_names() {
    packer out;
    if (comm_.rank() == 0) {
      out.text(temporary_.string());
      std::vector<std::int64_t> place;
      std::int64_t writers = 0;
      for (const auto& own : plan_.of_rank) place.push_back(own.empty() ? -1 : writers++);
      out.number(static_cast<std::uint64_t>(writers));
      out.numbers(place);
    }
    const std::string told = tell(comm_, out.bytes());
    unpacker in(told);
    temporary_ = in.text();
    const auto writers = static_cast<std::int64_t>(in.number());
    const auto place = in.numbers<std::int64_t>();
    const auto digits = [](std::int64_t n) {
      const std::string text = std::to_string(n);
      return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
    };
    shard_ =
        "shard-" + digits(place[static_cast<std::size_t>(comm_.rank())]) + "-of-" + digits(writers) + ".safetensors";
  }

  // ---- commit ----
  std::string pack_written() const {
    packer out;
    if (mine_.empty()) return "";
    out.text(written_.file.name);
    out.number(written_.file.bytes);
    out.number(written_.file.head_bytes);
    out.number(written_.file.head);
    for (const auto& blocks : written_.blocks) out.numbers(blocks);
    return out.bytes();
  }

  /// Rank 0: all data are on the disk; the rest, up to the rename that makes a checkpoint of it.
  void finish(const std::vector<std::string>& written) {
    io::manifest m;
    for (std::size_t r = 0; r < written.size(); ++r) {
      if (written[r].empty()) continue;
      unpacker in(written[r]);
      io::stored_file file{in.text()};
      file.bytes = in.number();
      file.head_bytes = in.number();
      file.head = in.number();
      io::check_size(temporary_, file); // what another machine wrote is seen from here
      for (const part_index& i : plan_.of_rank[r]) {
        io::stored_part& p = plan_.tensors[i.tensor].parts[i.part];
        p.file = file.name;
        p.blocks = in.numbers<std::uint64_t>();
      }
      bytes_ += file.bytes;
      m.files.push_back(std::move(file));
    }
    m.library = std::to_string(SWITCHYARD_VERSION_MAJOR) + '.' + std::to_string(SWITCHYARD_VERSION_MINOR) + '.' +
                std::to_string(SWITCHYARD_VERSION_PATCH);
    m.step = step_;
    m.block_bytes = options_.block_bytes;
    m.state = state_;
    m.tensors = std::move(plan_.tensors);
    const std::string index = io::make_index(m);
    m.files.push_back({index_name, index.size(), index.size(), io::xxh64(index)});
    std::ranges::sort(m.files, {}, &io::stored_file::name);
    const std::string text = io::make_manifest(m);

    io::write_new_file(temporary_ / index_name, index);
    io::write_new_file(temporary_ / manifest_name, text);
    io::sync_folder(temporary_);
    io::write_new_file(temporary_ / marker_name, marker_text(text));
    io::sync_folder(temporary_);
    if (options_.replace && fs::exists(fs::symlink_status(final_))) {
      io::exchange_folders(temporary_, final_);
      replaced_ = true;
    } else {
      refuse_existing(!io::rename_folder(temporary_, final_));
    }
  }

  /// Rank 0, after the checkpoint is safe: LATEST, and the removal of older ones. What fails here is a note.
  std::string tidy() const {
    std::vector<std::string> removed, notes;
    const auto remove = [&](const fs::path& path) {
      const std::string why = remove_checkpoint(path);
      (why.empty() ? removed : notes).push_back(why.empty() ? path.string() : why);
    };
    const auto note = [&](const problem& p) {
      if (!p.text.empty()) notes.push_back(p.text);
    };
    note(attempt([&] { io::replace_file(folder_ / latest_name, final_.filename().string() + '\n'); }));
    if (replaced_) remove(temporary_); // what it replaced has that name now
    note(attempt([&] {
      std::int64_t kept = 0;
      if (options_.keep == 0) return;
      for (const found_checkpoint& c : find_checkpoints(folder_))
        if (c.step <= step_ && c.status == checkpoint_status::complete && ++kept > options_.keep) remove(c.path);
    }));
    packer out;
    out.number(bytes_);
    out.number(removed.size());
    for (const std::string& path : removed) out.text(path);
    for (const std::string& text : notes) out.text(text);
    return out.bytes();
  }

  /// Throws the first rank's problem on all ranks, after all have removed what they wrote. Collective.
  void raise_or_discard(const problem& here) {
    const problem first = first_problem(comm_, here);
    if (first.text.empty()) return;
    std::error_code ignored;
    if (!mine_.empty()) fs::remove(temporary_ / shard_, ignored);
    switchyard::detail::gather_text(comm_, ""); // now all have
    if (comm_.rank() == 0) {
      for (const char* name : {marker_name, manifest_name, index_name}) fs::remove(temporary_ / name, ignored);
      fs::remove(temporary_, ignored);
    }
    raise(first);
  }

  communicator comm_;
  fs::path folder_, final_, temporary_;
  std::int64_t step_;
  save_options options_;
  io::state_map state_;
  std::string shard_;
  std::vector<io::tensor_view> mine_; // what this rank writes
  io::written_shard written_;
  problem problem_;
  save_plan plan_; // rank 0
  std::uint64_t bytes_ = 0;
  bool replaced_ = false;
};

} // namespace switchyard::train::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <switchyard/core/error.hpp>
#include <vector>

/// \file
/// The text to train on: files of any size and content, cut into blocks. Only names, lengths and where each file begins
/// are in memory; a block is read when it is asked for.
///
///   file 0: |block 0|block 1|bl. 2|   file 1: |block 3|block 4|b5|   ...
///
/// Blocks have `block_bytes` bytes, the last one of a file what is left. Every n-th block is held out for evaluation
/// and is no block of training, so no byte is in both.

namespace switchyard::train {

/// A file and the label of its language, or of whatever else evaluation should tell apart.
struct text_file {
  std::string path, language;
};

/// The files that `names` stand for, sorted by path within each name, without empty ones. A name is a file or a folder,
/// which is searched with all folders below it (not through links to folders), or `label=file`, `label=folder`. Without
/// a label, a file is labelled by its name without extension, and a file found in a folder by the name of the folder
/// that it lies in. Throws file_error where there is no such file, or nothing in a folder.
inline std::vector<text_file> find_text(const std::vector<std::string>& names) {
  namespace fs = std::filesystem;
  const auto fail = [](const std::string& name, const char* what) {
    throw file_error(switchyard::detail::message("text = \"", name, "\": ", what));
  };
  std::vector<text_file> found;
  for (const std::string& name : names) {
    std::string label, where = name;
    std::error_code problem;
    const std::size_t equals = name.find('=');
    if (!fs::exists(name, problem) && equals != std::string::npos) {
      label = name.substr(0, equals);
      where = name.substr(equals + 1);
    }
    std::vector<text_file> here;
    if (fs::is_directory(where, problem)) {
      auto entry = fs::recursive_directory_iterator(where, problem);
      for (; !problem && entry != fs::recursive_directory_iterator(); entry.increment(problem)) {
        std::error_code ignored;
        if (!entry->is_regular_file(ignored) || entry->file_size(ignored) == 0) continue;
        const fs::path folder = fs::absolute(entry->path()).parent_path();
        here.push_back({entry->path().string(), label.empty() ? folder.filename().string() : label});
      }
      if (problem) fail(where, "this folder cannot be read to its end; check its permissions");
      if (here.empty()) fail(where, "there is no file with text in this folder; name another one");
    } else {
      if (!fs::is_regular_file(where, problem)) fail(where, "is neither a file nor a folder; check the name");
      if (fs::file_size(where, problem) == 0) continue;
      here.push_back({where, label.empty() ? fs::path(where).stem().string() : label});
    }
    std::sort(here.begin(), here.end(), [](const text_file& a, const text_file& b) { return a.path < b.path; });
    found.insert(found.end(), here.begin(), here.end());
  }
  return found;
}

/// Which blocks: of training, or those held out for evaluation.
enum class portion : std::uint8_t { training, held_out };

/// Blocks of files. Copies are cheap enough, reading is const and may happen in several threads at once.
class text {
 public:
  /// Where a block lies.
  struct block {
    const std::string* path = nullptr;
    std::int64_t begin = 0, bytes = 0;
    std::int32_t language = 0; ///< in languages()
    bool last = false;         ///< of its file
  };

  /// Looks up the length of every file. held_out_every: of so many blocks the last one is held out; 0 for none.
  /// Throws file_error for a file that is not there, invalid_argument where nothing is left to train on.
  text(const std::vector<text_file>& files, std::int64_t block_bytes, std::int64_t held_out_every = 0)
      : block_bytes_(block_bytes), held_out_every_(held_out_every) {
    using switchyard::detail::require;
    require(block_bytes >= 1, "block_bytes = ", block_bytes, ": must be at least 1");
    require(held_out_every == 0 || held_out_every >= 2, "held_out_every = ", held_out_every,
            ": must be 0, or at least 2 so that something is left to train on");
    for (const text_file& f : files) {
      std::error_code problem;
      const auto size = std::filesystem::file_size(f.path, problem);
      if (problem) throw file_error(switchyard::detail::message("text = \"", f.path, "\": ", problem.message()));
      auto label = std::find(languages_.begin(), languages_.end(), f.language);
      if (label == languages_.end()) label = languages_.insert(label, f.language);
      const auto bytes = static_cast<std::int64_t>(size);
      files_.push_back({f.path, blocks_, bytes, static_cast<std::int32_t>(label - languages_.begin())});
      blocks_ += (bytes + block_bytes - 1) / block_bytes;
      bytes_ += bytes;
    }
    require(blocks(portion::training) > 0, "text = ", files.size(), " files of ", bytes_,
            " bytes: nothing to train on; name more text");
  }

  std::int64_t bytes() const { return bytes_; }
  const std::vector<std::string>& languages() const { return languages_; }
  std::int64_t blocks(portion which) const {
    const std::int64_t held_out = held_out_every_ == 0 ? 0 : blocks_ / held_out_every_;
    return which == portion::held_out ? held_out : blocks_ - held_out;
  }

  /// Block `i` of a portion, in the order of the files. Throws invalid_argument where there is none.
  block find(portion which, std::int64_t i) const {
    switchyard::detail::require(i >= 0 && i < blocks(which), "block = ", i, ": must be in [0, ", blocks(which), ")");
    const std::int64_t number = which == portion::held_out ? i * held_out_every_ + held_out_every_ - 1
                                : held_out_every_ == 0     ? i
                                                           : i + i / (held_out_every_ - 1);
    const auto after = std::upper_bound(files_.begin(), files_.end(), number,
                                        [](std::int64_t n, const file& f) { return n < f.first_block; });
    const file& f = *(after - 1); // the last file that begins at or before it, so not one without blocks
    const std::int64_t begin = (number - f.first_block) * block_bytes_, left = f.bytes - begin;
    return {&f.path, begin, std::min(left, block_bytes_), f.language, left <= block_bytes_};
  }

  /// The bytes of a block, into `to`. Throws file_error where they can no longer be read.
  void read(const block& b, std::string& to) const {
    to.resize(static_cast<std::size_t>(b.bytes));
    std::ifstream in(*b.path, std::ios::binary);
    in.seekg(b.begin);
    in.read(to.data(), b.bytes);
    if (in.gcount() != b.bytes)
      throw file_error(
          switchyard::detail::message("text = \"", *b.path, "\": bytes ", b.begin, " to ", b.begin + b.bytes,
                                      " cannot be read any more; do not change the text while it is in use"));
  }

  /// A number that differs between texts of other files, lengths or blocks, so that a run is not resumed on another
  /// text. It does not look at the bytes.
  std::uint64_t fingerprint() const {
    std::uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    const auto add = [&hash](std::int64_t number) {
      for (int byte = 0; byte < 8; ++byte)
        hash = (hash ^ ((static_cast<std::uint64_t>(number) >> (8 * byte)) & 0xffu)) * 0x100000001b3u;
    };
    add(block_bytes_);
    add(held_out_every_);
    for (const file& f : files_) add(f.bytes);
    return hash;
  }

 private:
  struct file {
    std::string path;
    std::int64_t first_block, bytes;
    std::int32_t language;
  };
  std::int64_t block_bytes_, held_out_every_;
  std::int64_t blocks_ = 0, bytes_ = 0;
  std::vector<file> files_;
  std::vector<std::string> languages_;
};

} // namespace switchyard::train

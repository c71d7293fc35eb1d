// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/io/files.hpp>
#include <switchyard/io/manifest_text.hpp>
#include <switchyard/io/shard.hpp>
#include <switchyard/io/xxh64.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <tuple>
#include <utility>
#include <vector>

/// \file
/// The folders of checkpoints, as one process sees them. Nothing communicates.

namespace switchyard::train::detail {

namespace fs = std::filesystem;

inline constexpr const char* manifest_name = "checkpoint.json";
inline constexpr const char* marker_name = "COMPLETE";
inline constexpr const char* index_name = "model.safetensors.index.json";
inline constexpr const char* latest_name = "LATEST";
inline constexpr std::uint64_t largest_manifest = std::uint64_t{1} << 32;

inline std::string step_name(std::int64_t step) {
  const std::string digits = std::to_string(step);
  return "step_" + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}

/// The step that a name begins with and what follows it; none where it begins with no step.
struct step_in_name {
  std::int64_t step = 0;
  std::string_view rest;
};
inline std::optional<step_in_name> find_step(std::string_view name) {
  constexpr std::string_view prefix = "step_";
  if (!name.starts_with(prefix)) return std::nullopt;
  step_in_name found;
  const auto [end, code] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), found.step);
  if (code != std::errc{} || name[prefix.size()] == '-') return std::nullopt;
  found.rest = name.substr(static_cast<std::size_t>(end - name.data()));
  return found;
}

/// All that COMPLETE says.
inline std::string marker_text(std::string_view manifest) {
  return "switchyard-checkpoint 1 xxh64 " + io::to_hex(io::xxh64(manifest)) + '\n';
}

/// The text of checkpoint.json, which is the one that was saved. Throws file_error.
inline std::string read_manifest_text(const fs::path& path) {
  const auto fail = [&](const std::string& text) { throw file_error(path.string() + ": " + text); };
  std::error_code ignored;
  if (!fs::exists(path, ignored)) fail("there is no such folder; give that of a checkpoint, as step_00000100");
  if (!fs::is_directory(path, ignored))
    fail("it is a file, not the folder of a checkpoint" + io::recognized_file(path));
  if (!fs::exists(fs::symlink_status(path / marker_name, ignored))) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored))
      if (find_step(entry.path().filename().string()))
        fail("it is a folder of checkpoints; give one of them, as that which newest_checkpoint() finds");
    if (!fs::exists(path / manifest_name, ignored))
      fail("it has no COMPLETE and no checkpoint.json: it is no checkpoint, or one that was never finished; give "
           "another");
    fail("COMPLETE is missing: the save was interrupted; use another checkpoint");
  }
  const std::string marker = io::read_file(path / marker_name, 1000);
  std::string text = io::read_file(path / manifest_name, largest_manifest);
  if (marker != marker_text(text))
    fail("COMPLETE and checkpoint.json do not belong together: one of them is damaged or was edited; use another "
         "checkpoint");
  return text;
}

/// Throws file_error where files are missing, of another size, or, if they hold no data, of another checksum.
inline void check_files(const fs::path& path, const io::manifest& m) {
  for (const io::stored_file& f : m.files) {
    io::check_size(path, f);
    if (f.head_bytes == f.bytes && io::xxh64(io::read_file(path / f.name, f.bytes)) != f.head)
      throw file_error((path / f.name).string() +
                       ": it has another checksum than what was saved; use another checkpoint");
  }
}

/// The manifest of a checkpoint whose files are all there. Throws file_error. Reads no data.
inline io::manifest open_checkpoint(const fs::path& path) {
  io::manifest m = io::parse_manifest((path / manifest_name).string(), read_manifest_text(path));
  check_files(path, m);
  return m;
}

/// What a name that step_in_name found stands for. Reads no data.
inline found_checkpoint judge(const fs::path& path, std::int64_t step, bool is_temporary) {
  found_checkpoint found{path, step};
  if (is_temporary) {
    found.why = "a save that was interrupted, or is under way; remove it if nobody writes it";
  } else if (std::error_code ignored; !fs::exists(fs::symlink_status(path / marker_name, ignored))) {
    found.why = "COMPLETE is missing: a save or a removal was interrupted; remove it if nobody writes it";
  } else {
    try {
      const io::manifest m = open_checkpoint(path);
      if (m.step != step)
        throw file_error("it is the checkpoint of step " + std::to_string(m.step) + "; rename it back");
      found.status = checkpoint_status::complete;
    } catch (const error& e) {
      found.status = checkpoint_status::damaged;
      found.why = e.what();
    }
  }
  return found;
}

/// f(checkpoint) for everything in `folder` that has the name of one, by step, newest first, until f returns false.
template <class F>
void visit_checkpoints(const fs::path& folder, const F& f) {
  struct candidate {
    std::int64_t step;
    bool is_temporary;
    fs::path path;
  };
  std::vector<candidate> all;
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      const auto step = find_step(name);
      if (step && (step->rest.empty() || step->rest.starts_with(".tmp-")))
        all.push_back({step->step, !step->rest.empty(), entry.path()});
    }
  } catch (const std::system_error& e) {
    throw file_error(folder.string() + ": cannot be read (" + e.what() + "); check the folder and its permissions");
  }
  std::sort(all.begin(), all.end(), [](const candidate& a, const candidate& b) {
    return std::tie(b.step, a.is_temporary, a.path) < std::tie(a.step, b.is_temporary, b.path);
  });
  for (const candidate& c : all)
    if (!f(judge(c.path, c.step, c.is_temporary))) return;
}

inline std::vector<found_checkpoint> find_checkpoints(const fs::path& folder) {
  std::vector<found_checkpoint> result;
  visit_checkpoints(folder, [&](found_checkpoint found) {
    result.push_back(std::move(found));
    return true;
  });
  return result;
}

/// Removes a complete checkpoint: COMPLETE first, so that what is left at any moment is no checkpoint. Leaves alone
/// what is a symbolic link or holds files that are none of its own. Returns why it did not, "" where it did.
inline std::string remove_checkpoint(const fs::path& path) {
  try {
    const io::manifest m = open_checkpoint(path);
    if (fs::is_symlink(path)) return path.string() + " is a symbolic link and stays";
    std::set<std::string> own = {manifest_name, marker_name};
    for (const io::stored_file& f : m.files) own.insert(f.name);
    for (const fs::directory_entry& entry : fs::directory_iterator(path))
      if (!own.contains(entry.path().filename().string()))
        return path.string() + " holds " + entry.path().filename().string() + ", which is not part of it, and stays";
    fs::remove(path / marker_name);
    io::sync_folder(path);
    own.erase(marker_name);
    for (const std::string& name : own) fs::remove(path / name);
    fs::remove(path);
    return "";
  } catch (const std::exception& e) {
    return path.string() + " could not be removed: " + e.what();
  }
}

} // namespace switchyard::train::detail

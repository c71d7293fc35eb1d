// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <switchyard/core/error.hpp>
#include <switchyard/io/manifest_text.hpp>
#include <switchyard/io/shard.hpp>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <switchyard/train/detail/checkpoint_folder.hpp>
#include <switchyard/train/detail/checkpoint_plan.hpp>
#include <switchyard/train/detail/together.hpp>
#include <vector>

/// \file
/// A load: rank 0 reads what the checkpoint says about itself, every rank reads the parts of files that it needs.

namespace switchyard::train::detail {

/// Throws file_error where a slice is not of a tensor of the checkpoint.
inline void check_stored(const std::string& source, const io::manifest& m, const std::vector<tensor_slice>& slices) {
  for (const tensor_slice& s : slices) {
    const io::stored_tensor* t = m.find_tensor(s.name);
    if (!t)
      throw file_error(message(source, ": tensor \"", s.name, "\" is not in the checkpoint, which has ",
                               m.tensors.size(), "; is it the checkpoint of another model?"));
    if (t->type != s.type || t->shape != s.shape)
      throw file_error(message(source, ": tensor \"", s.name, "\" is ", io::dtype_name(t->type), ' ', shown(t->shape),
                               " in the checkpoint, ", io::dtype_name(s.type), ' ', shown(s.shape),
                               " is wanted; load with the configuration and precision of the save"));
  }
}

/// Fills the slices of this rank from the files, one file after another. Local. Throws file_error.
inline void read_slices(const fs::path& path, const io::manifest& m, const std::vector<tensor_slice>& slices) {
  struct piece {
    const io::stored_tensor* tensor;
    const io::stored_part* from;
    const tensor_slice* to;
  };
  std::map<std::string, std::vector<piece>> by_file;
  for (const tensor_slice& s : slices)
    for (const io::stored_tensor* t = m.find_tensor(s.name); const io::stored_part& p : t->parts)
      if (io::intersection(p.where, {s.offset, s.extent})) by_file[p.file].push_back({t, &p, &s});
  std::map<const tensor_slice*, std::int64_t> filled;
  std::vector<std::byte> block;
  for (const auto& [name, pieces] : by_file) {
    const io::shard_reader file(path, *m.find_file(name), m.block_bytes);
    for (const piece& p : pieces)
      filled[p.to] += file.read(*p.tensor, *p.from, {p.to->offset, p.to->extent}, p.to->bytes, block);
  }
  for (const tensor_slice& s : slices) // the parts tile the tensor, so this cannot be; it must never pass silently
    if (const io::box b{s.offset, s.extent}; filled[&s] != b.volume())
      throw file_error(message(path.string(), ": tensor \"", s.name, "\": ", filled[&s], " of ", b.volume(),
                               " elements are there; use another checkpoint"));
}

inline loaded_checkpoint load(const communicator& comm, const fs::path& path, const std::vector<tensor_slice>& slices,
                              const load_options& options) {
  const phase_scope phase(comm, "checkpoint_load");
  raise_together(comm, attempt([&] { check_slices(slices); }));
  agree_on(comm, {{"path", path.string()}, {"allow_extra", options.allow_extra}});

  const std::string source = (path / manifest_name).string();
  std::string text;
  io::manifest m;
  raise_together(comm, attempt([&] {
                   if (comm.rank() != 0) return;
                   text = read_manifest_text(path);
                   check_files(path, m = io::parse_manifest(source, text));
                 }));
  text = tell(comm, text);
  raise_together(comm, attempt([&] {
                   if (comm.rank() != 0) m = io::parse_manifest(source, text);
                   check_stored(source, m, slices);
                 }));
  if (!options.allow_extra) {
    const auto wishes = hear(comm, pack_wishes(m, slices));
    raise_together(comm, attempt([&] {
                     if (comm.rank() == 0) check_wishes(source, m, wishes);
                   }));
  }
  raise_together(comm, attempt([&] { read_slices(path, m, slices); }));
  return {m.step, m.state, m.library};
}

/// Reads all data of a checkpoint and compares them with their checksums. Local. Throws file_error.
inline void verify(const fs::path& path) {
  const io::manifest m = open_checkpoint(path);
  std::vector<std::byte> block, values;
  for (const io::stored_file& f : m.files) {
    if (f.head_bytes == f.bytes) continue;
    const io::shard_reader file(path, f, m.block_bytes);
    for (const io::stored_tensor& t : m.tensors)
      for (const io::stored_part& p : t.parts)
        if (p.file == f.name) {
          values.resize(static_cast<std::size_t>(p.where.volume()) * io::dtype_size(t.type));
          file.read(t, p, p.where, values, block);
        }
  }
}

} // namespace switchyard::train::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <switchyard/io/manifest.hpp>
#include <switchyard/mesh/communicator.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <switchyard/train/detail/checkpoint_folder.hpp>
#include <switchyard/train/detail/loading.hpp>
#include <switchyard/train/detail/saving.hpp>
#include <switchyard/train/detail/together.hpp>
#include <vector>

/// \file
/// Checkpoints: named slices of global tensors and some scalars, saved by any number of ranks and loaded by any other
/// number, cut in any other way. At every instant the folder holds the older checkpoint or the new one, whole.
///
///   const auto slices = ...;                           // what this rank holds, see tensor_slice
///   io::state_map state;
///   state.set("position", position);
///   train::save_checkpoint(comm, "run", step, slices, state, {.keep = 3});
///
///   if (const auto path = train::newest_checkpoint(comm, "run")) {
///     const auto loaded = train::load_checkpoint(comm, *path, slices);
///     position = loaded.state.get<std::int64_t>("position");
///   }
///
///   run/step_00001200/                    appears by a rename, whole
///     shard-00000-of-00002.safetensors    one for each rank that owns something
///     model.safetensors.index.json        where other readers find the tensors that are whole in one file
///     checkpoint.json                     what is where, with checksums: see io/manifest.hpp
///     COMPLETE                            the checksum of checkpoint.json, written last
///   run/LATEST                            name of the newest, for people and scripts: nothing here reads it
///
/// Nothing here knows models, optimizers or Kokkos; views_to_save (train/checkpoint_views.hpp) makes slices of views.
/// docs/checkpoints.md tells the rest.

namespace switchyard::train {

/// Saves the slices that ranks own, and the state, as step_<step> of `folder`, which is made where it is not there.
/// When it returns, all is on the disk and the checkpoint has its name. Collective; the same folder, step, state and
/// options on every rank. Every element of a tensor is owned by exactly one rank.
/// Throws on every rank alike, after removing what it wrote: disagreement where the ranks' arguments differ,
/// invalid_argument where slices make no sense, overlap or leave elements out, file_error where the system refuses (a
/// full disk, a folder that cannot be written) or a checkpoint of that step is there. Older checkpoints stay as they
/// are until the new one is safe; then `keep` removes the oldest complete ones, never what is incomplete or not ours.
/// Allocates little beside the names: data go to the file from where they are. The same bytes for the same slices.
inline saved_checkpoint save_checkpoint(const communicator& comm, const std::filesystem::path& folder,
                                        std::int64_t step, const std::vector<tensor_slice>& slices,
                                        const io::state_map& state, const save_options& options = {}) {
  detail::saving save(comm, folder, step, slices, state, options);
  save.write();
  return save.commit();
}

/// Fills every element of the slices, `owned` or not, from the checkpoint at `path` (the folder step_<n>), each exactly
/// once and each verified by its checksum. Collective. A rank reads the blocks that hold its elements, and no others.
/// Throws on every rank alike, and then the slices hold nothing in particular: file_error, naming file and tensor,
/// where the checkpoint is incomplete, damaged, of another format, misses a tensor, has it in another dtype or shape,
/// or, unless allowed, has elements that no rank wants; disagreement, invalid_argument as a save does. Allocates one
/// block, and a small multiple of the size of checkpoint.json.
inline loaded_checkpoint load_checkpoint(const communicator& comm, const std::filesystem::path& path,
                                         const std::vector<tensor_slice>& slices, const load_options& options = {}) {
  return detail::load(comm, path, slices, options);
}

/// What stands in `folder` under the name of a checkpoint, by step, newest first: complete ones, and with a reason and
/// what to do, those that are unfinished or damaged. Compares files with what they should be but for their data, which
/// it does not read. Local. Throws file_error where the folder cannot be read; one that is not there is empty.
inline std::vector<found_checkpoint> list_checkpoints(const std::filesystem::path& folder) {
  return detail::find_checkpoints(folder);
}

/// The complete checkpoint of the largest step in `folder`, or none. Local.
inline std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder) {
  std::optional<std::filesystem::path> newest;
  detail::visit_checkpoints(folder, [&](const found_checkpoint& c) {
    if (c.status == checkpoint_status::complete) newest = c.path;
    return !newest;
  });
  return newest;
}

/// The same, as rank 0 sees it, on every rank. Collective.
inline std::optional<std::filesystem::path> newest_checkpoint(const communicator& comm,
                                                              const std::filesystem::path& folder) {
  std::string found;
  detail::raise_together(comm, detail::attempt([&] {
                           if (comm.rank() != 0) return;
                           if (const auto path = newest_checkpoint(folder)) found = path->string();
                         }));
  found = detail::tell(comm, found);
  if (found.empty()) return std::nullopt;
  return found;
}

/// What a checkpoint says about itself: step, state, tensors and where they are. Local. Throws file_error as a load
/// does, but reads no data.
inline io::manifest describe_checkpoint(const std::filesystem::path& path) {
  return detail::open_checkpoint(path);
}

/// Reads all of a checkpoint and throws file_error where a byte of it is not what was saved. Local.
inline void verify_checkpoint(const std::filesystem::path& path) {
  detail::verify(path);
}

} // namespace switchyard::train

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <switchyard/io/dtype.hpp>
#include <switchyard/io/state.hpp>
#include <utility>
#include <vector>

namespace switchyard::train {

/// What this rank holds of one global tensor: a box of its elements, row-major and without gaps, in host memory that
/// somebody else owns. A rank may give several boxes of one tensor, and boxes without elements.
struct tensor_slice {
  std::string name; ///< global, without '@'
  io::dtype type{};
  std::vector<std::int64_t> shape;  ///< of the global tensor; empty for a scalar
  std::vector<std::int64_t> offset; ///< of this box
  std::vector<std::int64_t> extent; ///< of this box
  std::span<std::byte> bytes;       ///< read by a save, written by a load
  bool owned = true;                ///< this rank saves it: of replicas, exactly one does. A load pays no heed
};

/// A box of a tensor in values, whose bytes it is.
template <io::element T>
tensor_slice make_slice(std::string name, std::vector<std::int64_t> shape, std::vector<std::int64_t> offset,
                        std::vector<std::int64_t> extent, std::span<T> values, bool owned = true) {
  return {std::move(name),
          io::dtype_of<T>(),
          std::move(shape),
          std::move(offset),
          std::move(extent),
          std::as_writable_bytes(values),
          owned};
}

/// All of a tensor.
template <io::element T>
tensor_slice make_slice(std::string name, const std::vector<std::int64_t>& shape, std::span<T> values,
                        bool owned = true) {
  return make_slice(std::move(name), shape, std::vector<std::int64_t>(shape.size(), 0), shape, values, owned);
}

/// The same on every rank.
struct save_options {
  std::int64_t keep = 0; ///< complete checkpoints of this step and before that stay; 0: all
  bool replace = false;  ///< whether a checkpoint of the same step is replaced; otherwise that is an error
  std::uint64_t block_bytes = std::uint64_t{4} << 20; ///< of data for each checksum: what a load reads at a time
};

/// The same on every rank.
struct saved_checkpoint {
  std::filesystem::path path;
  std::uint64_t bytes = 0;                    ///< of all its files of data
  std::vector<std::filesystem::path> removed; ///< older checkpoints, by `keep`
  std::vector<std::string> notes; ///< what did not work and harms nothing: an old checkpoint that could not be removed
};

struct load_options {
  bool allow_extra = false; ///< whether the checkpoint may have tensors, or elements, that no rank wants
};

/// The same on every rank.
struct loaded_checkpoint {
  std::int64_t step = 0;
  io::state_map state;
  std::string library; ///< version of the library that wrote it
};

enum class checkpoint_status {
  complete,
  unfinished, ///< a save or a removal was interrupted, or is under way
  damaged,    ///< it was complete: files are missing, cut or changed
};

struct found_checkpoint {
  std::filesystem::path path;
  std::int64_t step = 0;
  checkpoint_status status = checkpoint_status::unfinished;
  std::string why = {}; ///< it is not complete, and what to do
};

} // namespace switchyard::train

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <switchyard/io/box.hpp>
#include <switchyard/io/dtype.hpp>
#include <switchyard/io/state.hpp>
#include <vector>

/// \file
/// What a checkpoint says about itself: checkpoint.json, as text and as numbers. No files are touched here.
///
///   {"format": "switchyard-checkpoint", "version": 1, "library": "0.1.0", "step": 1200,
///    "checksum": "xxh64", "block_bytes": 4194304,
///    "state": {"name": scalar, ...},
///    "files": {"name": {"bytes": n, "head_bytes": n, "head": "16 hexadecimal digits"}, ...},
///    "tensors": {"name": {"dtype": "F32", "shape": [...], "parts": [
///      {"file": "name", "key": "...", "offset": [...], "extent": [...], "blocks": ["16 hexadecimal digits", ...]},
///      ...]},
///     ...}}

namespace switchyard::io {

/// A file of a checkpoint beside checkpoint.json and COMPLETE.
struct stored_file {
  std::string name;             ///< no path
  std::uint64_t bytes = 0;      ///< of the file
  std::uint64_t head_bytes = 0; ///< what stands before the data of a safetensors file; all of a file of another kind
  std::uint64_t head = 0;       ///< checksum of the first head_bytes
};

/// One box of a tensor, in one file.
struct stored_part {
  std::string file;
  std::string key; ///< the tensor's name in that file
  box where;
  std::vector<std::uint64_t> blocks; ///< a checksum for each block_bytes of its data, the last of what is left
};

/// The parts hold every element exactly once.
struct stored_tensor {
  std::string name;
  dtype type{};
  std::vector<std::int64_t> shape;
  std::vector<stored_part> parts;
};

struct manifest {
  std::string library; ///< version that wrote it
  std::int64_t step = 0;
  std::uint64_t block_bytes = 0;
  state_map state;
  std::vector<stored_file> files;     ///< by name
  std::vector<stored_tensor> tensors; ///< by name

  /// nullptr where it has none.
  const stored_file* find_file(std::string_view name) const { return find(files, name); }
  const stored_tensor* find_tensor(std::string_view name) const { return find(tensors, name); }

 private:
  template <class Item>
  static const Item* find(const std::vector<Item>& sorted, std::string_view name) {
    const auto at =
        std::ranges::lower_bound(sorted, name, {}, [](const Item& x) -> std::string_view { return x.name; });
    return at != sorted.end() && at->name == name ? &*at : nullptr;
  }
};

} // namespace switchyard::io

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <switchyard/io/box.hpp>
#include <switchyard/io/detail/make_header.hpp>
#include <switchyard/io/files.hpp>
#include <switchyard/io/manifest.hpp>
#include <switchyard/io/safetensors_ranges.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <switchyard/io/xxh64.hpp>
#include <vector>

/// \file
/// The files of a checkpoint that hold data: safetensors, whose header and whose data, block by block, have checksums
/// in the manifest, so that a part that is read alone is verified too.

namespace switchyard::io {

/// What the manifest must know of a written file.
struct written_shard {
  stored_file file;
  std::vector<std::vector<std::uint64_t>> blocks; ///< of each tensor, in the order in which they were given
};

/// Writes a new file of these tensors and brings it to the disk; nothing is left of it where that fails.
/// Throws invalid_argument as serialize_safetensors does, file_error where the system refuses.
inline written_shard write_shard(const std::filesystem::path& path, const std::vector<tensor_view>& tensors,
                                 std::uint64_t block_bytes) {
  const detail::layout layout = detail::make_layout(tensors, {{"format", "pt"}}); // without it transformers refuses
  new_file file(path);
  const auto head = std::as_bytes(std::span(layout.header));
  file.write(head);
  written_shard result{{path.filename().string(), head.size(), head.size(), xxh64(head)}, {}};
  result.blocks.resize(tensors.size());
  for (const tensor_view* t : layout.order) {
    auto& checksums = result.blocks[static_cast<std::size_t>(t - tensors.data())];
    for (std::uint64_t done = 0; done < t->bytes.size(); done += block_bytes)
      checksums.push_back(xxh64(t->bytes.subspan(done, std::min<std::uint64_t>(block_bytes, t->bytes.size() - done))));
    file.write(t->bytes);
    result.file.bytes += t->bytes.size();
  }
  file.commit();
  return result;
}

/// Throws file_error where a file of a checkpoint is missing, no regular file, or of another size. Reads no data.
inline void check_size(const std::filesystem::path& folder, const stored_file& file) {
  const auto path = folder / file.name;
  detail::refused_as(path, "cannot be read", [&] {
    std::uint64_t size = 0;
    const detail::descriptor there = detail::open_regular(path, size);
    if (size != file.bytes)
      detail::bad_file(path.string(), "it has ", size, " bytes, not the ", file.bytes, " that were saved",
                       detail::recognized(there));
  });
}

/// One file of a checkpoint, open to be read in parts.
class shard_reader {
 public:
  /// Throws file_error where the file is missing, is not what the manifest says, or leaves the folder.
  shard_reader(const std::filesystem::path& folder, const stored_file& file, std::uint64_t block_bytes)
      : source_((folder / file.name).string()), block_bytes_(block_bytes), in_(open(folder, file)) {
    if (in_.head().size() != file.head_bytes || xxh64(in_.head()) != file.head)
      detail::bad_file(source_, "its header is not the one that was saved: the file is damaged or of another "
                                "checkpoint; use another checkpoint");
  }

  /// Copies the elements that a part of `tensor` and the box `slice` have in common to out, which holds the slice
  /// row-major. Reads and verifies the blocks that hold them; block: memory for one, grown where it is too small.
  /// Throws file_error, naming the tensor. Returns the number of elements.
  std::int64_t read(const stored_tensor& tensor, const stored_part& from, const box& slice, std::span<std::byte> out,
                    std::vector<std::byte>& block) const {
    const auto both = intersection(from.where, slice);
    if (!both) return 0;
    const auto* stored = in_.find(from.key);
    if (!stored || stored->type != tensor.type || stored->shape != from.where.extent)
      detail::bad_file(source_, "tensor ", detail::shown(tensor.name), ": ", detail::shown(from.key), " is not ",
                       dtype_name(tensor.type), " of shape ", detail::shown(from.where.extent),
                       " in it; the file is of another checkpoint; use another checkpoint");
    const std::uint64_t size = dtype_size(tensor.type);
    std::uint64_t begin = 0, end = 0; // bytes of the tensor that are in `block`
    for_each_run(*both, from.where, slice, [&](std::int64_t a, std::int64_t b, std::int64_t n) {
      std::uint64_t at = static_cast<std::uint64_t>(a) * size, to = static_cast<std::uint64_t>(b) * size;
      for (std::uint64_t left = static_cast<std::uint64_t>(n) * size; left > 0;) {
        if (at < begin || at >= end) {
          const std::uint64_t which = at / block_bytes_;
          begin = which * block_bytes_;
          end = std::min(begin + block_bytes_, stored->bytes);
          fetch(tensor, *stored, begin, end, from.blocks.at(which), block);
        }
        const std::uint64_t now = std::min(left, end - at);
        std::copy_n(block.data() + (at - begin), now, out.subspan(to, now).data());
        at += now, to += now, left -= now;
      }
    });
    return both->volume();
  }

 private:
  /// The size is compared before the header is read, so that a file that is something else is called what it is.
  static safetensors_ranges open(const std::filesystem::path& folder, const stored_file& file) {
    check_size(folder, file);
    return safetensors_ranges(folder / file.name);
  }

  void fetch(const stored_tensor& tensor, const safetensors_ranges::tensor& stored, std::uint64_t begin,
             std::uint64_t end, std::uint64_t checksum, std::vector<std::byte>& block) const {
    if (block.size() < end - begin) block.resize(end - begin);
    const std::span bytes(block.data(), end - begin);
    in_.read(stored, begin, bytes);
    if (xxh64(bytes) != checksum)
      detail::bad_file(source_, "tensor ", detail::shown(tensor.name), ": bytes ", begin, " to ", end, " of ",
                       detail::shown(stored.name),
                       " have another checksum than what was saved: the file is damaged; "
                       "use another checkpoint");
  }

  std::string source_;
  std::uint64_t block_bytes_;
  safetensors_ranges in_;
};

} // namespace switchyard::io

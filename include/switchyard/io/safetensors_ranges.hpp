// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/parse_header.hpp>
#include <switchyard/io/files.hpp>
#include <utility>
#include <vector>

/// \file
/// A safetensors file of which only parts are read.
///
///   const io::safetensors_ranges in("in.safetensors");
///   in.read("x", 4 * row, std::as_writable_bytes(std::span(values)));   // from that byte of x on

namespace switchyard::io {

/// An open file whose header is checked in every respect (see parse_safetensors). Movable. Nothing of the data is kept.
class safetensors_ranges {
 public:
  struct tensor {
    std::string name;
    dtype type{};
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0; ///< its data in the file
    std::uint64_t bytes = 0;
  };

  /// Reads the header. Throws file_error as read_safetensors does, and for a symbolic link.
  explicit safetensors_ranges(const std::filesystem::path& path) : source_(path.string()), file_(open(path)) {
    const std::string start = text(0, std::min<std::uint64_t>(bytes_, detail::prefix_size));
    head_ = text(0, 8 + detail::header_length(source_, std::as_bytes(std::span(start)), bytes_));
    const auto header = detail::parse_header(source_, std::string_view(head_).substr(8), bytes_ - head_.size());
    for (const detail::entry& e : header.tensors)
      tensors_.push_back({e.name, e.type, e.shape, head_.size() + e.begin, e.end - e.begin});
  }

  std::uint64_t bytes() const { return bytes_; }                  ///< of the file
  const std::string& head() const { return head_; }               ///< all that stands before the data
  const std::vector<tensor>& tensors() const { return tensors_; } ///< by name

  /// nullptr where the file has none of that name.
  const tensor* find(std::string_view name) const {
    const auto at =
        std::ranges::lower_bound(tensors_, name, {}, [](const tensor& t) -> std::string_view { return t.name; });
    return at != tensors_.end() && at->name == name ? &*at : nullptr;
  }

  /// Fills out with the bytes of a tensor of this file from byte `first` of its data on. Throws file_error where the
  /// file has become shorter, invalid_argument where they are not all the tensor's.
  void read(const tensor& from, std::uint64_t first, std::span<std::byte> out) const {
    switchyard::detail::require(first <= from.bytes && out.size() <= from.bytes - first, "bytes ", first, " to ",
                                first + out.size(), ": the tensor ", detail::shown(from.name), " has ", from.bytes);
    read_file_bytes(from.begin + first, out);
  }

  void read(std::string_view name, std::uint64_t first, std::span<std::byte> out) const {
    const tensor* from = find(name);
    if (!from)
      detail::bad_file(source_, "tensor ", detail::shown(name), " is not in the file; give the file that has it");
    read(*from, first, out);
  }

 private:
  detail::descriptor open(const std::filesystem::path& path) {
    return detail::refused_as(path, "cannot be read", [&] { return detail::open_regular(path, bytes_); });
  }

  void read_file_bytes(std::uint64_t at, std::span<std::byte> out) const {
    detail::refused_as(source_, "cannot be read", [&] {
      if (detail::read_at(file_, at, out) < out.size())
        detail::bad_file(source_, "the file became shorter while it was read; read again");
    });
  }

  std::string text(std::uint64_t at, std::uint64_t size) const {
    std::string out(size, '\0');
    read_file_bytes(at, std::as_writable_bytes(std::span(out)));
    return out;
  }

  std::string source_;
  std::uint64_t bytes_ = 0;
  detail::descriptor file_;
  std::string head_;
  std::vector<tensor> tensors_;
};

} // namespace switchyard::io

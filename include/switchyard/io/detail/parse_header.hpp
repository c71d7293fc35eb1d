// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/json.hpp>
#include <switchyard/io/dtype.hpp>
#include <utility>
#include <vector>

/// \file
/// Reading the header of a safetensors file: every check that can be made before a byte of data is used.
/// Messages begin with `source`, the path or what else the caller calls the file.

namespace switchyard::io::detail {

inline constexpr std::size_t prefix_size = 64; ///< bytes of a file that tell what it is

/// What a file that is no safetensors file seems to be, and the way out.
inline std::string_view recognize(std::string_view start) {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {"version https://git-lfs", "it is a Git LFS pointer, not the data; run `git lfs pull`"},
      {"PK\x03\x04", "it is a zip archive, likely a PyTorch checkpoint; convert it to safetensors"},
      {"\x80\x02", "it is a Python pickle, likely a PyTorch checkpoint; convert it to safetensors"},
      {"\x80\x03", "it is a Python pickle; convert it to safetensors"},
      {"\x80\x04", "it is a Python pickle; convert it to safetensors"},
      {"\x80\x05", "it is a Python pickle; convert it to safetensors"},
      {"\x93NUMPY", "it is a NumPy array; convert it to safetensors"},
      {"\x89HDF", "it is an HDF5 file; convert it to safetensors"},
      {"<", "it looks like a web page, not the file itself; download it again"},
      {"{", "it is JSON text, perhaps the index of a sharded model; give one of the .safetensors files"},
  };
  for (const auto& [magic, advice] : known)
    if (start.starts_with(magic)) return advice;
  return "the file is damaged or not a safetensors file; fetch or save it again";
}

/// The length n of the header. prefix: the first min(prefix_size, file_size) bytes. Throws file_error.
inline std::uint64_t header_length(const std::string& source, std::span<const std::byte> prefix,
                                   std::uint64_t file_size) {
  const std::string_view text(reinterpret_cast<const char*>(prefix.data()), prefix.size());
  const auto fail = [&](const auto&... part) { bad_file(source, part..., "; ", recognize(text)); };
  if (file_size == 0) bad_file(source, "the file is empty; fetch or save it again");
  if (file_size < 8) fail("the file has ", file_size, " bytes, a safetensors file at least 8");
  std::uint64_t n = 0;
  std::memcpy(&n, prefix.data(), 8);
  if (n > max_header) fail("header of ", n, " bytes: at most ", max_header, " are allowed");
  if (n > file_size - 8) fail("header of ", n, " bytes, but only ", file_size - 8, " follow");
  if (n == 0) fail("the header is empty");
  if (text.substr(8).starts_with("\xef\xbb\xbf")) fail("the header begins with a byte order mark, not with '{'");
  if (text[8] != '{') fail("the header does not begin with '{'");
  return n;
}

/// Reads and checks one header; fail() names the file and the tensor at hand.
class header_parser {
 public:
  header_parser(const std::string& source, std::uint64_t data_size) : source_(source), data_size_(data_size) {}

  header parse(std::string_view text) {
    if (!is_utf8(text)) fail("the header is not UTF-8; ", damaged);
    try {
      json_reader json(text);
      json.object([&](std::string key) {
        if (key == "__metadata__") return metadata(json);
        tensor_ = std::move(key);
        tensor(json);
        tensor_.reset();
      });
      json.end();
    } catch (const json_error& problem) {
      fail("in the header: ", problem.what(), "; ", damaged);
    }
    check_names();
    check_tiling();
    return std::move(header_);
  }

 private:
  static constexpr const char* damaged = "the file is damaged or badly written; fetch or save it again";

  template <class... Part>
  [[noreturn]] void fail(const Part&... part) const {
    bad_file(source_, tensor_ ? "tensor " + shown(*tensor_) + ": " : "", part...);
  }

  void metadata(json_reader& json) {
    if (has_metadata_) fail("__metadata__ is given twice; ", damaged);
    has_metadata_ = true;
    try {
      json.object([&](std::string key) {
        const auto [at, is_new] = header_.metadata.try_emplace(std::move(key));
        if (!is_new) fail("__metadata__ has the key ", shown(at->first), " twice; ", damaged);
        at->second = json.string();
      });
    } catch (const json_error& problem) {
      fail("in __metadata__, which maps text to text: ", problem.what(), "; ", damaged);
    }
  }

  void tensor(json_reader& json) {
    entry found;
    bool has_dtype = false, has_shape = false, has_offsets = false;
    const auto first_time = [&](bool& flag, const char* field) {
      if (std::exchange(flag, true)) fail(field, " is given twice; ", damaged);
    };
    json.object([&](const std::string& field) {
      if (field == "dtype") {
        first_time(has_dtype, "dtype");
        found.type = type(json.string());
      } else if (field == "shape") {
        first_time(has_shape, "shape");
        json.array([&] { found.shape.push_back(extent(json.integer(), found.shape.size())); });
      } else if (field == "data_offsets") {
        first_time(has_offsets, "data_offsets");
        int count = 0;
        json.array([&] {
          if (count == 2) fail("data_offsets has more than 2 numbers; ", damaged);
          (count++ == 0 ? found.begin : found.end) = json.integer();
        });
        if (count != 2) fail("data_offsets has fewer than 2 numbers; ", damaged);
      } else {
        fail("unknown field ", shown(field), ": dtype, shape and data_offsets are allowed; ", damaged);
      }
    });
    if (!has_dtype || !has_shape || !has_offsets)
      fail(!has_dtype ? "dtype" : !has_shape ? "shape" : "data_offsets", " is missing; ", damaged);
    check_size(found);
    found.name = *tensor_;
    header_.tensors.push_back(std::move(found));
  }

  dtype type(const std::string& name) const {
    if (const auto known = find_dtype(name)) return *known;
    std::string names;
    for (const auto& row : dtype_table) (names += ' ') += row.name;
    fail("dtype ", shown(name), " is not one of", names, "; convert the tensor to one of these");
  }

  std::int64_t extent(std::uint64_t value, std::size_t rank) const {
    if (rank == max_rank) fail("shape has more than ", max_rank, " extents; reshape the tensor");
    if (value > std::numeric_limits<std::int64_t>::max()) fail("extent ", value, " must be below 2^63; ", damaged);
    return static_cast<std::int64_t>(value);
  }

  void check_size(const entry& found) const {
    if (found.begin > found.end)
      fail("data_offsets = [", found.begin, ",", found.end, "] begin after their end; ", damaged);
    const auto needed = byte_count(found.type, found.shape);
    if (!needed) fail(dtype_name(found.type), " of shape ", shown(found.shape), " has more bytes than 2^63; ", damaged);
    if (found.end - found.begin != *needed)
      fail("data_offsets = [", found.begin, ",", found.end, "] hold ", found.end - found.begin, " bytes, ",
           dtype_name(found.type), " of shape ", shown(found.shape), " needs ", *needed, "; ", damaged);
  }

  /// Sorts by name; no name stands twice.
  void check_names() {
    auto& tensors = header_.tensors;
    std::sort(tensors.begin(), tensors.end(), [](const entry& a, const entry& b) { return a.name < b.name; });
    const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                          [](const entry& a, const entry& b) { return a.name == b.name; });
    if (twice == tensors.end()) return;
    tensor_ = twice->name;
    fail("the name is given twice; ", damaged);
  }

  /// The tensors cover the data exactly: the first begins at 0, each other where one ends, the last ends at the end.
  void check_tiling() {
    std::vector<const entry*> order;
    order.reserve(header_.tensors.size());
    for (const entry& e : header_.tensors) order.push_back(&e);
    std::sort(order.begin(), order.end(),
              [](const entry* a, const entry* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
    std::uint64_t covered = 0;
    for (const entry* next : order) {
      tensor_ = next->name;
      if (next->begin < covered)
        fail("its data begin at byte ", next->begin, " and overlap those of another tensor, which end at ", covered,
             "; ", damaged);
      if (next->begin > covered)
        fail("bytes ", covered, " to ", next->begin, ", before its data, belong to no tensor; ", damaged);
      covered = next->end;
      if (covered > data_size_)
        fail("its data end at byte ", covered, ", but the file has ", data_size_,
             " bytes of data: it is truncated; fetch or save it again");
    }
    tensor_.reset();
    if (covered < data_size_)
      fail(data_size_ - covered, " bytes at the end of the file belong to no tensor; ", damaged);
  }

  const std::string& source_;
  std::uint64_t data_size_;
  header header_;
  bool has_metadata_ = false;
  std::optional<std::string> tensor_; // being read or checked
};

/// The header in text, checked in every respect against data_size bytes of data. Throws file_error. Allocates a small
/// multiple of the text's size, never by a number that the text names.
inline header parse_header(const std::string& source, std::string_view text, std::uint64_t data_size) {
  return header_parser(source, data_size).parse(text);
}

} // namespace switchyard::io::detail

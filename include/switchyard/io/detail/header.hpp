// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/io/detail/json.hpp>
#include <switchyard/io/dtype.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <vector>

/// \file
/// What stands before the data of a safetensors file:
///
///   u64 n | n bytes of JSON, padded with spaces | data
///   {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
///
/// Offsets count from the start of the data.

namespace switchyard::io::detail {

static_assert(std::endian::native == std::endian::little, "switchyard: safetensors are little-endian; this machine is "
                                                          "not, and byte swapping is not written");

inline constexpr std::uint64_t max_header = 100'000'000; ///< bytes, the format's own limit
inline constexpr std::size_t max_rank = 64;              ///< extents in one shape

/// One tensor of a header; begin and end are offsets into the data.
struct entry {
  std::string name;
  dtype type{};
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct header {
  std::vector<entry> tensors; ///< by name
  metadata_map metadata;
};

/// Throws file_error; source is the path, or what else the caller calls the file.
template <class... Part>
[[noreturn]] void bad_file(const std::string& source, const Part&... part) {
  throw file_error(switchyard::detail::message(source, ": ", part...));
}

/// A string from a file as messages show it: quoted, escaped, cut after 100 bytes.
inline std::string shown(std::string_view text) {
  constexpr std::size_t most = 100;
  if (text.size() <= most) return json_quote(text);
  std::size_t length = most;
  while ((static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length; // not within a character
  return json_quote(text.substr(0, length)) + "...";
}

inline std::string shown(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (const std::int64_t extent : shape) {
    if (out.size() > 1) out += ',';
    out += std::to_string(extent);
  }
  return out + ']';
}

} // namespace switchyard::io::detail

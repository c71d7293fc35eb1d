// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <switchyard/io/dtype.hpp>
#include <utility>
#include <vector>

namespace switchyard::io {

/// Bytes of a tensor, or none where the product leaves 63 bits (in any order of its extents).
inline std::optional<std::uint64_t> byte_count(dtype type, std::span<const std::int64_t> shape) {
  auto bytes = static_cast<std::int64_t>(dtype_size(type));
  bool empty = false;
  for (const std::int64_t extent : shape) {
    empty = empty || extent == 0;
    if (extent > 0 && __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return empty ? 0 : static_cast<std::uint64_t>(bytes);
}

/// One tensor: row-major elements of `type`, in memory that somebody else owns. The bytes may stand at any address.
struct tensor_view {
  std::string name;
  dtype type{};
  std::vector<std::int64_t> shape; ///< empty for a scalar
  std::span<const std::byte> bytes;

  /// Elements.
  std::size_t size() const { return bytes.size() / dtype_size(type); }
};

/// A view of values as a tensor; its bytes are those of values, which must outlive it.
template <std::ranges::contiguous_range Range>
requires std::ranges::borrowed_range<Range> && std::ranges::sized_range<Range> &&
    element<std::ranges::range_value_t<Range>>
        tensor_view make_tensor(std::string name, std::vector<std::int64_t> shape, Range&& values) {
  const std::span span(std::ranges::data(values), std::ranges::size(values));
  return {std::move(name), dtype_of<std::ranges::range_value_t<Range>>(), std::move(shape), std::as_bytes(span)};
}

/// Text about a file, key to value.
using metadata_map = std::map<std::string, std::string, std::less<>>;

} // namespace switchyard::io

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/json.hpp>
#include <switchyard/io/dtype.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <vector>

/// \file
/// Writing the header of a safetensors file.

namespace switchyard::io::detail {

/// The first bytes of a file, up to its data: the length n and the header, padded with spaces to a multiple of 8 bytes.
inline std::string make_header(std::span<const entry> tensors, const metadata_map& metadata) {
  std::string out(8, '\0'); // n
  out += '{';
  const auto key = [&out](std::string_view name) {
    if (out.back() != '{') out += ',';
    out += json_quote(name) + ':';
  };
  if (!metadata.empty()) {
    key("__metadata__");
    out += '{';
    for (const auto& [name, value] : metadata) {
      key(name);
      out += json_quote(value);
    }
    out += '}';
  }
  for (const entry& e : tensors) {
    key(e.name);
    out += "{\"dtype\":" + json_quote(dtype_name(e.type)) + ",\"shape\":" + shown(e.shape) + ",\"data_offsets\":[" +
           std::to_string(e.begin) + ',' + std::to_string(e.end) + "]}";
  }
  out += '}';
  out.append((8 - out.size() % 8) % 8, ' ');
  const std::uint64_t n = out.size() - 8;
  std::memcpy(out.data(), &n, 8);
  return out;
}

/// The tensors in the order of the file, and its bytes up to the data.
struct layout {
  std::vector<const tensor_view*> order;
  std::string header;
};

/// Widest types first, then by name, as the format's own writer orders them. Throws invalid_argument.
inline layout make_layout(std::span<const tensor_view> tensors, const metadata_map& metadata) {
  using switchyard::detail::require;
  layout result;
  for (const tensor_view& t : tensors) result.order.push_back(&t);
  std::sort(result.order.begin(), result.order.end(), [](const tensor_view* a, const tensor_view* b) {
    return a->type != b->type ? a->type > b->type : a->name < b->name;
  });
  std::vector<std::string_view> names;
  std::vector<entry> entries;
  std::uint64_t end = 0;
  for (const tensor_view* t : result.order) {
    require(is_utf8(t->name), "tensor name: must be UTF-8; rename the tensor");
    const std::string who = "tensor " + shown(t->name);
    require(t->name != "__metadata__", who, ": the name is reserved; rename the tensor");
    require(t->shape.size() <= max_rank, who, ": at most ", max_rank, " extents; reshape it");
    require(std::ranges::all_of(t->shape, [](std::int64_t extent) { return extent >= 0; }), who, ": shape ",
            shown(t->shape), ": extents must be at least 0");
    const auto needed = byte_count(t->type, t->shape);
    require(needed && *needed == t->bytes.size(), who, ": ", dtype_name(t->type), " of shape ", shown(t->shape),
            " does not have the ", t->bytes.size(), " bytes given; give as many values as the shape has");
    entries.push_back({t->name, t->type, t->shape, end, end + *needed});
    end += *needed;
    names.push_back(t->name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  require(twice == names.end(), "tensor ", twice == names.end() ? "" : shown(*twice),
          ": the name is given twice; rename one of them");
  for (const auto& [key, value] : metadata)
    require(is_utf8(key) && is_utf8(value), "metadata: keys and values must be UTF-8");
  result.header = make_header(entries, metadata);
  require(result.header.size() - 8 <= max_header, "header = ", result.header.size() - 8, " bytes: at most ", max_header,
          " are allowed; write fewer tensors or metadata into one file");
  return result;
}

} // namespace switchyard::io::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/manifest.hpp>
#include <switchyard/io/xxh64.hpp>
#include <vector>

namespace switchyard::io::detail {

inline constexpr std::string_view manifest_format = "switchyard-checkpoint";
inline constexpr std::uint64_t manifest_version = 1;

/// {"name":item, ...}, one line each. item(x) is the text of x.
template <class Items, class Name, class Item>
std::string json_lines(const Items& items, const Name& name, const Item& item) {
  std::string out = "{";
  for (const auto& x : items) {
    out += out.size() > 1 ? ",\n" : "\n";
    out += json_quote(name(x)) + ':' + item(x);
  }
  return out + '}';
}

inline std::string part_text(const stored_part& p) {
  std::string out = "{\"file\":" + json_quote(p.file) + ",\"key\":" + json_quote(p.key) +
                    ",\"offset\":" + shown(p.where.offset) + ",\"extent\":" + shown(p.where.extent) + ",\"blocks\":[";
  for (std::size_t i = 0; i < p.blocks.size(); ++i) {
    out += i > 0 ? ",\"" : "\"";
    out += to_hex(p.blocks[i]);
    out += '"';
  }
  return out + "]}";
}

inline std::string manifest_text(const manifest& m) {
  std::string out = "{\"format\":" + json_quote(manifest_format) + ",\"version\":" + std::to_string(manifest_version) +
                    ",\"library\":" + json_quote(m.library) + ",\"step\":" + std::to_string(m.step) +
                    ",\"checksum\":\"xxh64\",\"block_bytes\":" + std::to_string(m.block_bytes);
  out += ",\n\"state\":" + json_lines(
                               m.state.values(), [](const auto& s) { return s.first; },
                               [](const auto& s) { return json_text(s.second); });
  out += ",\n\"files\":" + json_lines(
                               m.files, [](const stored_file& f) { return f.name; },
                               [](const stored_file& f) {
                                 return "{\"bytes\":" + std::to_string(f.bytes) +
                                        ",\"head_bytes\":" + std::to_string(f.head_bytes) + ",\"head\":\"" +
                                        to_hex(f.head) + "\"}";
                               });
  out += ",\n\"tensors\":" + json_lines(
                                 m.tensors, [](const stored_tensor& t) { return t.name; },
                                 [](const stored_tensor& t) {
                                   std::string text = "{\"dtype\":" + json_quote(dtype_name(t.type)) +
                                                      ",\"shape\":" + shown(t.shape) + ",\"parts\":[";
                                   for (const stored_part& p : t.parts)
                                     (text += text.ends_with('[') ? "" : ",") += part_text(p);
                                   return text + "]}";
                                 });
  return out + "}\n";
}

/// The index of sharded safetensors files that other readers know.
inline std::string index_text(const manifest& m) {
  std::vector<const stored_tensor*> in_one_file;
  std::uint64_t total = 0;
  for (const stored_tensor& t : m.tensors)
    if (t.parts.size() == 1) {
      in_one_file.push_back(&t);
      total += byte_count(t.type, t.shape).value_or(0);
    }
  return "{\"metadata\":{\"total_size\":" + std::to_string(total) + "},\n\"weight_map\":" +
         json_lines(
             in_one_file, [](const stored_tensor* t) { return t->name; },
             [](const stored_tensor* t) { return json_quote(t->parts[0].file); }) +
         "}\n";
}

} // namespace switchyard::io::detail

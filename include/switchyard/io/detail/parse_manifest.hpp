// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <switchyard/io/detail/header.hpp>
#include <switchyard/io/detail/json.hpp>
#include <switchyard/io/detail/make_manifest.hpp>
#include <switchyard/io/manifest.hpp>
#include <switchyard/io/xxh64.hpp>
#include <utility>
#include <vector>

namespace switchyard::io::detail {

/// A name that cannot lead out of a folder.
inline bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

/// Reads and checks one checkpoint.json; fail() names the file and what is at hand.
class manifest_parser {
 public:
  explicit manifest_parser(const std::string& source) : source_(source) {}

  manifest parse(std::string_view text) {
    if (!is_utf8(text)) fail("it is not UTF-8; ", damaged);
    try {
      json_reader json(text);
      fields here(*this);
      json.object([&](const std::string& field) { top(json, here, field); });
      json.end();
      here.need({"format", "version", "library", "step", "checksum", "block_bytes", "state", "files", "tensors"});
    } catch (const json_error& problem) {
      fail(problem.what(), "; ", damaged);
    }
    sort_by_name(m_.files, "file");
    sort_by_name(m_.tensors, "tensor");
    for (const stored_tensor& t : m_.tensors) check(t);
    check_keys();
    return std::move(m_);
  }

 private:
  static constexpr const char* damaged = "the checkpoint is damaged or badly written; use another one";

  template <class... Part>
  [[noreturn]] void fail(const Part&... part) const {
    bad_file(source_, at_, part...);
  }

  /// Which fields an object has had.
  class fields {
   public:
    explicit fields(const manifest_parser& parser) : parser_(parser) {}
    void add(const std::string& field) {
      if (!seen_.insert(field).second) parser_.fail("the field ", shown(field), " is given twice; ", damaged);
    }
    void need(std::initializer_list<const char*> all) const {
      for (const char* field : all)
        if (!seen_.contains(field)) parser_.fail("the field \"", field, "\" is missing; ", damaged);
    }

   private:
    const manifest_parser& parser_;
    std::set<std::string, std::less<>> seen_;
  };

  [[noreturn]] void unknown(const std::string& field) const { fail("unknown field ", shown(field), "; ", damaged); }

  void top(json_reader& json, fields& here, const std::string& field) {
    here.add(field);
    if (field == "format") {
      const std::string format = json.string();
      if (format != manifest_format)
        fail("format = ", shown(format), ": must be \"", manifest_format, "\"; give the folder of a checkpoint");
    } else if (field == "version") {
      const std::uint64_t version = json.integer();
      if (version != manifest_version)
        fail("version = ", version, ": this library reads version ", manifest_version,
             "; use the library that wrote it");
    } else if (field == "library") {
      m_.library = json.string();
    } else if (field == "step") {
      m_.step = signed_integer(json, "step");
    } else if (field == "checksum") {
      const std::string kind = json.string();
      if (kind != "xxh64") fail("checksum = ", shown(kind), ": must be \"xxh64\"; ", damaged);
    } else if (field == "block_bytes") {
      m_.block_bytes = json.integer();
      if (m_.block_bytes == 0) fail("block_bytes = 0: must be at least 1; ", damaged);
    } else if (field == "state") {
      json.object([&](const std::string& name) {
        if (m_.state.contains(name)) fail("the state ", shown(name), " is given twice; ", damaged);
        std::visit([&](const auto& value) { m_.state.set(name, value); }, json_scalar(json));
      });
    } else if (field == "files") {
      json.object([&](std::string name) { file(json, std::move(name)); });
    } else if (field == "tensors") {
      json.object([&](std::string name) { tensor(json, std::move(name)); });
    } else {
      unknown(field);
    }
  }

  void file(json_reader& json, std::string name) {
    at_ = "file " + shown(name) + ": ";
    if (!is_plain_name(name)) fail("the name leads out of the folder; ", damaged);
    stored_file found{std::move(name)};
    fields here(*this);
    json.object([&](const std::string& field) {
      here.add(field);
      if (field == "bytes")
        found.bytes = json.integer();
      else if (field == "head_bytes")
        found.head_bytes = json.integer();
      else if (field == "head")
        found.head = checksum(json);
      else
        unknown(field);
    });
    here.need({"bytes", "head_bytes", "head"});
    if (found.head_bytes > found.bytes)
      fail("head_bytes = ", found.head_bytes, " of ", found.bytes, " bytes; ", damaged);
    m_.files.push_back(std::move(found));
    at_.clear();
  }

  void tensor(json_reader& json, std::string name) {
    at_ = "tensor " + shown(name) + ": ";
    stored_tensor found;
    found.name = std::move(name);
    fields here(*this);
    json.object([&](const std::string& field) {
      here.add(field);
      if (field == "dtype") {
        const std::string type = json.string();
        const auto known = find_dtype(type);
        if (!known) fail("dtype ", shown(type), " is not known; ", damaged);
        found.type = *known;
      } else if (field == "shape") {
        found.shape = integers(json);
      } else if (field == "parts") {
        json.array([&] { found.parts.push_back(part_of_tensor(json)); });
      } else {
        unknown(field);
      }
    });
    here.need({"dtype", "shape", "parts"});
    m_.tensors.push_back(std::move(found));
    at_.clear();
  }

  stored_part part_of_tensor(json_reader& json) {
    stored_part found;
    fields here(*this);
    json.object([&](const std::string& field) {
      here.add(field);
      if (field == "file")
        found.file = json.string();
      else if (field == "key")
        found.key = json.string();
      else if (field == "offset")
        found.where.offset = integers(json);
      else if (field == "extent")
        found.where.extent = integers(json);
      else if (field == "blocks")
        json.array([&] { found.blocks.push_back(checksum(json)); });
      else
        unknown(field);
    });
    here.need({"file", "key", "offset", "extent", "blocks"});
    return found;
  }

  std::int64_t signed_integer(json_reader& json, const char* what) const {
    const std::uint64_t value = json.integer();
    if (value > std::numeric_limits<std::int64_t>::max()) fail(what, " = ", value, ": must be below 2^63; ", damaged);
    return static_cast<std::int64_t>(value);
  }

  std::vector<std::int64_t> integers(json_reader& json) const {
    std::vector<std::int64_t> values;
    json.array([&] {
      if (values.size() == max_rank) fail("more than ", max_rank, " dimensions; ", damaged);
      values.push_back(signed_integer(json, "an extent or offset"));
    });
    return values;
  }

  std::uint64_t checksum(json_reader& json) const {
    const std::string text = json.string();
    const auto value = from_hex(text);
    if (!value) fail("the checksum ", shown(text), " is not 16 hexadecimal digits; ", damaged);
    return *value;
  }

  template <class Item>
  void sort_by_name(std::vector<Item>& items, const char* what) {
    std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return b.name > a.name; });
    for (std::size_t i = 1; i < items.size(); ++i)
      if (items[i].name == items[i - 1].name)
        fail("the ", what, " ", shown(items[i].name), " is given twice; ", damaged);
  }

  void check(const stored_tensor& t) {
    at_ = "tensor " + shown(t.name) + ": ";
    if (!byte_count(t.type, t.shape)) fail("shape ", shown(t.shape), " has more bytes than 2^63; ", damaged);
    std::vector<box> boxes;
    for (const stored_part& p : t.parts) {
      if (!m_.find_file(p.file)) fail("the file ", shown(p.file), " is not among the files; ", damaged);
      if (!lies_in(p.where, t.shape))
        fail("the part at ", shown(p.where.offset), " of extent ", shown(p.where.extent), " leaves the shape ",
             shown(t.shape), "; ", damaged);
      const std::uint64_t bytes = static_cast<std::uint64_t>(p.where.volume()) * dtype_size(t.type);
      const std::uint64_t blocks = bytes / m_.block_bytes + (bytes % m_.block_bytes > 0 ? 1 : 0);
      if (p.blocks.size() != blocks)
        fail("the part at ", shown(p.where.offset), " has ", p.blocks.size(), " checksums, not ", blocks, "; ",
             damaged);
      boxes.push_back(p.where);
    }
    if (!tile_exactly(t.shape, boxes)) fail("its parts do not hold every element exactly once; ", damaged);
    at_.clear();
  }

  void check_keys() const {
    std::set<std::pair<std::string_view, std::string_view>> keys;
    for (const stored_tensor& t : m_.tensors)
      for (const stored_part& p : t.parts)
        if (!keys.emplace(p.file, p.key).second)
          fail("two parts have the key ", shown(p.key), " of the file ", shown(p.file), "; ", damaged);
  }

  const std::string& source_;
  std::string at_; // "tensor "x": " while one is read or checked
  manifest m_;
};

} // namespace switchyard::io::detail

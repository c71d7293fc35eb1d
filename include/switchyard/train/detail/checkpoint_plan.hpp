// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <switchyard/core/error.hpp>
#include <switchyard/io/box.hpp>
#include <switchyard/io/manifest.hpp>
#include <switchyard/io/tensor_view.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <switchyard/train/detail/together.hpp>
#include <utility>
#include <vector>

/// \file
/// Who saves what: the slices of all ranks, checked against each other. Nothing communicates.

namespace switchyard::train::detail {

using switchyard::detail::message;
using switchyard::detail::require;

inline std::string shown(const std::vector<std::int64_t>& values) {
  std::string out = "[";
  for (const std::int64_t v : values) (out += out.size() > 1 ? "," : "") += std::to_string(v);
  return out + ']';
}

/// Throws invalid_argument where a slice makes no sense by itself.
inline void check_slices(const std::vector<tensor_slice>& slices) {
  for (const tensor_slice& s : slices) {
    require(io::is_utf8(s.name), "tensor name: must be UTF-8; rename the tensor");
    const std::string who = "tensor \"" + s.name + "\": ";
    require(!s.name.empty() && s.name.find('@') == std::string::npos, who,
            "a name must not be empty and not have an '@'; rename the tensor");
    require(io::lies_in({s.offset, s.extent}, s.shape), who, "offset ", shown(s.offset), " and extent ",
            shown(s.extent), " are no box of shape ", shown(s.shape), "; give a box within the tensor");
    const io::box b{s.offset, s.extent};
    const auto bytes = io::byte_count(s.type, s.shape);
    require(bytes.has_value(), who, "shape ", shown(s.shape), " has more bytes than 2^63; split the tensor");
    const auto needed = static_cast<std::uint64_t>(b.volume()) * io::dtype_size(s.type);
    require(s.bytes.size() == needed, who, s.bytes.size(), " bytes given: a slice of extent ", shown(s.extent), " of ",
            io::dtype_name(s.type), " has ", needed, "; give as many");
  }
}

/// The name of a box in its file: the tensor's where it is all of it, else with its offset, "name@0_128".
inline std::string key_of(const std::string& name, const io::box& b, const std::vector<std::int64_t>& shape) {
  if (b.extent == shape) return name;
  std::string key = name;
  for (std::size_t d = 0; d < b.offset.size(); ++d) (key += d == 0 ? '@' : '_') += std::to_string(b.offset[d]);
  return key;
}

/// Whether a rank writes this slice.
inline bool is_written(const tensor_slice& s) {
  return s.owned && !s.bytes.empty();
}

inline std::string pack(const std::vector<tensor_slice>& slices) {
  packer out;
  for (const tensor_slice& s : slices) {
    out.text(s.name);
    out.number(static_cast<std::uint64_t>(s.type));
    out.number(is_written(s) ? 1 : 0);
    out.numbers(s.shape);
    out.numbers(s.offset);
    out.numbers(s.extent);
  }
  return out.bytes();
}

/// A place in save_plan::tensors.
struct part_index {
  std::size_t tensor, part;
};

struct save_plan {
  std::vector<io::stored_tensor> tensors;           ///< by name; parts know their key and box
  std::vector<std::vector<part_index>> of_rank;     ///< what each rank writes, in the order of its slices
  std::map<std::string, std::vector<int>> owner_of; ///< the rank of each part
};

/// slices: of every rank, packed. Throws invalid_argument where ranks contradict each other, or an element is owned by
/// no rank or by two.
inline save_plan make_plan(const std::vector<std::string>& slices) {
  std::map<std::string, io::stored_tensor> tensors;
  std::map<std::string, int> first;
  save_plan plan;
  std::vector<std::vector<std::pair<std::string, std::size_t>>> written(slices.size());
  for (std::size_t r = 0; r < slices.size(); ++r) {
    for (unpacker in(slices[r]); !in.done();) {
      const std::string name = in.text();
      const auto type = static_cast<io::dtype>(in.number());
      const bool is_owned = in.number() == 1;
      const auto shape = in.numbers<std::int64_t>();
      io::box where{in.numbers<std::int64_t>(), {}};
      where.extent = in.numbers<std::int64_t>();
      const auto [at, is_new] = tensors.try_emplace(name, io::stored_tensor{name, type, shape, {}});
      io::stored_tensor& t = at->second;
      if (is_new) first[name] = static_cast<int>(r);
      require(t.type == type && t.shape == shape, "tensor \"", name, "\" is ", io::dtype_name(type), ' ', shown(shape),
              " on rank ", r, ", but ", io::dtype_name(t.type), ' ', shown(t.shape), " on rank ", first[name],
              "; give all ranks the same");
      if (!is_owned) continue;
      written[r].emplace_back(name, t.parts.size());
      plan.owner_of[name].push_back(static_cast<int>(r));
      t.parts.push_back({"", key_of(name, where, shape), std::move(where), {}});
    }
  }
  std::map<std::string, std::size_t> index;
  for (auto& [name, t] : tensors) {
    std::vector<io::box> boxes;
    for (const io::stored_part& p : t.parts) boxes.push_back(p.where);
    if (!io::tile_exactly(t.shape, boxes)) {
      if (const auto missing = io::uncovered(t.shape, boxes))
        throw invalid_argument(message("tensor \"", name, "\" of shape ", shown(t.shape), ": the elements from ",
                                       shown(missing->offset), ", extent ", shown(missing->extent),
                                       ", are owned by no rank; give them, on one rank with owned = true"));
      const auto two = io::overlapping(boxes);
      const auto [a, b] = two.value_or(std::pair<std::size_t, std::size_t>{0, 0});
      throw invalid_argument(message("tensor \"", name, "\": the slices at ", shown(boxes[a].offset), " of rank ",
                                     plan.owner_of[name][a], " and at ", shown(boxes[b].offset), " of rank ",
                                     plan.owner_of[name][b],
                                     " have elements in common; of replicas, one rank gives owned = true"));
    }
    index[name] = plan.tensors.size();
    plan.tensors.push_back(std::move(t));
  }
  for (const auto& own : written) {
    plan.of_rank.emplace_back();
    for (const auto& [name, p] : own) plan.of_rank.back().push_back({index.at(name), p});
  }
  return plan;
}

/// What ranks want of the tensors of a checkpoint: (tensor, box) of each slice, packed.
inline std::string pack_wishes(const io::manifest& m, const std::vector<tensor_slice>& slices) {
  packer out;
  for (const tensor_slice& s : slices) {
    out.number(static_cast<std::uint64_t>(m.find_tensor(s.name) - m.tensors.data()));
    out.numbers(s.offset);
    out.numbers(s.extent);
  }
  return out.bytes();
}

/// Throws file_error where a tensor, or an element of one, is wanted by no rank.
inline void check_wishes(const std::string& source, const io::manifest& m, const std::vector<std::string>& wishes) {
  std::vector<std::vector<io::box>> wanted(m.tensors.size());
  std::vector<bool> is_named(m.tensors.size(), false);
  for (const std::string& of_rank : wishes)
    for (unpacker in(of_rank); !in.done();) {
      const std::size_t t = in.number();
      io::box where{in.numbers<std::int64_t>(), {}};
      where.extent = in.numbers<std::int64_t>();
      is_named[t] = true;
      wanted[t].push_back(std::move(where));
    }
  for (std::size_t t = 0; t < wanted.size(); ++t) {
    const auto way_out = "; is it the checkpoint of another model? allow_extra = true leaves such alone";
    if (!is_named[t])
      throw file_error(message(source, ": tensor \"", m.tensors[t].name, "\" is wanted by no rank", way_out));
    if (const auto missing = io::uncovered(m.tensors[t].shape, wanted[t]))
      throw file_error(message(source, ": tensor \"", m.tensors[t].name, "\" of shape ", shown(m.tensors[t].shape),
                               ": the elements from ", shown(missing->offset), ", extent ", shown(missing->extent),
                               ", are wanted by no rank", way_out));
  }
}

} // namespace switchyard::train::detail

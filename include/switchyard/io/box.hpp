// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

/// \file
/// Boxes of a tensor's elements, [offset, offset + extent) in every dimension: what one rank holds of it, what one file
/// holds, and what both have in common. Elements of a box stand in memory row-major, without gaps.

namespace switchyard::io {

struct box {
  std::vector<std::int64_t> offset;
  std::vector<std::int64_t> extent;

  bool operator==(const box&) const = default;

  /// Elements; 1 for a scalar.
  std::int64_t volume() const {
    std::int64_t v = 1;
    for (const std::int64_t e : extent) v *= e;
    return v;
  }
};

/// All of a tensor.
inline box whole(std::span<const std::int64_t> shape) {
  return {std::vector<std::int64_t>(shape.size(), 0), {shape.begin(), shape.end()}};
}

/// Whether b, of any numbers whatever, is a box of elements of a tensor of that shape.
inline bool lies_in(const box& b, std::span<const std::int64_t> shape) {
  if (b.offset.size() != shape.size() || b.extent.size() != shape.size()) return false;
  for (std::size_t d = 0; d < shape.size(); ++d)
    if (b.offset[d] < 0 || b.extent[d] < 0 || b.offset[d] > shape[d] || b.extent[d] > shape[d] - b.offset[d])
      return false;
  return true;
}

/// What both have in common; none where that is no element. Both are boxes of the same tensor.
inline std::optional<box> intersection(const box& a, const box& b) {
  box both = a;
  for (std::size_t d = 0; d < a.offset.size(); ++d) {
    const std::int64_t begin = std::max(a.offset[d], b.offset[d]);
    const std::int64_t end = std::min(a.offset[d] + a.extent[d], b.offset[d] + b.extent[d]);
    if (begin >= end) return std::nullopt;
    both.offset[d] = begin;
    both.extent[d] = end - begin;
  }
  return both;
}

/// Elements of a tensor that none of the boxes has, as a box; none where there are no such elements. The boxes lie in
/// the tensor. Time and memory grow with the number of boxes times that of the pieces they leave.
inline std::optional<box> uncovered(std::span<const std::int64_t> shape, std::vector<box> boxes) {
  std::sort(boxes.begin(), boxes.end(), [](const box& a, const box& b) { return a.offset < b.offset; });
  std::vector<box> left, next;
  if (whole(shape).volume() > 0) left.push_back(whole(shape));
  for (const box& b : boxes) {
    next.clear();
    for (box& piece : left) {
      const auto both = intersection(piece, b);
      if (!both) {
        next.push_back(std::move(piece));
        continue;
      }
      for (std::size_t d = 0; d < shape.size(); ++d) { // cut off what lies before and behind, dimension by dimension
        const std::int64_t begin = both->offset[d], end = begin + both->extent[d];
        const std::int64_t last = piece.offset[d] + piece.extent[d];
        if (piece.offset[d] < begin) {
          next.push_back(piece);
          next.back().extent[d] = begin - piece.offset[d];
        }
        if (end < last) {
          next.push_back(piece);
          next.back().offset[d] = end;
          next.back().extent[d] = last - end;
        }
        piece.offset[d] = begin;
        piece.extent[d] = end - begin;
      }
    }
    std::swap(left, next);
  }
  if (left.empty()) return std::nullopt;
  return left.front();
}

/// Two of the boxes that have an element in common, by their indices; none where no two have. Pair by pair.
inline std::optional<std::pair<std::size_t, std::size_t>> overlapping(const std::vector<box>& boxes) {
  for (std::size_t i = 1; i < boxes.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (intersection(boxes[i], boxes[j])) return std::pair(j, i);
  return std::nullopt;
}

/// Whether every element of a tensor is in exactly one of the boxes, which lie in it.
inline bool tile_exactly(std::span<const std::int64_t> shape, const std::vector<box>& boxes) {
  const auto total = static_cast<std::uint64_t>(whole(shape).volume());
  std::uint64_t sum = 0; // of at most total each, so it cannot wrap before it is seen to be too much
  for (const box& b : boxes) {
    sum += static_cast<std::uint64_t>(b.volume());
    if (sum > total) return false;
  }
  return sum == total && !uncovered(shape, boxes);
}

/// f(index in a, index in b, elements) for every run of elements of `both` that is contiguous in a and in b, in
/// ascending order. both lies in a and in b.
template <class F>
void for_each_run(const box& both, const box& a, const box& b, F&& f) {
  if (both.volume() == 0) return;
  const std::size_t rank = both.extent.size();
  std::size_t outer = rank; // dimensions from here on are within one run
  std::int64_t run = 1;
  while (outer > 0) {
    --outer;
    run *= both.extent[outer];
    if (both.extent[outer] != a.extent[outer] || both.extent[outer] != b.extent[outer]) break;
  }
  std::vector<std::int64_t> index(outer, 0);
  const auto place = [&](const box& in) {
    std::int64_t at = 0;
    for (std::size_t d = 0; d < rank; ++d)
      at = at * in.extent[d] + both.offset[d] - in.offset[d] + (d < outer ? index[d] : 0);
    return at;
  };
  for (;;) {
    f(place(a), place(b), run);
    std::size_t d = outer;
    while (d > 0 && ++index[d - 1] == both.extent[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

} // namespace switchyard::io

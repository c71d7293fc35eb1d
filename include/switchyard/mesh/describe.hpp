// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/tensor.hpp>

/// \file
/// Which rank holds what, as text. Needs a mesh's extents but no ranks: a mesh of 4096 is described on one.

namespace switchyard {

/// Where a tensor lies, as values: what its type says, with extents.
struct tensor_layout {
  std::vector<std::string_view> axes, dimensions;
  std::vector<std::int64_t> mesh_extents, extents; ///< of the axes; of the dimensions, global
  std::vector<int> codes;                          ///< per axis: the split dimension, or R = -1, P = -2

  std::int64_t ranks() const {
    std::int64_t product = 1;
    for (const std::int64_t n : mesh_extents) product *= n;
    return product;
  }
  /// The last axis varies fastest, as in mesh.
  std::vector<std::int64_t> coordinates(std::int64_t rank) const {
    std::vector<std::int64_t> result(axes.size());
    for (std::size_t a = axes.size(); a-- > 0;) {
      result[a] = rank % mesh_extents[a];
      rank /= mesh_extents[a];
    }
    return result;
  }
  /// What a rank holds of a dimension.
  part here(std::int64_t rank, std::size_t dimension) const {
    return detail::part_at(codes, mesh_extents, coordinates(rank), dimension, extents[dimension]);
  }
  bool partial() const {
    for (const int code : codes)
      if (code == detail::partial) return true;
    return false;
  }
  /// "R", "P" or "S<d_ff>".
  std::string placement(std::size_t axis) const {
    if (codes[axis] == detail::replicated) return "R";
    if (codes[axis] == detail::partial) return "P";
    return detail::message("S<", dimensions[static_cast<std::size_t>(codes[axis])], ">");
  }
  /// For each rank the number of the part it holds, counted in the order of the ranks that first hold one: equal
  /// numbers, equal values. Partial sums of two ranks are never the same.
  std::vector<int> holders() const;
};

namespace detail {
template <class Mesh>
struct axis_labels;
template <class... A>
struct axis_labels<mesh<A...>> {
  static std::vector<std::string_view> get() { return {A::id::label()...}; }
};
} // namespace detail

/// The layout of a tensor type for these extents. Throws invalid_argument where the mesh cannot cut them.
template <placed_tensor Tensor>
tensor_layout layout_of(const std::array<std::int64_t, Tensor::mesh_type::rank>& mesh_extents,
                        const std::array<std::int64_t, Tensor::rank>& extents) {
  using mesh_type = typename Tensor::mesh_type;
  using dims = typename Tensor::dimensions_type;
  constexpr auto codes = detail::codes<dims, typename Tensor::placements_type>;
  detail::extent_check<mesh_type, dims, typename Tensor::placements_type>::run(mesh_extents, extents);
  return {detail::axis_labels<mesh_type>::get(),
          {dims::labels.begin(), dims::labels.end()},
          {mesh_extents.begin(), mesh_extents.end()},
          {extents.begin(), extents.end()},
          {codes.begin(), codes.end()}};
}

inline std::vector<int> tensor_layout::holders() const {
  std::vector<std::vector<std::int64_t>> seen;
  std::vector<int> result;
  for (std::int64_t r = 0; r < ranks(); ++r) {
    std::vector<std::int64_t> what;
    for (std::size_t d = 0; d < dimensions.size(); ++d) {
      const part p = here(r, d);
      what.push_back(p.begin);
      what.push_back(p.count);
    }
    const std::vector<std::int64_t> at = coordinates(r);
    for (std::size_t a = 0; a < axes.size(); ++a)
      if (codes[a] == detail::partial) what.push_back(at[a]);
    std::size_t number = 0;
    while (number < seen.size() && seen[number] != what) ++number;
    if (number == seen.size()) seen.push_back(what);
    result.push_back(static_cast<int>(number));
  }
  return result;
}

/// One line that names dimensions, mesh and placements:
///
///   [experts 4, d_model 8, d_ff 16] on mesh data 2 x model 2: data S<experts>, model S<d_ff>
inline std::string describe_placement(const tensor_layout& t) {
  std::string text = "[", where, how;
  for (std::size_t d = 0; d < t.dimensions.size(); ++d)
    text += detail::message(d ? ", " : "", t.dimensions[d], ' ', t.extents[d]);
  for (std::size_t a = 0; a < t.axes.size(); ++a) {
    where += detail::message(a ? " x " : "", t.axes[a], ' ', t.mesh_extents[a]);
    how += detail::message(a ? ", " : "", t.axes[a], ' ', t.placement(a));
  }
  return t.axes.empty() ? text + "] on one rank" : detail::message(text, "] on mesh ", where, ": ", how);
}

/// That line, then one line per rank with the index range it holds of each dimension:
///
///   rank 0 (data 0, model 0): experts 0..1, d_model 0..7, d_ff 0..7
///
/// "none" where it holds nothing; "a term of" before partial sums.
inline std::string describe(const tensor_layout& t) {
  std::string text = describe_placement(t) + "\n";
  for (std::int64_t r = 0; r < t.ranks(); ++r) {
    const std::vector<std::int64_t> at = t.coordinates(r);
    text += detail::message("  rank ", r);
    for (std::size_t a = 0; a < t.axes.size(); ++a) text += detail::message(a ? ", " : " (", t.axes[a], ' ', at[a]);
    text += detail::message(t.axes.empty() ? ":" : "):", t.partial() ? " a term of" : "");
    for (std::size_t d = 0; d < t.dimensions.size(); ++d) {
      const part p = t.here(r, d);
      text += detail::message(d ? ", " : " ", t.dimensions[d], ' ');
      text += p.count == 0 ? "none" : detail::message(p.begin, "..", p.begin + p.count - 1);
    }
    text += "\n";
  }
  return text;
}

/// describe(layout_of<Tensor>(mesh extents, extents)).
template <placed_tensor Tensor>
std::string describe(const std::array<std::int64_t, Tensor::mesh_type::rank>& mesh_extents,
                     const std::array<std::int64_t, Tensor::rank>& extents) {
  return describe(layout_of<Tensor>(mesh_extents, extents));
}

/// Of a tensor, which knows its extents.
template <placed_tensor Tensor>
std::string describe(const Tensor& x) {
  return describe<Tensor>(x.on_mesh().extents(), x.extents());
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ranks.hpp"
#include <switchyard/mesh/picture.hpp>

namespace train_example {
namespace {

template <class Mesh>
std::string draw(const Mesh& mesh, const sy::transformer_config& c, std::int64_t groups, std::int64_t tokens) {
  if constexpr (Mesh::rank == 0) {
    return {};
  } else {
    namespace dims = sy::dims;
    using x = sy::tensor_of<float, Mesh, rules_type, dims::group, dims::token, dims::d_model>;
    using wi = sy::tensor_of<float, Mesh, rules_type, dims::experts, dims::d_model, dims::d_ff>;
    using other = sy::tensor_of<float, Mesh, rules_type, dims::d_model, dims::d_ff>;
    sy::picture_column column;
    column.title = "equal letters: equal values";
    column.panels.push_back({"tokens", sy::layout_of<x>(mesh.extents(), {groups, tokens, c.d_model})});
    if (c.sparse != sy::sparse_pattern::none)
      column.panels.push_back({"experts", sy::layout_of<wi>(mesh.extents(), {c.routing.experts, c.d_model, c.d_ff})});
    column.panels.push_back({"other weights", sy::layout_of<other>(mesh.extents(), {c.d_model, c.d_ff})});
    return sy::draw_svg("Which rank holds what", {column});
  }
}

} // namespace

std::string picture_of(const mesh_type& mesh, const sy::transformer_config& c, std::int64_t groups,
                       std::int64_t tokens) {
  return draw(mesh, c, groups, tokens);
}

} // namespace train_example

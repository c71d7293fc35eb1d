// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "cost.hpp"

// The bytes of part 4 of a layer's contract, asked of the types: one mesh of three axes, five sets of rules.

namespace plan {
namespace {

namespace sy = switchyard;
namespace dims = sy::dims;

struct replica : sy::name<"replica"> {};
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
using mesh = sy::mesh<sy::axis<replica>, sy::axis<data>, sy::axis<model>>;
using precision = sy::selective<sy::bfloat16>;

using over_replicas = sy::split<dims::group, replica>;
using over_data = sy::split<dims::group, data>;
using experts_over_data = sy::split<dims::experts, data>;
using d_ff_over_model = sy::split<dims::d_ff, model>;

template <class... Split>
sy::layer_traffic<3> bytes(const sy::layer_extents& n, const std::array<std::int64_t, 3>& extents) {
  return sy::predict_traffic<mesh, sy::rules<Split...>, precision>(n, extents, {0, 0, 0});
}

} // namespace

sy::layer_traffic<3> layer_bytes(layout which, const sy::layer_extents& n, const std::array<std::int64_t, 3>& extents) {
  switch (which) {
  case layout::data:
    return bytes<over_replicas, over_data>(n, extents);
  case layout::model:
    return bytes<d_ff_over_model>(n, extents);
  case layout::data_model:
    return bytes<over_replicas, over_data, d_ff_over_model>(n, extents);
  case layout::expert_data:
    return bytes<over_replicas, over_data, experts_over_data>(n, extents);
  default:
    return bytes<over_replicas, over_data, experts_over_data, d_ff_over_model>(n, extents);
  }
}

std::int64_t all_reduce_bytes(std::int64_t elements, std::size_t size, std::size_t axis,
                              const std::array<std::int64_t, 3>& extents) {
  using dimensions = sy::dimensions<dims::d_model>; // any one dimension does
  const auto of = [&]<class... Pl>(sy::placements<Pl...>) {
    using sums = sy::tensor<float, mesh, dimensions, sy::placements<Pl...>>;
    using whole = sy::tensor<float, mesh, dimensions, sy::placements<sy::R, sy::R, sy::R>>;
    const auto bytes = sy::bytes_sent<sums, whole>({elements}, extents, {0, 0, 0});
    return bytes[axis] / static_cast<std::int64_t>(sizeof(float)) * static_cast<std::int64_t>(size);
  };
  if (axis == 0) return of(sy::placements<sy::P, sy::R, sy::R>());
  if (axis == 1) return of(sy::placements<sy::R, sy::P, sy::R>());
  return of(sy::placements<sy::R, sy::R, sy::P>());
}

} // namespace plan

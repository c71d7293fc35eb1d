// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "problem.hpp"
#include <array>
#include <string_view>
#include <switchyard/mesh/mesh.hpp>

/// \file
/// The same layer on a mesh of data x model ranks: what is asked for, which part of a problem a rank has, how the parts
/// of an answer become one, and what was sent.

namespace run_layer {

/// --layout: what is split over which axis.
enum class layout : std::uint8_t { data, model, data_model, expert_data, expert_model_data };
constexpr const char* name(layout which) {
  constexpr const char* names[] = {"data", "model", "data_model", "expert_data", "expert_model_data"};
  return names[static_cast<int>(which)];
}

struct placement {
  std::int64_t data = 1, model = 1; ///< --mesh
  run_layer::layout layout = layout::data;

  bool splits_groups() const { return layout != layout::model; }
  bool splits_d_ff() const { return layout != layout::data && layout != layout::expert_data; }
  bool splits_experts() const { return layout == layout::expert_data || layout == layout::expert_model_data; }
};

/// "data=4,model=2"; an axis that is left out has one rank. Throws for anything else.
placement parse_placement(std::string_view mesh, std::string_view layout);

/// What one rank of a mesh has.
struct rank_part {
  switchyard::part groups, experts, d_ff;
};

/// The problem of one rank: all of the routing's weights, its part of the rest.
problem part_of_problem(const problem& p, const rank_part& here);

/// The answer of all ranks, on every rank. Collective.
answer join(const switchyard::communicator& world, const problem& whole, const rank_part& here, const answer& a);

/// Bytes that the ranks of a mesh send to others in one pass of the layer.
struct sent_bytes {
  std::string axis, collective, pass;
  std::vector<std::int64_t> predicted, sent; ///< rank by rank
};
using traffic_report = std::vector<sent_bytes>;

/// One rank's numbers -> those of all. Collective.
void gather_ranks(const switchyard::communicator& world, traffic_report& report);

/// --report, as JSON.
std::string report_text(const placement& where, std::string_view precision, const traffic_report& report);

} // namespace run_layer

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "cost.hpp"
#include <ostream>

namespace plan {

/// Decimal, as links and memories are sold: "1.57 TB".
std::string bytes_text(double bytes);
std::string seconds_text(double seconds);
/// "data=16 model=4", with "replica=" where experts are copied.
std::string mesh_text(const choice& c);

/// The model, its published size beside it, and what the machine is.
void show_task(std::ostream& out, const task& t, const machine& m);
/// A line per layout: its fastest mesh; with `every`, a line per mesh.
void show_layouts(std::ostream& out, const std::vector<estimate>& all, bool every);
/// One plan, part by part: memory, bytes per collective, time.
void show_plan(std::ostream& out, const estimate& e);

/// The fastest plan of each layout, from `from` to `to` ranks in powers of two, at the same batch.
struct scaling_point {
  std::int64_t ranks = 0;
  std::vector<estimate> best; ///< of each layout that has one
};
std::vector<scaling_point> scale(const task& t, machine m, std::int64_t from, std::int64_t to);
void show_scaling(std::ostream& out, const task& t, const std::vector<scaling_point>& points);
/// scaling.csv, scaling.gp and, where gnuplot is there, scaling.svg in `folder`. Throws error where that cannot be
/// written. Returns what was drawn.
std::string write_scaling(const std::string& folder, const task& t, const std::vector<scaling_point>& points);

} // namespace plan

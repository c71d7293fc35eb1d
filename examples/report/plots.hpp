// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "run.hpp"

namespace report {

/// One picture and the numbers behind it.
struct plot {
  std::string data;  ///< the file of its numbers, in data/
  std::string title; ///< what one sees
  std::string about; ///< how to read it
  std::string svg;   ///< the picture; empty where gnuplot is missing
};

/// Writes the CSV files and pictures of two runs into `folder`/data. Needs gnuplot for the pictures. Throws
/// std::runtime_error where the folder cannot be written.
std::vector<plot> draw(const run& dense, const run& sparse, const std::string& folder);

} // namespace report

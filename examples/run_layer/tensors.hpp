// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "problem.hpp"
#include <cstddef>
#include <switchyard/io/safetensors.hpp>

namespace run_layer {

/// The problem in a file: x, router.weight, wi.weight, wi_gate.weight (gated only), wo.weight, and dy and mask where
/// they are given, all F32 or F64; the sizes of the layer are those of the tensors.
/// Throws for a tensor that is missing, unknown, or of another type or shape, and for sizes that the configuration does
/// not fit.
problem read_problem(const switchyard::switch_config& config, const switchyard::io::safetensors_file& file);

/// The tensors of the output file. Owns their bytes; movable, not copyable.
class output_tensors {
 public:
  /// Numbers are F64 under f64 and F32 under every other precision.
  output_tensors(const problem& p, const answer& a, precision precision);
  output_tensors(output_tensors&&) = default;
  output_tensors& operator=(output_tensors&&) = default;

  const std::vector<switchyard::io::tensor_view>& views() const { return views_; }

 private:
  template <class T>
  void add(const char* name, std::vector<std::int64_t> shape, const std::vector<T>& values);
  void add_numbers(const char* name, std::vector<std::int64_t> shape, const std::vector<double>& values);

  precision precision_;
  std::vector<std::vector<std::byte>> bytes_;
  std::vector<switchyard::io::tensor_view> views_;
};

} // namespace run_layer

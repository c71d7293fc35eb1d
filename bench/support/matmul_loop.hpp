// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/shapes.hpp"
#include <memory>

/// \file
/// The same products as a loop of library calls: one oneDNN matmul per expert and product, the weights reordered once
/// into the format that each primitive asks for (format_tag::any), ReLU as its post-op, rows gathered beforehand.

namespace bench {

class matmul_loop {
 public:
  /// Rows [offset[e], offset[e + 1]) belong to expert e. wi [E, M, F] and wo [E, F, M] in float are rounded to n.
  /// The backward needs more of everything: weights the other way round, gradients in float.
  matmul_loop(number n, std::int64_t d_model, std::int64_t d_ff, const std::vector<std::int64_t>& offset,
              const float* wi, const float* wo, bool backward);
  /// One product instead of a pair of them: [K, N] weights, no activation; only product and gradient may be called.
  matmul_loop(number n, std::int64_t k, std::int64_t columns, const std::vector<std::int64_t>& offset, const float* w);
  ~matmul_loop();

  /// Built with oneDNN, which has products of such numbers for this CPU: not of 16 bits on every one.
  static bool available(number n);

  /// rows [R, M] -> o [R, M]; h [R, F] is kept.
  void forward(const void* rows, void* hidden, void* o) const;
  /// d_o [R, M] -> d_hidden [R, F] without the derivative of the activation: the caller multiplies.
  void d_hidden(const void* d_o, void* d_hidden) const;
  /// d_pre [R, F] -> dx [R, M] and, overwritten, dwi [E, M, F], dwo [E, F, M].
  void backward(const void* rows, const void* hidden, const void* d_o, const void* d_pre, void* dx, float* dwi,
                float* dwo) const;

  /// rows [R, K] -> c [R, N]
  void product(const void* rows, void* c) const;
  /// dw [groups, K, N] = rows^T d, overwritten, d [R, N]
  void gradient(const void* rows, const void* d, float* dw) const;

 private:
  struct parts;
  std::unique_ptr<parts> parts_;
};

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/shapes.hpp"
#include <algorithm>
#include <string>
#include <vector>

/// \file
/// The least time of a layer: for each kernel the larger of FLOP / P and bytes / BW, added up. P and BW are those of
/// this process (machine.hpp). Bytes are those of the leanest data flow: gather fused in the first product, combine in
/// the second, plain ReLU (the sign of h stands for the pre-activation), every byte moved once. Weights of all experts
/// in use are read once; weight gradients of all experts are written once, in float.

namespace bench {

struct kernel_cost {
  std::string stage;
  double flop = 0, bytes = 0;
  bool in_float = false; ///< a product of the router: P is that of float
};

/// Sizes as numbers one can multiply.
struct workload {
  double T, R, M, F, E, active, b; ///< tokens, rows in use, d_model, d_ff, experts, experts in use, bytes per element
  static workload of(const shape& s, number n, double rows, double active) {
    return {static_cast<double>(s.tokens),  rows,   static_cast<double>(s.d_model), static_cast<double>(s.d_ff),
            static_cast<double>(s.experts), active, n == number::bf16 ? 2.0 : 4.0};
  }
  double weights() const { return active * M * F; }
  double useful(pass p) const { return 4 * R * M * F * (p == pass::forward ? 1 : p == pass::backward ? 2 : 3); }
};

inline std::vector<kernel_cost> router_forward_cost(const workload& w) {
  return {{"logits", 2 * w.T * w.M * w.E, w.b * w.T * w.M + 4 * w.M * w.E + 4 * w.T * w.E, true}};
}
inline std::vector<kernel_cost> experts_forward_cost(const workload& w) {
  return {{"first_product", 2 * w.R * w.M * w.F, w.b * (w.T * w.M + w.weights() + w.R * w.F)},
          {"second_product", 2 * w.R * w.M * w.F, w.b * (w.R * w.F + w.weights() + w.T * w.M)}};
}
inline std::vector<kernel_cost> experts_backward_cost(const workload& w) {
  const double gradient = 4 * w.E * w.M * w.F; // zeros where no token came
  return {{"d_hidden", 2 * w.R * w.M * w.F, w.b * (w.T * w.M + w.weights() + 2 * w.R * w.F)},
          {"d_input", 2 * w.R * w.M * w.F, w.b * (w.R * w.F + w.weights() + w.R * w.M)},
          {"d_wo", 2 * w.R * w.M * w.F, w.b * (w.T * w.M + w.R * w.F) + gradient},
          {"d_wi", 2 * w.R * w.M * w.F, w.b * (w.T * w.M + w.R * w.F) + gradient}};
}
inline std::vector<kernel_cost> router_backward_cost(const workload& w) {
  return {{"router_d_logits", 0, 4 * w.T * w.E, true},
          {"router_dx", 2 * w.T * w.M * w.E, 4 * w.M * w.E + w.b * (w.R * w.M + w.T * w.M), true},
          {"router_dw", 2 * w.T * w.M * w.E, w.b * w.T * w.M + 4 * w.M * w.E, true}};
}

inline std::vector<kernel_cost> layer_cost(const workload& w, pass p) {
  std::vector<kernel_cost> all;
  const auto add = [&](const std::vector<kernel_cost>& more) { all.insert(all.end(), more.begin(), more.end()); };
  if (p != pass::backward) {
    add(router_forward_cost(w));
    add(experts_forward_cost(w));
  }
  if (p != pass::forward) {
    add(experts_backward_cost(w));
    add(router_backward_cost(w));
  }
  return all;
}

inline double bytes_of(const std::vector<kernel_cost>& costs) {
  double sum = 0;
  for (const auto& c : costs) sum += c.bytes;
  return sum;
}

/// What this machine does in this minute.
struct peaks {
  double flops = 0, flops_float = 0, bytes = 0; ///< per second
};

inline double least_time(const kernel_cost& c, const peaks& p) {
  return std::max(c.flop / (c.in_float ? p.flops_float : p.flops), c.bytes / p.bytes);
}
inline double least_time(const std::vector<kernel_cost>& costs, const peaks& p) {
  double sum = 0;
  for (const auto& c : costs) sum += least_time(c, p);
  return sum;
}

} // namespace bench

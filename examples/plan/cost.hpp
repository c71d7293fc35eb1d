// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <string>
#include <switchyard/layer/traffic.hpp>
#include <switchyard/model/config.hpp>
#include <vector>

/// \file
/// What one step of a model costs on a machine that need not be here: memory, bytes and time of one device, for every
/// way to lay the model out. Nothing here communicates or needs a device.
///
/// Bytes come from the types: those of a Switch layer from predict_traffic, those of what surrounds it from bytes_sent.
/// Time is alpha-beta: a collective over p ranks costs bytes / bandwidth and p - 1 messages (an all-reduce twice that)
/// of one latency each; nothing is overlapped. Loads are taken as balanced.

namespace plan {

/// Figure 9 of the paper.
enum class layout : std::uint8_t { data, model, data_model, expert_data, expert_model_data };
inline constexpr std::array layouts{layout::data, layout::model, layout::data_model, layout::expert_data,
                                    layout::expert_model_data};
constexpr const char* label(layout which) {
  constexpr const char* labels[] = {"data", "model", "data_model", "expert_data", "expert_model_data"};
  return labels[static_cast<int>(which)];
}
constexpr bool splits_groups(layout l) {
  return l != layout::model;
}
constexpr bool splits_experts(layout l) {
  return l == layout::expert_data || l == layout::expert_model_data;
}
constexpr bool splits_model(layout l) {
  return l != layout::data && l != layout::expert_data;
}

enum class optimizer : std::uint8_t { adafactor, adamw };

/// What is trained.
struct task {
  switchyard::transformer_config model;
  std::int64_t batch = 2048;                             ///< sequences per step, on all devices together
  std::int64_t source_length = 512, target_length = 114; ///< T5's span corruption of 512 tokens
  std::int64_t groups = 0;                               ///< routing groups of a step; 0: one per data-parallel way
  plan::optimizer optimizer = optimizer::adafactor;
};

/// The numbers of one device and of the two kinds of links: over the data axes, and over the model axis.
struct machine {
  std::int64_t ranks = 64;
  double memory = 80e9;                         ///< bytes
  double peak = 400e12;                         ///< FLOP/s of the products, as reached, not as printed on the box
  double memory_bandwidth = 2e12;               ///< bytes/s
  std::array<double, 2> bandwidth{25e9, 300e9}; ///< bytes/s that a device sends, data and model
  std::array<double, 2> latency{5e-6, 2e-6};    ///< seconds per message
};

/// Ranks along the three axes of the mesh. Experts lie over `data`; over `replicas` they are copied, which more ranks
/// than experts want.
struct choice {
  plan::layout layout = layout::data;
  std::int64_t replicas = 1, data = 1, model = 1;
  std::int64_t ways() const { return replicas * data; }
  std::array<std::int64_t, 3> extents() const { return {replicas, data, model}; }
};
inline constexpr std::array<const char*, 3> axes{"replica", "data", "model"};

/// Bytes that a device sends in one step over one axis with one collective, and how often it is called.
struct sent {
  std::size_t axis = 0;
  switchyard::collective kind{};
  const char* what = ""; ///< "tokens": of a Switch layer's passes; "sublayers": of dense ones; "gradients"
  std::int64_t bytes = 0, calls = 0;
};

/// One device, one step.
struct estimate {
  plan::choice choice;
  std::int64_t groups = 0;
  std::string illegal; ///< why it cannot be; empty: it can
  bool fits = false;

  std::int64_t parameters = 0;                                                   ///< numbers held
  double weights = 0, packed = 0, gradients = 0, optimizer = 0, activations = 0; ///< bytes
  double padding = 1; ///< slots of the experts over choices of tokens; what an exchange of whole blocks moves
  std::vector<plan::sent> traffic;

  double flop = 0;
  double compute = 0, update = 0;        ///< seconds: passes; the optimizer
  std::array<double, 2> communication{}; ///< seconds over the data axes, over the model axis

  double memory() const { return weights + packed + gradients + optimizer + activations; }
  double seconds() const { return compute + update + communication[0] + communication[1]; }
};

/// Bytes per axis and collective of one forward and backward of a Switch layer, of the rank with all coordinates 0.
switchyard::layer_traffic<3> layer_bytes(layout which, const switchyard::layer_extents& n,
                                         const std::array<std::int64_t, 3>& extents);
/// Bytes of one all-reduce of `elements` numbers of `size` bytes along axis `axis`.
std::int64_t all_reduce_bytes(std::int64_t elements, std::size_t size, std::size_t axis,
                              const std::array<std::int64_t, 3>& extents);

/// A step of the whole model.
estimate evaluate(const task& t, const machine& m, const choice& c);
/// A forward and a backward of one of its Switch layers, on t.batch sequences of t.source_length tokens.
estimate evaluate_layer(const task& t, const machine& m, const choice& c);

/// Every mesh of m.ranks devices that a layout can have, the illegal ones too.
std::vector<estimate> evaluate_all(const task& t, const machine& m);
/// The fastest of those that are legal and fit, of one layout or of all; nullptr for none.
const estimate* best(const std::vector<estimate>& all, const layout* only = nullptr);

} // namespace plan

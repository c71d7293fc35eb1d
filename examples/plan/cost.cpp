// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "cost.hpp"
#include <switchyard/layer/memory.hpp>

namespace plan {
namespace {

namespace sy = switchyard;
using number = std::int64_t;
using precision = sy::selective<sy::bfloat16>;
constexpr double value = sizeof(precision::value_type), weight = sizeof(precision::weight_type),
                 gradient = sizeof(precision::gradient_type);

constexpr number row_parts = 3; // what ranks that share a vocabulary tell each other of a row of logits

number up(number a, number b) {
  return (a + b - 1) / b;
}
double real(number n) {
  return static_cast<double>(n);
}

/// Why a model cannot be cut like this, in the words of the layer's own errors; empty where it can.
std::string obstacle(const task& t, const choice& c, number groups) {
  const sy::transformer_config& n = t.model;
  const auto divide = [&](const char* what, number extent) -> std::string {
    if (extent % c.model == 0) return {};
    return std::string(what) + " = " + std::to_string(extent) + " is no multiple of the model axis";
  };
  for (const auto& [what, extent] : {std::pair{"d_ff", n.d_ff}, {"heads", n.heads}, {"vocabulary", n.vocabulary}})
    if (const auto why = divide(what, extent); !why.empty()) return why;
  if (const auto why = divide("d_model", n.d_model); splits_experts(c.layout) && !why.empty()) return why;
  if (t.batch % groups != 0) return "the batch is no multiple of " + std::to_string(groups) + " routing groups";
  if (splits_experts(c.layout) && n.sparse_layers() == 0) return "a dense model has no experts to spread";
  return {};
}

/// Adds up the parts of a model on one device: numbers, FLOP, bytes of activations, what it sends.
class builder {
 public:
  builder(const task& t, const machine& m, const choice& c) : t_(t), n_(t.model), m_(m), c_(c) {
    e_.choice = c;
    e_.groups = t.groups > 0 ? t.groups : (splits_groups(c.layout) ? c.ways() : 1);
    e_.illegal = obstacle(t, c, e_.groups);
    groups_here_ = splits_groups(c.layout) ? up(e_.groups, c.ways()) : e_.groups;
    batch_here_ = groups_here_ * (t.batch / e_.groups);
  }

  /// One Switch layer on sequences of `length`.
  estimate layer(number length) {
    if (!e_.illegal.empty()) return e_;
    sparse_ffn(batch_here_ * length);
    memory();
    time();
    return e_;
  }

  estimate model() {
    if (!e_.illegal.empty()) return e_;
    const number rows_in = n_.has_encoder() ? batch_here_ * t_.source_length : 0;
    const number rows_out = batch_here_ * t_.target_length;
    stack(n_.encoder_layers, rows_in, t_.source_length, 0, 0);
    stack(n_.decoder_layers, rows_out, t_.target_length, rows_in, n_.has_encoder() ? t_.source_length : 0);
    const number tables = (n_.tied ? 1 : 2) * n_.vocabulary * n_.d_model / c_.model;
    dense_ += real(tables);
    e_.flop += 3 * 2 * real(rows_out) * real(n_.d_model) * real(n_.vocabulary) / real(c_.model);
    activations_ +=
        real(std::min<number>(rows_out, 512)) * real(n_.vocabulary / c_.model) * (value + 4); // a block of logits
    if (n_.has_encoder()) {
      over_model(rows_in * n_.d_model, 2); // the embedding forward, the gradient of the encoder's result
      activations_ += value * real(rows_in) * real(n_.d_model); // the gradient of the encoder's result
    }
    over_model(rows_out * n_.d_model, 2); // the embedding forward, the logits' input backward
    add(2, sy::collective::all_gather, "sublayers",
        rows_out * row_parts * static_cast<number>(sizeof(float)) * (c_.model - 1), 1);
    gradients_of_copies();
    memory();
    time();
    return e_;
  }

 private:
  /// `layers` blocks on `rows` rows in sequences of `length`; those of a decoder attend to `memory` rows too.
  void stack(number layers, number rows, number length, number memory, number memory_length) {
    if (layers == 0) return;
    const number m = n_.d_model, wide = n_.d_heads() / c_.model;
    const bool cross = memory_length > 0;
    dense_ += real(n_.relative_buckets * n_.heads / c_.model + m);
    const double sublayers = real(layers) * (cross ? 3 : 2);
    activations_ += value * real(rows) * real(m) * (sublayers + 1 + 2); // the stream; result and d
    activations_ += value * (real(rows) * real(2 * m + 4 * wide) + real(memory) * real(2 * wide)); // shared scratch
    for (number i = 0; i < layers; ++i) {
      attention(rows, rows, length, false);
      if (cross) attention(rows, memory, memory_length, true);
      norm_and_input(rows);
      if (n_.is_sparse(i, layers))
        sparse_ffn(rows);
      else
        dense_ffn(rows);
    }
  }

  void norm_and_input(number rows) {
    dense_ += real(n_.d_model);
    activations_ += real(rows) * (value * real(n_.d_model) + 4); // normed, 1 / rms
  }

  void attention(number rows, number memory, number memory_length, bool cross) {
    const number m = n_.d_model, wide = n_.d_heads() / c_.model;
    dense_ += real(4 * m * wide);
    norm_and_input(rows);
    activations_ += value * real(wide) * (real(cross ? 2 * rows : 4 * rows) + real(cross ? 2 * memory : 0));
    activations_ += 4 * real(rows) * real(n_.heads / c_.model); // lse
    const double products = 2 * real(m) * real(wide) * (2 * real(rows) + 2 * real(memory));
    const double scores = 2 * 2 * real(rows) * real(memory_length) * real(wide);
    e_.flop += 3 * (products + scores);
    over_model(rows * m, 2);
  }

  void dense_ffn(number rows) {
    const number matrices = n_.gated ? 3 : 2, f = n_.d_ff / c_.model;
    dense_ += real(matrices * n_.d_model * f);
    const number kept = n_.gated || n_.activation != sy::activation_kind::relu ? (n_.gated ? 4 : 2) : 1;
    activations_ += value * real(rows) * real(f) * real(1 + kept);
    e_.flop += 3 * 2 * real(rows) * real(matrices * n_.d_model * f);
    over_model(rows * n_.d_model, 2);
  }

  void sparse_ffn(number rows) {
    sy::switch_config local = n_.switch_layers();
    const number tokens = rows / groups_here_, matrices = n_.gated ? 3 : 2, capacity = local.capacity(tokens);
    const bool spread = splits_experts(c_.layout);
    const number f = n_.d_ff / c_.model, experts = spread ? up(local.experts, c_.data) : local.experts;
    dense_ += real(n_.d_model * local.experts); // the router
    experts_ += real(experts * matrices * n_.d_model * f);
    const number choices = local.choices();
    const double work = real(rows) * real(std::min(choices, local.experts));
    e_.flop += 3 * 2 * (work * real(matrices * n_.d_model * f) + real(rows) * real(n_.d_model * local.experts));
    e_.padding = std::max(e_.padding, real(local.experts * groups_here_ * capacity) / std::max(1.0, work));

    local.d_ff = f;
    activations_ += real(sy::memory_of<precision>(local, groups_here_, tokens).tape);
    if (spread) // blocks of slots as they leave and as they arrive, and back
      activations_ += 4 * value * real(local.experts * groups_here_ * capacity) * real(n_.d_model) / real(c_.model);

    const auto bytes = layer_bytes(
        c_.layout, {e_.groups, tokens, n_.d_model, n_.d_ff, local.experts, choices, capacity, n_.gated, /*bias=*/false},
        c_.extents());
    for (std::size_t axis = 0; axis < axes.size(); ++axis)
      for (std::size_t kind = 0; kind < sy::collectives; ++kind) {
        const bool summed = static_cast<sy::collective>(kind) == sy::collective::all_reduce && axis != 2;
        // There and back with the tokens, in two passes; gradients once.
        const number calls = (bytes.forward[axis][kind] > 0) + (bytes.backward[axis][kind] > 0);
        const number twice = static_cast<sy::collective>(kind) == sy::collective::all_to_all ? 2 * calls : calls;
        add(axis, static_cast<sy::collective>(kind), summed ? "gradients" : "tokens",
            bytes.forward[axis][kind] + bytes.backward[axis][kind], twice);
      }
  }

  /// Partial sums of `elements` activations over the model axis, `times` per step.
  void over_model(number elements, number times) {
    if (c_.model == 1) return;
    const number each = all_reduce_bytes(elements, sizeof(precision::value_type), 2, c_.extents());
    add(2, sy::collective::all_reduce, "sublayers", times * each, times);
  }

  /// What every data-parallel rank has a copy of, summed over them at the end of a step, in one message per axis. The
  /// router and replicated experts are among the layers' own sums.
  void gradients_of_copies() {
    if (!splits_groups(c_.layout)) return;
    const double routers = real(n_.sparse_layers()) * real(n_.d_model * n_.routing.experts);
    const auto elements = static_cast<number>(dense_ - routers);
    for (std::size_t axis = 0; axis < 2; ++axis)
      if (c_.extents()[axis] > 1)
        add(axis, sy::collective::all_reduce, "gradients",
            all_reduce_bytes(elements, sizeof(precision::gradient_type), axis, c_.extents()), 1);
  }

  void add(std::size_t axis, sy::collective kind, const char* what, number bytes, number calls) {
    if (bytes == 0) return;
    for (sent& s : e_.traffic)
      if (s.axis == axis && s.kind == kind && std::string_view(s.what) == what) {
        s.bytes += bytes;
        s.calls += calls;
        return;
      }
    e_.traffic.push_back({axis, kind, what, bytes, calls});
  }

  void memory() {
    const double numbers = dense_ + experts_;
    e_.parameters = static_cast<number>(numbers);
    e_.weights = weight * numbers;
    e_.packed = 2 * value * numbers; // in the orders of the forward and of the backward
    e_.gradients = gradient * numbers;
    // Adafactor: a row and a column of float for every matrix, next to nothing.
    e_.optimizer = t_.optimizer == optimizer::adamw ? 8 * numbers : 0.01 * 4 * numbers;
    e_.activations = activations_;
    e_.fits = e_.memory() <= m_.memory;
  }

  void time() {
    const double numbers = dense_ + experts_;
    const double products = e_.flop / m_.peak;
    const double streamed = (2 * value + gradient) * numbers / m_.memory_bandwidth; // two reads, one gradient written
    e_.compute = std::max(products, streamed);
    const double state = t_.optimizer == optimizer::adamw ? 16 : 0;
    e_.update = (2 * weight + gradient + 2 * value + state) * numbers / m_.memory_bandwidth;
    for (const sent& s : e_.traffic) {
      const std::size_t link = s.axis == 2 ? 1 : 0;
      const number peers = c_.extents()[s.axis] - 1;
      const number rounds = s.kind == sy::collective::all_reduce ? 2 : 1;
      e_.communication[link] += real(s.bytes) / m_.bandwidth[link] + real(s.calls * rounds * peers) * m_.latency[link];
    }
  }

  const task& t_;
  const sy::transformer_config& n_;
  const machine& m_;
  const choice& c_;
  estimate e_;
  number groups_here_ = 0, batch_here_ = 0;
  double dense_ = 0, experts_ = 0, activations_ = 0;
};

} // namespace

estimate evaluate(const task& t, const machine& m, const choice& c) {
  return builder(t, m, c).model();
}
estimate evaluate_layer(const task& t, const machine& m, const choice& c) {
  return builder(t, m, c).layer(t.source_length);
}

std::vector<estimate> evaluate_all(const task& t, const machine& m) {
  std::vector<estimate> all;
  const number experts = t.model.routing.experts;
  for (const layout which : layouts)
    for (number model = 1; model <= m.ranks; ++model) {
      if (m.ranks % model != 0) continue;
      const number ways = m.ranks / model;
      const bool whole = which == layout::model ? ways == 1 : splits_model(which) ? model > 1 && ways > 1 : model == 1;
      if (!whole) continue;
      for (number data = 1; data <= ways; ++data) {
        if (ways % data != 0) continue;
        if (splits_experts(which) ? data == 1 || data > experts : data != ways) continue;
        all.push_back(evaluate(t, m, {which, ways / data, data, model}));
      }
    }
  return all;
}

const estimate* best(const std::vector<estimate>& all, const layout* only) {
  const estimate* found = nullptr;
  for (const estimate& e : all)
    if (e.illegal.empty() && e.fits && (only == nullptr || e.choice.layout == *only) &&
        (found == nullptr || e.seconds() < found->seconds()))
      found = &e;
  return found;
}

} // namespace plan

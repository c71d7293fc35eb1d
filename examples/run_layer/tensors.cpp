// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tensors.hpp"
#include <algorithm>
#include <cstring>
#include <string_view>

namespace run_layer {
namespace {

namespace io = switchyard::io;
using extents = std::vector<std::int64_t>;

std::string shown(const extents& shape) {
  std::string text = "[";
  for (const std::int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

/// A tensor that may have any shape of this rank.
const io::tensor_view& of_rank(const io::safetensors_file& file, const char* name, std::size_t rank,
                               const char* letters) {
  if (!file.contains(name)) fail("tensor ", name, ": missing; the file must have it, with the shape ", letters);
  const io::tensor_view& t = file.tensor(name);
  if (t.type != io::dtype::f32 && t.type != io::dtype::f64)
    fail("tensor ", name, " is ", io::dtype_name(t.type), ": must be F32 or F64");
  if (t.shape.size() != rank) fail("tensor ", name, " = ", shown(t.shape), ": must have the shape ", letters);
  return t;
}

std::vector<double> values_of(const io::safetensors_file& file, const char* name, const char* letters,
                              const extents& shape) {
  const io::tensor_view& t = of_rank(file, name, shape.size(), letters);
  if (t.shape != shape)
    fail("tensor ", name, " = ", shown(t.shape), ": must be ", letters, " = ", shown(shape),
         ", by the shapes of x, router.weight and wi.weight");
  std::vector<double> values(t.size());
  file.copy_to<double>(name, values);
  return values;
}

void check_names(const io::safetensors_file& file, bool gated) {
  constexpr std::string_view known[] = {"x", "router.weight", "wi.weight", "wi_gate.weight", "wo.weight", "dy", "mask"};
  for (const std::string& name : file.names()) {
    if (std::find(std::begin(known), std::end(known), name) == std::end(known))
      fail("tensor ", name,
           ": unknown; the tensors are x, router.weight, wi.weight, wi_gate.weight (gated experts), "
           "wo.weight, and where wanted dy and mask");
    if (name == "wi_gate.weight" && !gated)
      fail("tensor wi_gate.weight: the experts are not gated; leave it out or set \"gated\": true");
  }
}

} // namespace

problem read_problem(const switchyard::switch_config& config, const io::safetensors_file& file) {
  check_names(file, config.gated);
  problem p;
  p.config = config;
  const extents& x = of_rank(file, "x", 3, "[G, S, M]").shape;
  const std::int64_t G = p.groups = x[0], S = p.tokens = x[1], M = p.config.d_model = x[2];
  const std::int64_t E = p.config.experts = of_rank(file, "router.weight", 2, "[M, E]").shape[1];
  const std::int64_t F = p.config.d_ff = of_rank(file, "wi.weight", 3, "[E, M, F]").shape[2];

  p.x = values_of(file, "x", "[G, S, M]", {G, S, M});
  p.weight.router = values_of(file, "router.weight", "[M, E]", {M, E});
  p.weight.wi = values_of(file, "wi.weight", "[E, M, F]", {E, M, F});
  if (config.gated) p.weight.wi_gate = values_of(file, "wi_gate.weight", "[E, M, F]", {E, M, F});
  p.weight.wo = values_of(file, "wo.weight", "[E, F, M]", {E, F, M});
  if (file.contains("dy")) p.dy = values_of(file, "dy", "[G, S, M]", {G, S, M});
  if (file.contains("mask")) p.mask = values_of(file, "mask", "[G, S]", {G, S});
  validate(p.config);
  return p;
}

template <class T>
void output_tensors::add(const char* name, extents shape, const std::vector<T>& values) {
  const auto source = std::as_bytes(std::span(values));
  const std::vector<std::byte>& copy = bytes_.emplace_back(source.begin(), source.end());
  views_.push_back({name, io::dtype_of<T>(), std::move(shape), copy});
}

void output_tensors::add_numbers(const char* name, extents shape, const std::vector<double>& values) {
  if (precision_ == precision::f64) return add(name, std::move(shape), values);
  std::vector<float> narrow(values.size()); // exact: no layer but that of f64 holds a number that is not a float
  std::transform(values.begin(), values.end(), narrow.begin(), [](double v) { return static_cast<float>(v); });
  add(name, std::move(shape), narrow);
}

output_tensors::output_tensors(const problem& p, const answer& a, precision precision) : precision_(precision) {
  const std::int64_t G = p.groups, S = p.tokens, K = p.choices(), C = p.capacity();
  const std::int64_t M = p.config.d_model, F = p.config.d_ff, E = p.config.experts;
  add_numbers("y", {G, S, M}, a.y);
  add_numbers("probs", {G, S, E}, a.probs);
  if (p.by_experts()) {
    add("token_index", {G, E, C}, a.token_index);
    add_numbers("gate", {G, E, C}, a.gate);
  } else {
    add("expert_index", {G, S, K}, a.expert_index);
    add("slot", {G, S, K}, a.slot);
    add("kept", {G, S, K}, a.kept);
    add_numbers("gate", {G, S, K}, a.gate);
  }
  add_numbers("load_balance_loss", {}, {a.load_balance_loss});
  add_numbers("router_z_loss", {}, {a.router_z_loss});
  add_numbers("importance_loss", {}, {a.importance_loss});
  if (!p.dy) return;
  add_numbers("dx", {G, S, M}, a.dx);
  add_numbers("router.weight.grad", {M, E}, a.gradient.router);
  add_numbers("wi.weight.grad", {E, M, F}, a.gradient.wi);
  if (p.config.gated) add_numbers("wi_gate.weight.grad", {E, M, F}, a.gradient.wi_gate);
  add_numbers("wo.weight.grad", {E, F, M}, a.gradient.wo);
}

} // namespace run_layer

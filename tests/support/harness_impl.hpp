// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "allocations.hpp"
#include "harness.hpp"
#include <switchyard/switchyard.hpp>

namespace switchyard_test {

/// Vectors of double to and from views of any type.
template <class View>
void to_view(const std::vector<double>& from, const View& to) {
  auto host = Kokkos::create_mirror_view(to);
  for (std::size_t i = 0; i < from.size(); ++i)
    host.data()[i] = static_cast<typename View::non_const_value_type>(from[i]);
  Kokkos::deep_copy(to, host);
}
template <class T = double, class View>
std::vector<T> to_vector(const View& from) {
  auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), from);
  std::vector<T> to(from.data() == nullptr ? 0 : from.size());
  for (std::size_t i = 0; i < to.size(); ++i)
    if constexpr (std::is_integral_v<T>)
      to[i] = static_cast<T>(host.data()[i]);
    else if constexpr (std::is_same_v<typename View::non_const_value_type, double>)
      to[i] = host.data()[i];
    else
      to[i] = static_cast<float>(host.data()[i]);
  return to;
}

template <class View>
void poison(const View& v) {
  if (v.data() != nullptr) Kokkos::deep_copy(v, Kokkos::Experimental::quiet_NaN_v<typename View::value_type>);
}

template <class View>
void digest(std::uint64_t& hash, const View& v) { // FNV-1a
  auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), v);
  if (v.data() == nullptr) return;
  const auto* bytes = reinterpret_cast<const unsigned char*>(host.data());
  for (std::size_t i = 0; i < host.size() * sizeof(typename View::value_type); ++i)
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
}

/// A [groups, tokens, width] view with canaries on both sides.
template <class T, class Space>
class guarded {
 public:
  using view_type = Kokkos::View<T***, Kokkos::LayoutRight, Space>;
  guarded(std::size_t g, std::size_t s, std::size_t m) : memory_("guarded", g * s * m + 2 * margin) {
    Kokkos::deep_copy(memory_, T(canary));
    view_ = view_type(memory_.data() + margin, g, s, m);
  }
  const view_type& view() const { return view_; }
  bool intact() const {
    const auto all = to_vector(memory_);
    for (std::size_t i = 0; i < margin; ++i)
      if (all[i] != canary || all[all.size() - 1 - i] != canary) return false;
    return true;
  }

 private:
  static constexpr std::size_t margin = 64;
  static constexpr float canary = 123.0f;
  Kokkos::View<T*, Space> memory_;
  view_type view_;
};

/// f of every gradient of a layer. Not a loop over a list in braces: nvcc mangles those of templates.
template <class Gradients, class F>
void for_each_gradient(const Gradients& g, const F& f) {
  const auto each = [&](const auto&... views) { (f(views), ...); };
  each(g.wi, g.wi_gate, g.wo, g.router, g.bi, g.bi_gate, g.bo);
}

template <class layer_type>
outcome run_layer(const job& j) {
  namespace sy = switchyard;
  using Exec = typename layer_type::execution_space;
  using T = typename layer_type::value;
  using space = typename layer_type::space;
  const Exec exec{};
  const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::size_t g = extent(j.groups), s = extent(j.tokens), m = extent(j.config.d_model);

  allocation_watch watch(j.poison);
  const layer_type layer(j.config);
  auto weights = layer.init(exec, sy::seed{1});
  to_view(j.weights.router, weights.router);
  to_view(j.weights.wi, weights.wi);
  to_view(j.weights.wo, weights.wo);
  if (j.config.gated) to_view(j.weights.wi_gate, weights.wi_gate);
  if (j.config.bias) to_view(j.weights.bi, weights.bi);
  if (j.config.bias) to_view(j.weights.bo, weights.bo);
  if (j.config.bias && j.config.gated) to_view(j.weights.bi_gate, weights.bi_gate);
  const auto packed = layer.pack(exec, weights);
  const auto gradients = layer.zeros(exec);
  if (j.backward) { // the first backward overwrites all of it
    for_each_gradient(gradients, [](const auto& w) { poison(w); });
  }
  const auto before_tape = watch.bytes();
  auto tape = layer.make_tape(exec, j.groups, j.tokens);

  outcome o;
  o.peak_bytes = watch.bytes() - before_tape;
  Kokkos::View<T***, Kokkos::LayoutRight, space> x("x", g, s, m), dy("dy", g, s, m);
  guarded<T, space> y(g, s, m), dx(g, s, m);
  to_view(j.x, x);
  to_view(j.dy, dy);
  sy::forward_options<space> options;
  options.training = j.training;
  options.step = j.step;
  options.layer = j.layer;
  if (!j.mask.empty()) {
    Kokkos::View<float**, Kokkos::LayoutRight, space> mask("mask", g, s);
    to_view(j.mask, mask);
    options.mask = mask;
  }

  for (int r = 0; r < j.replays; ++r) {
    const auto before = watch.count();
    layer.forward(exec, packed, x, y.view(), tape, options);
    for (int b = 0; j.backward && b < j.backwards; ++b)
      layer.backward(exec, packed, dy, dx.view(), tape, gradients,
                     {.accumulate = j.accumulate && r > 0, .loss_scale = j.loss_scale});
    exec.fence("test: results are read");
    o.late_allocations += watch.count() - before;
    std::uint64_t hash = 0xcbf29ce484222325u;
    digest(hash, y.view());
    digest(hash, dx.view());
    digest(hash, tape.decision.gate);
    digest(hash, tape.decision.slot);
    for_each_gradient(gradients, [&](const auto& w) { digest(hash, w); });
    digest(hash, tape.statistics.result);
    o.digests.push_back(hash);
  }

  const auto parameters = [](const auto& p) {
    return sy::reference_weights{to_vector(p.router), to_vector(p.wi),      to_vector(p.wi_gate), to_vector(p.wo),
                                 to_vector(p.bi),     to_vector(p.bi_gate), to_vector(p.bo)};
  };
  o.weights = parameters(weights);
  if constexpr (!std::is_same_v<typename layer_type::weight, T>) { // the experts multiply with T, the router does not
    for (auto* w : {&o.weights.wi, &o.weights.wi_gate, &o.weights.wo})
      for (double& value : *w) value = static_cast<float>(T(value));
  }
  o.gradient = parameters(gradients);
  o.x = to_vector(x);
  o.dy = to_vector(dy);
  o.y = to_vector(y.view());
  o.dx = to_vector(dx.view());
  o.logits = to_vector(tape.decision.logits);
  o.probs = to_vector(tape.decision.probs);
  o.gate = to_vector(tape.decision.gate);
  o.choice = to_vector<std::int64_t>(tape.decision.choice);
  o.slot = to_vector<std::int64_t>(tape.decision.slot);
  o.expert_load = layer.expert_load(exec, tape);
  const auto sum = layer.summary(exec, tape);
  o.load_balance = sum.load_balance;
  o.router_z = sum.router_z;
  o.importance = sum.importance;
  o.load = sum.load;
  o.tokens = sum.tokens;
  o.dropped_fraction = sum.dropped_fraction;
  o.entropy = sum.entropy;
  o.confidence = sum.confidence;
  o.nonfinite_tokens = sum.nonfinite_tokens;
  o.nonfinite_outputs = sum.nonfinite_outputs;
  o.guards_intact = y.intact() && dx.intact();
  return o;
}

} // namespace switchyard_test

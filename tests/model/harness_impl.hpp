// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../support/allocations.hpp"
#include "harness.hpp"
#include <cmath>
#include <switchyard/model.hpp>

namespace switchyard_test {

template <class P>
model_outcome run_model(const model_job& j) {
  namespace sy = switchyard;
  using Exec = Kokkos::DefaultExecutionSpace;
  using model_type = sy::transformer<Exec, P>;
  using space = typename model_type::space;
  const auto numbers_of = [](const auto& view) {
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
    std::vector<double> values(host.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(host.data()[i]);
    return values;
  };
  const auto tokens = [&](const std::vector<std::int32_t>& numbers, std::int64_t length) {
    sy::model::matrix<std::int32_t, space> view("tokens", static_cast<std::size_t>(j.batch),
                                                static_cast<std::size_t>(length));
    const auto host = Kokkos::create_mirror_view(view);
    for (std::size_t i = 0; i < host.size(); ++i) host.data()[i] = numbers.at(i);
    Kokkos::deep_copy(view, host);
    return typename model_type::tokens_view(view);
  };

  const Exec exec{};
  allocation_watch watch(true); // what is not written is NaN
  const model_type model(j.config);
  const auto weights = model.init(exec, sy::seed{j.seed});
  const auto gradients = model.zeros(exec);
  model_outcome o;
  for_each_parameter(
      [&](const std::string& name, const auto& weight, const auto& gradient) {
        Kokkos::deep_copy(gradient, std::nan(""));
        if (const auto given = j.weights.find(name); given != j.weights.end()) {
          const auto host = Kokkos::create_mirror_view(weight);
          for (std::size_t i = 0; i < host.size(); ++i)
            host.data()[i] = static_cast<typename P::weight_type>(given->second.at(i));
          Kokkos::deep_copy(weight, host);
        }
        o.weights[name] = numbers_of(weight);
      },
      weights, gradients);
  const auto packed = model.pack(exec, weights);
  const auto source = j.config.has_encoder() ? tokens(j.source, j.source_length) : typename model_type::tokens_view();
  const auto target = tokens(j.target, j.target_length);
  auto tape = model.make_tape(exec, j.batch, j.source_length, j.target_length);

  for (int r = 0; r < j.replays; ++r) {
    const auto before = watch.count();
    model.forward(exec, packed, source, target, tape, {j.training, j.step});
    for (int b = 0; j.backward && b <= j.accumulated; ++b)
      model.backward(exec, packed, tape, gradients, {.accumulate = b > 0, .scale = j.scale, .auxiliary = j.auxiliary});
    exec.fence("test: results are read");
    o.late_allocations += watch.count() - before;
    std::uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    const auto digest = [&](const std::string&, const auto& view) {
      const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
      const auto* bytes = reinterpret_cast<const unsigned char*>(host.data());
      for (std::size_t i = 0; i < host.size() * sizeof(*host.data()); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    };
    digest("", tape.decoder.result);
    digest("", tape.loss.sums);
    if (j.backward) for_each_parameter(digest, gradients);
    o.digests.push_back(hash);
  }
  const auto s = model.summary(exec, tape);
  o.loss = s.loss;
  o.cross_entropy = s.cross_entropy;
  o.z = s.z;
  o.auxiliary = s.auxiliary;
  o.targets = s.targets;
  o.accuracy = s.accuracy;
  o.dropped_fraction = s.dropped_fraction;
  o.result = numbers_of(tape.decoder.result);
  for (const auto* stack : {&tape.encoder, &tape.decoder})
    for (const auto& block : stack->blocks)
      if (block.ffn.sparse.size.experts > 0)
        for (const double slot : numbers_of(block.ffn.sparse.decision.slot)) o.routing.push_back(slot);
  if (j.backward)
    for_each_parameter([&](const std::string& name, const auto& g) { o.gradients[name] = numbers_of(g); }, gradients);
  return o;
}

} // namespace switchyard_test

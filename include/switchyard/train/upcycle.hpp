// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <map>
#include <switchyard/model/parameters.hpp>

namespace switchyard::train {

/// How much copy_parameters found.
struct copied_parameters {
  std::int64_t same = 0;    ///< parameters of the same name and shape
  std::int64_t experts = 0; ///< stacks of experts that were filled from one dense weight
  std::int64_t left = 0;    ///< parameters of `to` that stay as they are
};

/// to <- from, parameter by parameter, by name: those of the same shape, and where `from` has a dense FFN and `to` a
/// Switch layer, every expert a copy of it.
///
///   a dense student from its Switch teacher      all but the experts and their routers (paper, section 4.1)
///   a Switch model from a dense one              all but the routers: sparse upcycling (Komatsuzaki et al., 2023). The
///                                                output of experts is multiplied by the gate, so a top-1 layer begins
///                                                with that part of the dense layer's output
///
/// Local: on a mesh each rank copies what it has. Rounds where number types differ. Allocates nothing that stays;
/// deterministic. Optimizers' state of `to` is not touched.
template <class Exec, class From, class To, class Space>
copied_parameters copy_parameters(const Exec& exec, const transformer_parameters<From, Space>& from,
                                  const transformer_parameters<To, Space>& to) {
  std::map<std::string, model::vector<From, Space>> vectors;
  std::map<std::string, model::matrix<From, Space>> dense;
  std::map<std::string, model::stack<From, Space>> stacks;
  for_each_parameter(
      [&](const std::string& name, const auto& view) {
        using View = std::decay_t<decltype(view)>;
        if constexpr (View::rank == 1)
          vectors[name] = view;
        else if constexpr (View::rank == 2)
          dense[name] = view;
        else
          stacks[name] = view;
      },
      from);
  copied_parameters found;
  const auto same_shape = [](const auto& a, const auto& b) {
    bool same = true;
    for (unsigned i = 0; i < a.rank(); ++i) same = same && a.extent(i) == b.extent(i);
    return same;
  };
  const auto copy = [&](const auto& map, const std::string& name, const auto& view) {
    const auto at = map.find(name);
    if (at == map.end() || !same_shape(at->second, view)) return false;
    model::convert(exec, at->second, view);
    ++found.same;
    return true;
  };
  for_each_parameter(
      [&](const std::string& name, const auto& view) {
        using View = std::decay_t<decltype(view)>;
        if constexpr (View::rank == 1) {
          if (!copy(vectors, name, view)) ++found.left;
        } else if constexpr (View::rank == 2) {
          if (!copy(dense, name, view)) ++found.left;
        } else {
          if (copy(stacks, name, view)) return;
          const auto at = dense.find(name);
          if (at == dense.end() || at->second.extent(0) != view.extent(1) || at->second.extent(1) != view.extent(2)) {
            ++found.left;
            return;
          }
          for (std::size_t e = 0; e < view.extent(0); ++e) {
            const model::matrix<To, Space> expert = Kokkos::subview(view, e, Kokkos::ALL, Kokkos::ALL);
            model::convert(exec, at->second, expert);
          }
          ++found.experts;
        }
      },
      to);
  exec.fence("switchyard: weights of another model were copied");
  return found;
}

} // namespace switchyard::train

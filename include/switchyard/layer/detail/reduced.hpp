// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/layer/parameters.hpp>

/// \file
/// Gradients that are summed over ranks lie one behind the other in one buffer, so that there is one sum and not seven:
/// the router's, and the experts' where every rank holds all experts.

namespace switchyard::detail {

/// Calls f(view of `p`, offset in the buffer) for every parameter that is summed.
template <class Parameters, class F>
std::size_t for_each_reduced(const Parameters& p, bool with_experts, const F& f) {
  std::size_t offset = 0;
  const auto next = [&](const auto& view) {
    f(view, offset);
    offset += view.size();
  };
  next(p.router);
  if (!with_experts) return offset;
  next(p.wi);
  next(p.wi_gate);
  next(p.wo);
  next(p.bi);
  next(p.bi_gate);
  next(p.bo);
  return offset;
}

/// Elements of the buffer.
inline std::size_t reduced_size(const switch_config& c, part experts, part d_ff, bool with_experts) {
  const auto m = static_cast<std::size_t>(c.d_model), f = static_cast<std::size_t>(d_ff.count);
  const auto e = static_cast<std::size_t>(experts.count);
  const std::size_t router = m * static_cast<std::size_t>(c.experts);
  if (!with_experts) return router;
  return router + e * m * f * (c.gated ? 3 : 2) + (c.bias ? e * (m + f * (c.gated ? 2 : 1)) : 0);
}

/// The same parameters, the summed ones lying in the buffer.
template <class T, class Space>
switch_parameters<T, Space> reduced_parameters(const Kokkos::View<T*, Space>& buffer,
                                               const switch_parameters<T, Space>& p, bool with_experts) {
  switch_parameters<T, Space> result = p;
  std::size_t offset = 0;
  const auto place = [&](auto& view) {
    using View = std::remove_reference_t<decltype(view)>;
    if (view.data() == nullptr) return; // not of this configuration
    T* data = buffer.data() + offset;
    offset += view.size();
    if constexpr (View::rank == 2)
      view = View(data, view.extent(0), view.extent(1));
    else
      view = View(data, view.extent(0), view.extent(1), view.extent(2));
  };
  place(result.router);
  if (!with_experts) return result;
  place(result.wi);
  place(result.wi_gate);
  place(result.wo);
  place(result.bi);
  place(result.bi_gate);
  place(result.bo);
  return result;
}

template <class T, class Space>
struct unpack_kernel {
  Kokkos::View<const T*, Space> from;
  T* to;
  std::size_t begin;
  bool accumulate;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const T value = from(begin + static_cast<std::size_t>(i));
    to[i] = accumulate ? to[i] + value : value;
  }
};

/// buffer -> the parameters' own memory (=|+=).
template <class Exec, class T, class Space>
void unpack_reduced(const Exec& exec, const Kokkos::View<T*, Space>& buffer, const switch_parameters<T, Space>& to,
                    bool with_experts, bool accumulate) {
  for_each_reduced(to, with_experts, [&](const auto& view, std::size_t offset) {
    for_each_index("switchyard::unpack_reduced", exec, static_cast<std::int64_t>(view.size()),
                   unpack_kernel<T, Space>{buffer, view.data(), offset, accumulate});
  });
}

} // namespace switchyard::detail

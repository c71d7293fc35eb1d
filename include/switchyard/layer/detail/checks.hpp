// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <switchyard/layer/parameters.hpp>
#include <switchyard/mesh/illegal.hpp>
#include <switchyard/router/decision.hpp>

/// \file
/// What a caller hands to a layer is compared with what the layer is. Numbers on the host: nothing here allocates,
/// waits or communicates.

namespace switchyard::detail {

/// The product of the extents. size() is 0 for some views without memory.
template <class View>
std::size_t values_of(const View& v) {
  std::size_t n = 1;
  for (std::size_t i = 0; i < View::rank; ++i) n *= v.extent(i);
  return n;
}

/// Throws for a view of something that is nowhere.
template <class View, class... Name>
void check_allocated(const View& v, const Name&... name) {
  require(v.data() != nullptr || values_of(v) == 0, name..., ": a view of ", values_of(v),
          " values without memory; allocate it first");
}

/// Kernels read a view as a pointer and extents.
template <class View, class... Name>
void check_memory(const View& v, const Name&... name) {
  check_allocated(v, name...);
  require(values_of(v) == 0 || v.span_is_contiguous(), name...,
          ": its values must lie in a row, without gaps (padding, or a part of the last dimension); Kokkos::deep_copy "
          "it into a view of its own");
}

/// what: extent i of a view of tokens.
template <class View>
void check_extent(const char* name, const View& v, std::size_t i, const char* what, std::int64_t must) {
  require(static_cast<std::int64_t>(v.extent(i)) == must, name, ".extent(", i, ") = ", v.extent(i), ": ", what, " is ",
          must, " here; make the view or the tape to fit");
}

/// name: x, y, dx or dy; LayoutRight, of type T, in the space of the layer, whose last extent is d_model.
template <class T, class Space, class View>
void check_values(const char* name, const View& v, std::int64_t d_model) {
  static_assert(lawful<std::is_same_v<typename View::array_layout, Kokkos::LayoutRight>,
                       illegal::view_is_not_layout_right<View>>);
  static_assert(std::is_same_v<typename View::non_const_value_type, T>,
                "switchyard: tokens have the value type of the layer's precision; convert them before the call");
  static_assert(Kokkos::SpaceAccessibility<Space, typename View::memory_space>::accessible,
                "switchyard: tokens must live where the layer's execution space can reach them");
  check_extent(name, v, View::rank - 1, "d_model", d_model);
  check_memory(v, name);
}

/// [groups, tokens, M], otherwise as check_values.
template <class T, class Space, class View>
void check_tokens(const char* name, const View& v, const router::problem& size, std::int64_t d_model) {
  check_extent(name, v, 0, "number of groups", size.groups);
  check_extent(name, v, 1, "number of tokens per group", size.tokens);
  check_values<T, Space>(name, v, d_model);
}

/// [groups, tokens], gaps allowed, or empty.
template <class View>
void check_mask(const View& mask, const router::problem& size) {
  check_allocated(mask, "mask");
  if (mask.data() == nullptr) return;
  require(static_cast<std::int64_t>(mask.extent(0)) == size.groups &&
              static_cast<std::int64_t>(mask.extent(1)) == size.tokens,
          "mask [", mask.extent(0), ", ", mask.extent(1), "]: must be [", size.groups, ", ", size.tokens,
          "], one number per token here");
}

/// what: weights or gradients. One tensor of them, empty where the configuration has none.
template <class View, class... Extents>
void check_parameter(const char* what, const char* field, bool exists, const View& view, Extents... extents) {
  const std::array<std::int64_t, sizeof...(extents)> must{(exists ? extents : 0)...};
  for (std::size_t i = 0; i < must.size(); ++i)
    require(static_cast<std::int64_t>(view.extent(i)) == must[i], what, '.', field, ".extent(", i,
            ") = ", view.extent(i), ": must be ", must[i], " for this layer",
            exists ? "" : ", whose configuration has none", "; take what its init or zeros makes");
  check_memory(view, what, '.', field);
}

/// Those of a layer with these experts and columns of their hidden layers here.
template <class T, class Space>
void check_parameters(const char* what, const switch_parameters<T, Space>& p, const switch_config& c, part experts,
                      part d_ff) {
  const std::int64_t e = experts.count, m = c.d_model, f = d_ff.count;
  check_parameter(what, "router", true, p.router, m, c.experts);
  check_parameter(what, "wi", true, p.wi, e, m, f);
  check_parameter(what, "wi_gate", c.gated, p.wi_gate, e, m, f);
  check_parameter(what, "wo", true, p.wo, e, f, m);
  check_parameter(what, "bi", c.bias, p.bi, e, f);
  check_parameter(what, "bi_gate", c.bias && c.gated, p.bi_gate, e, f);
  check_parameter(what, "bo", c.bias, p.bo, e, m);
}

/// A number of a layer on which the memory of something depends that the layer made.
struct fact {
  const char* name = "";
  std::int64_t value = 0;
};

/// Throws where `made`, by another layer or by none, does not fit this one. maker: what makes such a thing.
template <std::size_t N>
void check_made_for(const char* what, const char* maker, const std::array<fact, N>& made,
                    const std::array<fact, N>& here) {
  for (std::size_t i = 0; i < N; ++i)
    require(made[i].value == here[i].value, what, ": made for ", here[i].name, " = ", made[i].value,
            ", but this layer has ", here[i].value, "; use what its own ", maker, " makes");
}

/// Sizes are products of 64-bit integers. `widest`: numbers per row.
inline void check_size(std::int64_t groups, std::int64_t tokens, double rows, double widest) {
  require(rows * widest < 0x1p58, "groups = ", groups, ", tokens = ", tokens, ": ", rows, " rows of ", widest,
          " numbers are more than 64 bits can address; use fewer groups or tokens");
}

template <class A, class B>
bool overlap(const A& a, const B& b) {
  const auto* a0 = reinterpret_cast<const std::byte*>(a.data());
  const auto* b0 = reinterpret_cast<const std::byte*>(b.data());
  return a.size() > 0 && b.size() > 0 && a0 < b0 + b.size() * sizeof(typename B::value_type) &&
         b0 < a0 + a.size() * sizeof(typename A::value_type);
}

} // namespace switchyard::detail

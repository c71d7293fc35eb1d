// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/gpu.hpp>
#include <switchyard/core/pack.hpp>
#include <switchyard/dispatch/assignment.hpp>

/// \file
/// How a warp walks over one token: its choices with a slot, 32 looked up at a time, and the columns of a row in strips
/// of `strip` pieces per lane, all of which are on their way at once.

namespace switchyard::dispatch {

/// Calls f(j, row) for the choices of a token that have a row, in order of j.
template <class Real, class Space>
struct chosen_rows {
  router::problem size;
  int choices;
  Kokkos::View<const std::int32_t**, Kokkos::LayoutRight, Space> choice, slot; // [T, K]
  slot_map<Space> map;

  chosen_rows() = default;
  chosen_rows(const router::problem& p, const router::settings& set, const router::decision<Real, Space>& d,
              const slot_map<Space>& m)
      : size(p), choices(set.choices), choice(d.choice), slot(d.slot), map(m) {}

  template <class Warp>
  KOKKOS_FUNCTION auto look_up(const Warp& warp, std::int64_t t, int first) const {
    const std::int64_t group = t / size.tokens;
    return warp.template make<std::int64_t>([&](int lane, int) {
      return first + lane < choices ? map(choice(t, first + lane), group, slot(t, first + lane)) : std::int64_t{-1};
    });
  }
  template <class Warp, class F>
  KOKKOS_FUNCTION void for_each(const Warp& warp, std::int64_t t, const F& f) const {
    for (int first = 0; first < choices; first += gpu::warp_size) {
      const auto row = look_up(warp, t, first);
      typename Warp::template values<bool> has;
      warp.each([&](int, int i) { has[i] = row[i] >= 0; });
      for (unsigned left = warp.ballot(has); left != 0; left &= left - 1) {
        const int j = gpu::first_lane(left);
        f(first + j, warp.get(row, j));
      }
    }
  }
};

/// Where a lane's pieces of N columns lie in a strip.
template <int N>
struct strips {
  static constexpr int pieces = 4;
  static constexpr std::int64_t width = std::int64_t{N} * pieces * gpu::warp_size;
  KOKKOS_FUNCTION static std::int64_t column(std::int64_t begin, int lane, int piece) {
    return begin + static_cast<std::int64_t>(piece * gpu::warp_size + lane) * N;
  }
};

} // namespace switchyard::dispatch

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <string>
#include <switchyard/core/precision.hpp>

/// \file
/// Random numbers in views. Never zeros and never one constant: both multiply faster than data do.

namespace bench {

using exec_space = Kokkos::DefaultHostExecutionSpace;
using space = Kokkos::HostSpace;
using range = Kokkos::RangePolicy<exec_space, Kokkos::IndexType<std::int64_t>>;
template <class T>
using vector = Kokkos::View<T*, space>;
template <class T>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, space>;
template <class T>
using stack = Kokkos::View<T***, Kokkos::LayoutRight, space>;

/// 64 random bits of a counter (splitmix64).
inline std::uint64_t mixed(std::uint64_t n) {
  n += 0x9e3779b97f4a7c15u;
  n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
  n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
  return n ^ (n >> 31);
}

/// Element i of stream `seed`: uniform, mean 0, the standard deviation given.
inline float random_number(std::uint64_t seed, std::uint64_t i, float deviation) {
  const float unit = static_cast<float>(mixed(mixed(seed) + i) >> 40) * 0x1p-23f - 1.0f;
  return unit * deviation * 1.7320508f;
}

template <class View>
void fill_random(const View& view, std::uint64_t seed, float deviation) {
  using T = typename View::non_const_value_type;
  T* const to = view.data();
  Kokkos::parallel_for("bench::fill", range(0, static_cast<std::int64_t>(view.size())), [=](std::int64_t i) {
    to[i] = T(random_number(seed, static_cast<std::uint64_t>(i), deviation));
  });
  Kokkos::fence("bench: the numbers are there");
}

inline std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

template <class View>
View allocate(const char* label, std::int64_t a, std::int64_t b) {
  return View(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), size(a), size(b));
}
template <class View>
View allocate(const char* label, std::int64_t a, std::int64_t b, std::int64_t c) {
  return View(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), size(a), size(b), size(c));
}

template <class T>
matrix<T> random_matrix(const char* label, std::int64_t a, std::int64_t b, std::uint64_t seed, float deviation = 1) {
  auto view = allocate<matrix<T>>(label, a, b);
  fill_random(view, seed, deviation);
  return view;
}
template <class T>
stack<T> random_stack(const char* label, std::int64_t a, std::int64_t b, std::int64_t c, std::uint64_t seed,
                      float deviation) {
  auto view = allocate<stack<T>>(label, a, b, c);
  fill_random(view, seed, deviation);
  return view;
}

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <functional>
#include <map>
#include <string>
#include <switchyard/mesh/tensor.hpp>
#include <vector>

// What tensors must hold, by global index, on one process and without a mesh.

namespace oracle {

/// A whole tensor: one letter per dimension, LayoutRight.
struct whole {
  std::string letters;
  std::map<char, std::int64_t> extents;
  std::vector<double> values;

  std::size_t size() const {
    std::size_t product = 1;
    for (const char c : letters) product *= static_cast<std::size_t>(extents.at(c));
    return product;
  }
  std::size_t at(const std::map<char, std::int64_t>& index) const {
    std::size_t i = 0;
    for (const char c : letters)
      i = i * static_cast<std::size_t>(extents.at(c)) + static_cast<std::size_t>(index.at(c));
    return i;
  }
};

/// Small integers, so that no sum of the tests ever rounds: results are equal or wrong.
inline double small_integer(unsigned seed, std::size_t i) {
  std::uint64_t h = (static_cast<std::uint64_t>(seed) << 32) + i + 1;
  h = (h ^ (h >> 31)) * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
  return static_cast<double>((h >> 40) % 5) - 2;
}

inline whole draw(const std::string& letters, const std::map<char, std::int64_t>& extents, unsigned seed) {
  whole w{letters, extents, {}};
  w.values.resize(w.size());
  for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] = small_integer(seed, i);
  return w;
}

/// Calls f(index) for every index over these letters.
inline void for_all(const std::string& letters, const std::map<char, std::int64_t>& extents,
                    const std::function<void(const std::map<char, std::int64_t>&)>& f) {
  std::map<char, std::int64_t> index;
  const std::function<void(std::size_t)> descend = [&](std::size_t d) {
    if (d == letters.size()) return f(index);
    for (std::int64_t i = 0; i < extents.at(letters[d]); ++i) {
      index[letters[d]] = i;
      descend(d + 1);
    }
  };
  descend(0);
}

/// out[letters] = sum of a b over all other letters.
inline whole product(const std::string& letters, const whole& a, const whole& b) {
  whole out{letters, a.extents, {}};
  out.extents.insert(b.extents.begin(), b.extents.end());
  out.values.assign(out.size(), 0);
  std::string all;
  for (const char c : letters + a.letters + b.letters)
    if (all.find(c) == std::string::npos) all += c;
  for_all(all, out.extents, [&](const auto& i) { out.values[out.at(i)] += a.values[a.at(i)] * b.values[b.at(i)]; });
  return out;
}

/// Calls f(local position, global position) for every value that this rank holds.
template <class Tensor, class F>
void for_each_held(const Tensor& t, const F& f) {
  std::size_t local = 0;
  const std::function<void(std::size_t, std::size_t)> descend = [&](std::size_t d, std::size_t global) {
    if (d == Tensor::rank) return f(local++, global);
    const switchyard::part here = t.here(d);
    for (std::int64_t i = 0; i < here.count; ++i)
      descend(d + 1, global * static_cast<std::size_t>(t.extents()[d]) + static_cast<std::size_t>(here.begin + i));
  };
  descend(0, 0);
}

/// t (=) what this rank holds of w.
template <class Tensor>
Tensor placed(const typename Tensor::mesh_type& mesh, const whole& w) {
  typename Tensor::shape extents;
  for (std::size_t d = 0; d < Tensor::rank; ++d) extents[d] = w.extents.at(w.letters[d]);
  Tensor t(mesh, extents);
  const auto host = Kokkos::create_mirror_view(t.flat());
  for_each_held(
      t, [&](std::size_t local, std::size_t global) { host(local) = typename Tensor::value_type(w.values[global]); });
  Kokkos::deep_copy(t.flat(), host);
  return t;
}

/// Does this rank hold its part of w, exactly?
template <class Tensor>
bool holds(const Tensor& t, const whole& w) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), t.flat());
  bool same = true;
  std::size_t held = 0;
  for_each_held(t, [&](std::size_t local, std::size_t global) {
    same = same && double(host(local)) == w.values[global];
    ++held;
  });
  return same && held == host.size();
}

} // namespace oracle

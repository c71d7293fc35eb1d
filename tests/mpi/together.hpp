// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <switchyard/mesh/mesh.hpp>
#include <switchyard/mpi.hpp>
#include <vector>

/// \file
/// What tests on several ranks compare, and that they all say the same.

namespace mpi_test {

namespace sy = switchyard;

inline int ranks() {
  int n = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &n);
  return n;
}
/// True on every rank iff it is true on every rank: assertions are made together or not at all.
inline bool everywhere(bool here) {
  int all = here ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

/// The part of a row-major tensor that lies at `where`, dimension by dimension.
template <class T>
std::vector<T> cut(const std::vector<T>& whole, const std::vector<std::int64_t>& extents,
                   const std::vector<sy::part>& where) {
  std::vector<T> result;
  if (whole.empty()) return result;
  std::int64_t size = 1;
  for (const sy::part& p : where) size *= p.count;
  for (std::int64_t i = 0; i < size; ++i) {
    std::int64_t rest = i, at = 0, stride = 1;
    for (std::size_t d = extents.size(); d-- > 0;) {
      at += (where[d].begin + rest % where[d].count) * stride;
      rest /= where[d].count;
      stride *= extents[d];
    }
    result.push_back(whole[static_cast<std::size_t>(at)]);
  }
  return result;
}

/// NaN is NaN, whatever its bits.
template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0 && (a[i] == a[i] || b[i] == b[i])) return false;
  return true;
}

/// max |a - b| <= bound * max |whole|, and NaN where the other is.
inline bool close(const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& whole,
                  double bound) {
  double worst = 0, largest = 0;
  for (const double v : whole) largest = v == v ? std::max(largest, std::abs(v)) : largest;
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return false;
    if (!std::isnan(a[i])) worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  return worst <= bound * largest;
}

} // namespace mpi_test

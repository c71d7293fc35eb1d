// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/mesh/communicator.hpp>

namespace switchyard::train::detail {

/// values[0 .. n) (=) their sums over the ranks, in rank order; exact where all ranks but one have 0. Collective: one
/// all-gather, nothing for one rank.
inline void sum_over_ranks(const communicator& comm, double* values, std::size_t n, std::vector<double>& gathered) {
  if (comm.size() == 1) return;
  const auto ranks = static_cast<std::size_t>(comm.size());
  gathered.resize(ranks * n);
  std::copy(values, values + n,
            gathered.begin() + static_cast<std::ptrdiff_t>(n * static_cast<std::size_t>(comm.rank())));
  comm.all_gather(gathered.data(), std::vector<std::int64_t>(ranks, static_cast<std::int64_t>(n)), sizeof(double),
                  collective::all_reduce);
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = gathered[i];
    for (std::size_t r = 1; r < ranks; ++r) values[i] += gathered[r * n + i];
  }
}

} // namespace switchyard::train::detail

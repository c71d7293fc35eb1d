// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <switchyard/mesh/communicator.hpp>

namespace switchyard::train::detail {

/// values[0 .. n): a rank leaves 0 where it knows nothing; afterwards all ranks have what any of them knew. Where
/// several do, as replicas of the same work, they know the same. Nothing is added, so nothing is rounded. Collective:
/// one all-gather, nothing for one rank.
inline void fill_over_ranks(const communicator& comm, double* values, std::size_t n, std::vector<double>& gathered) {
  if (comm.size() == 1) return;
  const auto ranks = static_cast<std::size_t>(comm.size()), here = static_cast<std::size_t>(comm.rank());
  gathered.resize(ranks * n);
  std::copy(values, values + n, gathered.begin() + static_cast<std::ptrdiff_t>(n * here));
  comm.all_gather(gathered.data(), std::vector<std::int64_t>(ranks, static_cast<std::int64_t>(n)), sizeof(double));
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = 0;
    for (std::size_t r = 0; r < ranks && values[i] == 0; ++r) values[i] = gathered[r * n + i];
  }
}

} // namespace switchyard::train::detail

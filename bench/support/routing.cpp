// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/data.hpp"
#include "support/shapes.hpp"
#include <algorithm>
#include <numeric>

namespace bench {

std::vector<std::int32_t> draw_experts(routing how, std::int64_t tokens, std::int64_t experts, std::uint64_t seed) {
  std::vector<double> below(size(experts)); // cumulative probability
  std::vector<std::int32_t> order(size(experts));
  std::iota(order.begin(), order.end(), 0);
  double sum = 0;
  for (std::size_t r = 0; r < below.size(); ++r)
    below[r] = sum += how == routing::zipf ? 1.0 / static_cast<double>(r + 1) : 1.0;
  for (std::size_t r = order.size(); r > 1; --r) std::swap(order[r - 1], order[mixed(seed ^ (r << 32)) % r]);
  std::vector<std::int32_t> expert(size(tokens));
  for (std::size_t t = 0; t < expert.size(); ++t) {
    const double u = static_cast<double>(mixed(mixed(seed) + t) >> 11) * 0x1p-53 * sum;
    const auto rank = std::upper_bound(below.begin(), below.end() - 1, u) - below.begin();
    expert[t] = how == routing::one ? order[0] : order[size(rank)];
  }
  return expert;
}

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/data.hpp"
#include "support/shapes.hpp"
#include <cmath>
#include <switchyard/layer/config.hpp>

/// \file
/// Tokens that the ordinary router sends where the entry wants them: the columns of W_r are random vectors of one
/// length, and a token is noise plus a large multiple of its expert's column. Then the router's work is the usual one,
/// and its answer is known beforehand.

namespace bench {

/// Length of the columns of W_r: certain choices, but no gate so near to 1 that its gradient is a rounding error.
inline constexpr float sharpness = 0.3f;

inline switchyard::switch_config config_of(const entry& e) {
  switchyard::switch_config c{.d_model = e.shape.d_model, .d_ff = e.shape.d_ff, .experts = e.shape.experts};
  c.dropless = e.routing != routing::uniform;
  if (e.choices > 1) {
    c.routing = switchyard::routing_policy::top_k;
    c.k = e.choices;
    c.capacity_factor = e.choices;
  }
  return c;
}

/// The experts that each token is meant for, best first.
struct intention {
  int choices;
  std::vector<std::int32_t> expert; ///< [tokens, K]

  intention(const entry& e, std::int64_t tokens) : choices(e.choices) {
    const auto first = draw_experts(e.routing, tokens, e.shape.experts);
    const auto second = draw_experts(e.routing, tokens, e.shape.experts, 2);
    for (std::size_t t = 0; t < first.size(); ++t) {
      expert.push_back(first[t]);
      if (choices > 1)
        expert.push_back(second[t] != first[t] ? second[t]
                                               : static_cast<std::int32_t>((second[t] + 1) % e.shape.experts));
    }
  }
};

/// W_r [M, E]
inline void fill_router(const matrix<float>& w) {
  fill_random(w, 1, 1);
  for (std::size_t e = 0; e < w.extent(1); ++e) {
    double square = 0;
    for (std::size_t m = 0; m < w.extent(0); ++m) square += w(m, e) * w(m, e);
    for (std::size_t m = 0; m < w.extent(0); ++m) w(m, e) *= sharpness / static_cast<float>(std::sqrt(square));
  }
}

/// x [tokens, M]
template <class View>
void fill_tokens(const View& x, const matrix<float>& w, const intention& meant) {
  using T = typename View::non_const_value_type;
  const auto* expert = meant.expert.data();
  const int k = meant.choices;
  Kokkos::parallel_for("bench::tokens", range(0, static_cast<std::int64_t>(x.extent(0))), [=](std::int64_t t) {
    for (std::size_t m = 0; m < x.extent(1); ++m) {
      float v = random_number(4, static_cast<std::uint64_t>(t) * x.extent(1) + m, 1);
      for (int j = 0; j < k; ++j) v += static_cast<float>(14 - 2 * j) / sharpness * w(m, size(expert[t * k + j]));
      x(t, m) = T(v);
    }
  });
  Kokkos::fence("bench: the tokens are there");
}

/// The slots, from the definition: first choices before second ones, tokens in order. slot -1: dropped.
inline void slots_of(const entry& e, std::int64_t capacity, const std::vector<std::int32_t>& expert,
                     std::vector<std::int32_t>& slot, std::vector<std::int64_t>& offset) {
  std::vector<std::int64_t> filled(size(e.shape.experts));
  slot.assign(expert.size(), -1);
  for (int j = 0; j < e.choices; ++j)
    for (std::int64_t t = 0; t < e.shape.tokens; ++t) {
      const auto at = size(t * e.choices + j);
      auto& count = filled[size(expert[at])];
      if (count < capacity) slot[at] = static_cast<std::int32_t>(count++);
    }
  offset.assign(1, 0);
  for (const auto n : filled) offset.push_back(offset.back() + n);
}

} // namespace bench

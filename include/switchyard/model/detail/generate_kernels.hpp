// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/random.hpp>
#include <switchyard/model/types.hpp>

namespace switchyard::model::detail {

/// The next token of one sequence.
template <class Acc, class Space>
struct choose_token_kernel {
  matrix<const Acc, Space> logits;          // [batch, V]
  matrix<const std::int32_t, Space> prompt; // [batch, prompt length]
  std::int64_t t;
  Acc temperature; // 0: greedy
  generator draw;  // of this step
  std::int32_t end, pad;
  vector<std::int32_t, Space> token, ended; // [batch]
  matrix<std::int32_t, Space> result;       // [batch, max length]

  KOKKOS_FUNCTION void operator()(std::int64_t b) const {
    const auto n = static_cast<std::int64_t>(logits.extent(1));
    std::int64_t best = 0;
    if (t < static_cast<std::int64_t>(prompt.extent(1))) {
      best = prompt(b, t);
    } else {
      Acc largest = score(b, 0);
      for (std::int64_t v = 1; v < n; ++v) {
        const Acc here = score(b, v);
        if (here > largest) {
          largest = here;
          best = v;
        }
      }
    }
    if (ended(b) != 0) best = pad;
    token(b) = result(b, t) = static_cast<std::int32_t>(best);
    if (best == end || best == pad) ended(b) = 1;
  }

  KOKKOS_FUNCTION Acc score(std::int64_t b, std::int64_t v) const {
    if (!(temperature > 0)) return logits(b, v);
    const auto element = static_cast<std::uint64_t>(b * static_cast<std::int64_t>(logits.extent(1)) + v);
    const Acc u = draw.template uniform<Acc>(element);
    return logits(b, v) / temperature - Kokkos::log(-Kokkos::log(u));
  }
};

/// Sequences that have not ended.
template <class Space>
struct count_running_kernel {
  vector<const std::int32_t, Space> ended; // [batch]
  vector<std::int32_t, Space> running;     // [1]
  KOKKOS_FUNCTION void operator()(std::int64_t) const {
    std::int32_t count = 0;
    for (std::int64_t b = 0; b < static_cast<std::int64_t>(ended.extent(0)); ++b) count += ended(b) == 0 ? 1 : 0;
    running(0) = count;
  }
};

} // namespace switchyard::model::detail

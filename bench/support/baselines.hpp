// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "support/shapes.hpp"
#include <functional>
#include <memory>

/// \file
/// What every entry is measured against, in the same process: compiled once, behind plain functions.

namespace bench {

/// The library's best engine on what it does best: one dense product, 4096 x 4096 (2048 rows: the time of an entry is
/// limited, and more rows are no faster).
struct largest_product {
  static constexpr double flop = 2.0 * 2048 * 4096 * 4096;
  static std::function<void()> make(number n); ///< memory is shared by all that are made
};

/// All threads copy, or read, `bytes`, each its own part: the bandwidth that a pass of that size could have at best.
/// Copying counts twice, once read and once written.
std::function<void()> make_copy(std::size_t bytes);
std::function<void()> make_read(std::size_t bytes);
/// Large enough for no cache.
inline constexpr std::size_t beyond_caches = std::size_t{512} << 20;

/// A dense FFN: the experts room with one expert that takes all tokens.
class dense_ffn {
 public:
  dense_ffn(number n, std::int64_t d_model, std::int64_t d_ff, std::int64_t tokens);
  std::function<void()> call(pass p) const;
  static double flop(pass p, const shape& s) {
    return 4.0 * static_cast<double>(s.tokens) * static_cast<double>(s.d_model) * static_cast<double>(s.d_ff) *
           (p == pass::forward    ? 1
            : p == pass::backward ? 2
                                  : 3);
  }

 private:
  std::function<void()> forward_, backward_; // own their memory
};

/// Frees what the baselines share; before Kokkos ends.
void release_baselines();

} // namespace bench

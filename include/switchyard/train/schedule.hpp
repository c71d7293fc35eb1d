// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <switchyard/core/error.hpp>

namespace switchyard::train {

enum class schedule_kind : std::uint8_t { inverse_square_root, linear, constant };

/// The learning rate of step t = 1, 2, ..., with its largest value r after w steps of warm-up:
///
///   inverse_square_root   r sqrt(w) / sqrt(max(t, w))        (T5: r = 0.01, w = 10000, flat)
///   linear                r from step w down to `last` at step `steps`, then `last`
///   constant              r
///
/// times min(1, t / w), unless the warm-up is flat: then the rate begins where warm-up ends, as in T5.
struct schedule {
  schedule_kind kind = schedule_kind::inverse_square_root;
  double rate = 1e-2;       ///< r
  std::int64_t warm_up = 0; ///< w; 0 is 1 for the inverse square root
  bool flat = false;        ///< no rise in the warm-up
  std::int64_t steps = 0;   ///< linear: where the rate has come down
  double last = 0;          ///< linear: to what

  double operator()(std::int64_t t) const {
    const auto at = static_cast<double>(std::max<std::int64_t>(t, 1));
    const auto warm = static_cast<double>(std::max<std::int64_t>(warm_up, 1));
    const double rise = flat ? 1 : std::min(1.0, at / warm);
    switch (kind) {
    case schedule_kind::inverse_square_root:
      return rise * rate * std::sqrt(warm / std::max(at, warm));
    case schedule_kind::linear: {
      const auto begin = static_cast<double>(warm_up), end = static_cast<double>(steps);
      const double left = std::clamp((end - at) / (end - begin), 0.0, 1.0);
      return at <= begin ? rise * rate : last + (rate - last) * left;
    }
    default:
      return rise * rate;
    }
  }
};

/// Throws invalid_argument, naming the field, its value and what is allowed.
inline void validate(const schedule& s) {
  using switchyard::detail::require;
  require(std::isfinite(s.rate) && s.rate >= 0, "rate = ", s.rate, ": must be finite and at least 0");
  require(s.warm_up >= 0, "warm_up = ", s.warm_up, ": must be at least 0 steps");
  if (s.kind != schedule_kind::linear) return;
  require(s.steps > s.warm_up, "steps = ", s.steps, ": a linear schedule must end after its warm-up of ", s.warm_up,
          " steps");
  require(std::isfinite(s.last) && s.last >= 0, "last = ", s.last, ": must be finite and at least 0");
}

} // namespace switchyard::train

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace switchyard::train {

/// The loss on some text: sums, and what they are quoted as.
struct text_loss {
  double nats = 0;          ///< sum of -log p over the targets
  std::int64_t targets = 0; ///< tokens that were predicted
  std::int64_t bytes = 0;   ///< of text that these tokens stand for

  /// -nats / targets, per token, as the paper's tables have it. 0 without targets.
  double negative_log_perplexity() const { return targets > 0 ? -nats / static_cast<double>(targets) : 0; }
  /// Bits that it takes to write a byte of the predicted text down, sentinels and ends included in the cost. It can be
  /// compared between tokenizers. 0 without text.
  double bits_per_byte() const { return bytes > 0 ? nats / std::log(2.0) / static_cast<double>(bytes) : 0; }

  void add(double more_nats, std::int64_t more_targets, std::int64_t more_bytes) {
    nats += more_nats;
    targets += more_targets;
    bytes += more_bytes;
  }
};

/// What an evaluation found, the same on every rank.
struct evaluation {
  struct labelled {
    std::string language;
    text_loss loss;
  };
  text_loss all;
  std::vector<labelled> languages; ///< in the order of text::languages(), also those without examples
};

} // namespace switchyard::train

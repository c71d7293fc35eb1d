// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <switchyard/core/random.hpp>
#include <switchyard/train/tokenizer.hpp>

/// \file
/// What a model is asked to predict. For a text a b c d e f g h whose noise is "c d" and "g":
///
///   span corruption   source: a b <0> e f <1> h </s>     target: <0> c d <1> g </s>      (T5, section 3.1.4)
///   next token        target: a b c d e f g h            the decoder reads it shifted by one
///
/// Of n tokens, round(0.15 n) are noise, in round(noise / 3) spans; which ones is drawn as in T5: noise and the rest
/// are cut into as many pieces each, all ways to cut equally likely, and interleaved, the rest first. Draws are keyed
/// by (seed, number of the example), so an example is the same for every layout, thread and resumed run.

namespace switchyard::train {

enum class objective_kind : std::uint8_t {
  span_corruption, ///< for an encoder-decoder
  next_token       ///< for a decoder alone
};

struct objective_config {
  objective_kind kind = objective_kind::span_corruption;
  std::int64_t length = 128;   ///< of the source with its end for span corruption, of the target for next token
  double noise_density = 0.15; ///< part of the tokens that is noise
  double mean_span = 3;        ///< tokens
};

/// How much of a text of some length is noise.
struct span_counts {
  std::int64_t noise = 0, spans = 0;
};

class objective {
 public:
  /// Throws invalid_argument for a configuration that cannot be.
  objective(const objective_config& c, const special_tokens& special) : config_(c), special_(special) {
    using switchyard::detail::require;
    require(c.length >= 4 && c.length < 32768, "length = ", c.length, ": must be in [4, 32768)");
    if (c.kind == objective_kind::next_token) {
      text_ = target_ = c.length;
      return;
    }
    require(c.noise_density > 0 && c.noise_density < 1, "noise_density = ", c.noise_density, ": must be in (0, 1)");
    require(c.mean_span >= 1, "mean_span = ", c.mean_span, ": must be at least 1");
    text_ = 2; // the longest text whose source fits
    while (text_ < 32767 && source_of(text_ + 1) <= c.length) ++text_;
    require(source_of(text_) <= c.length, "length = ", c.length, ": too short for the spans; make it larger");
    source_ = c.length;
    const span_counts n = counts(text_);
    target_ = n.noise + n.spans + 1;
    require(n.spans <= special.sentinels, "length = ", c.length, ": needs ", n.spans, " sentinels, there are ",
            special.sentinels, "; make it smaller, or mean_span larger");
  }

  const objective_config& config() const { return config_; }
  std::int64_t text_length() const { return text_; }     ///< tokens of text in an example, at most
  std::int64_t source_length() const { return source_; } ///< 0 for next token
  std::int64_t target_length() const { return target_; }

  /// T5's numbers, rounded half to even; nothing for a text of fewer than 2 tokens.
  span_counts counts(std::int64_t tokens) const {
    if (tokens < 2) return {};
    const auto rounded = [](double x) { return static_cast<std::int64_t>(std::nearbyint(x)); };
    const std::int64_t noise =
        std::clamp<std::int64_t>(rounded(static_cast<double>(tokens) * config_.noise_density), 1, tokens - 1);
    const std::int64_t spans =
        std::clamp<std::int64_t>(rounded(static_cast<double>(noise) / config_.mean_span), 1, tokens - noise);
    return {noise, spans};
  }

  /// tokens, at most text_length() -> source [source_length()], target [target_length()], filled up with padding.
  /// `ends`: the text's document ends here, which next token marks where there is room. A text of fewer than 2 tokens
  /// has no targets. draw: a generator of the example's own; `index` numbers the example.
  void make(std::span<const std::int32_t> tokens, bool ends, const generator& draw, std::uint64_t index,
            std::span<std::int32_t> source, std::span<std::int32_t> target) const {
    std::fill(source.begin(), source.end(), special_.pad);
    std::fill(target.begin(), target.end(), special_.pad);
    if (tokens.size() < 2) return;
    if (config_.kind == objective_kind::next_token) {
      std::copy(tokens.begin(), tokens.end(), target.begin());
      if (ends && tokens.size() < target.size()) target[tokens.size()] = special_.eos;
      return;
    }
    const auto [noise, spans] = counts(static_cast<std::int64_t>(tokens.size()));
    const std::int64_t rest = static_cast<std::int64_t>(tokens.size()) - noise;
    cut kept(rest, spans, draw, index << 16), corrupted(noise, spans, draw, (index << 16) + 0x8000u);
    auto in = tokens.begin();
    auto to_source = source.begin(), to_target = target.begin();
    for (std::int64_t s = 0; s < spans; ++s) {
      const auto k = kept.next(), c = corrupted.next();
      to_source = std::copy(in, in + k, to_source);
      *to_source++ = *to_target++ = special_.sentinel(s);
      to_target = std::copy(in + k, in + k + c, to_target);
      in += k + c;
    }
    *to_source = *to_target = special_.eos;
  }

 private:
  /// n things in `pieces` pieces of at least one thing each, all ways equally likely: of the n - 1 places between two
  /// things, pieces - 1 are chosen, one after another (Knuth, TAOCP 2, algorithm 3.4.2 S).
  class cut {
   public:
    cut(std::int64_t n, std::int64_t pieces, const generator& draw, std::uint64_t index)
        : places_(n - 1), wanted_(pieces - 1), draw_(draw), index_(index) {}
    /// Things in the next piece.
    std::int64_t next() {
      std::int64_t count = 1;
      while (places_ > 0) {
        const bool here = static_cast<double>(places_) * draw_.uniform<double>(index_++) < static_cast<double>(wanted_);
        --places_;
        if (here) {
          --wanted_;
          break;
        }
        ++count;
      }
      return count;
    }

   private:
    std::int64_t places_, wanted_;
    const generator& draw_;
    std::uint64_t index_;
  };

  std::int64_t source_of(std::int64_t tokens) const {
    const span_counts n = counts(tokens);
    return tokens - n.noise + n.spans + 1;
  }

  objective_config config_;
  special_tokens special_;
  std::int64_t text_ = 0, source_ = 0, target_ = 0;
};

} // namespace switchyard::train

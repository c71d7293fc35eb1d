// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <Random123/philox.h>
#include <cstdint>

/// \file
/// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC 2011, by way of Random123).
/// A draw is a pure function of (seed, stream, step, layer, index), where index is a *global* token or element number:
/// no layout, thread count or rank count can change it. No state, no order of calls.

namespace switchyard {

/// What a draw is for. Different streams are independent whatever their indices are.
enum class stream : std::uint32_t {
  router_weights,
  wi_weights,
  wi_gate_weights,
  wo_weights,
  jitter,
  input_dropout,
  gumbel,
  second_expert,
  expert_dropout,
  model_weights,
  dropout,
  attention_dropout,
  text_spans,
  user // the caller's own streams start here
};

struct seed {
  std::uint64_t value = 0;
};

/// A generator of one stream at one training step of one layer: generator.uniform(index) and so on.
/// The seed is the key; index (64 bits), step (32), layer (16), stream (8) and attempt (8) fill the counter exactly,
/// so no two draws can meet.
class generator {
 public:
  generator() = default;
  generator(seed s, stream what, std::uint32_t step = 0, std::uint16_t layer = 0)
      : seed_(s.value), step_(step), where_(std::uint32_t{layer} << 16 | static_cast<std::uint32_t>(what) << 8) {}

  /// Uniform in (0, 1), never 0 and never 1: the midpoint of one of 2^23 (float) or 2^52 (double) equal intervals.
  template <class R>
  KOKKOS_FUNCTION R uniform(std::uint64_t index) const {
    const auto bits = draw(index);
    if constexpr (sizeof(R) == 8) {
      const std::uint64_t wide = (std::uint64_t{bits.v[1]} << 32 | bits.v[0]) >> 12;
      return (static_cast<double>(wide) + 0.5) * 0x1p-52;
    } else {
      return (static_cast<float>(bits.v[0] >> 9) + 0.5f) * 0x1p-23f;
    }
  }

  /// N(0, 1) by Box and Muller; `attempt` gives further draws of the same index (for rejection).
  KOKKOS_FUNCTION double normal(std::uint64_t index, std::uint32_t attempt) const {
    const auto bits = draw(index, attempt);
    const double u = (static_cast<double>((std::uint64_t{bits.v[1]} << 32 | bits.v[0]) >> 12) + 0.5) * 0x1p-52;
    const double v = (static_cast<double>((std::uint64_t{bits.v[3]} << 32 | bits.v[2]) >> 12) + 0.5) * 0x1p-52;
    return Kokkos::sqrt(-2.0 * Kokkos::log(u)) * Kokkos::cos(2.0 * Kokkos::numbers::pi * v);
  }

  /// N(0, 1) cut at two standard deviations: values beyond are drawn again (paper, footnote 8), 4.6 % each time.
  KOKKOS_FUNCTION double truncated_normal(std::uint64_t index) const {
    for (std::uint32_t attempt = 0; attempt < 64; ++attempt) {
      const double value = normal(index, attempt);
      if (Kokkos::abs(value) <= 2.0) return value;
    }
    return 0.0; // probability 1e-86
  }

 private:
  KOKKOS_FUNCTION r123::Philox4x32::ctr_type draw(std::uint64_t index, std::uint32_t attempt = 0) const {
    r123::Philox4x32::ctr_type counter{};
    counter.v[0] = static_cast<std::uint32_t>(index);
    counter.v[1] = static_cast<std::uint32_t>(index >> 32);
    counter.v[2] = step_;
    counter.v[3] = where_ | attempt;
    r123::Philox4x32::key_type key{};
    key.v[0] = static_cast<std::uint32_t>(seed_);
    key.v[1] = static_cast<std::uint32_t>(seed_ >> 32);
    return r123::Philox4x32{}(counter, key);
  }

  std::uint64_t seed_ = 0;
  std::uint32_t step_ = 0;
  std::uint32_t where_ = 0; // layer and stream
};

} // namespace switchyard

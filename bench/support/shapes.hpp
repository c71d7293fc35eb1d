// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <switchyard/core/bfloat16.hpp>
#include <vector>

/// \file
/// What is benchmarked: the shapes, who routes where, and how entries are named.

namespace bench {

enum class pass : std::uint8_t { forward, backward, forward_backward };
enum class number : std::uint8_t { bf16, fp32 };
enum class routing : std::uint8_t {
  uniform, ///< every token draws its expert: near-balanced, capacity factor 1.25
  zipf,    ///< expert of rank r with probability ~ 1 / r, in a shuffled order; dropless
  one      ///< every token to the same expert; dropless
};

struct shape {
  std::string_view name;
  std::int64_t d_model, d_ff, experts, tokens;
  bool operator==(const shape&) const = default;
};

// Switch-Base is d_model 768, d_ff 3072 with 128 experts (Fedus 2022); the ones with 8 and 32 are its smaller sisters.
inline constexpr shape switch_base_8{"switch_base_8", 768, 3072, 8, 4096};
inline constexpr shape switch_base_32{"switch_base_32", 768, 3072, 32, 4096};
inline constexpr shape switch_base_128{"switch_base_128", 768, 3072, 128, 4096};
inline constexpr shape small{"small", 256, 512, 8, 1024};

/// The sweeps: d_model 256, d_ff 512.
inline shape sweep(std::int64_t experts, std::int64_t tokens) {
  return {"sweep", 256, 512, experts, tokens};
}
/// Few tokens through many experts: bound by reading the weights of those in use.
inline shape decode(std::int64_t tokens) {
  return {"decode", 768, 3072, 128, tokens};
}

struct entry {
  bench::shape shape;
  bench::routing routing = routing::uniform;
  bench::pass pass = pass::forward;
  bench::number number = number::bf16;
  int choices = 1; ///< 2: top-2, capacity factor 2
  bool operator==(const entry&) const = default;
};

template <class T>
inline constexpr number number_of = std::is_same_v<T, float> ? number::fp32 : number::bf16;

inline const char* name_of(pass p) {
  return p == pass::forward ? "forward" : p == pass::backward ? "backward" : "forward_backward";
}
inline const char* name_of(number n) {
  return n == number::bf16 ? "bf16" : "fp32";
}
inline const char* name_of(routing r) {
  return r == routing::uniform ? "uniform" : r == routing::zipf ? "zipf" : "one_expert";
}

/// room/forward/bf16/switch_base_8/M768/F3072/E8/T4096/uniform
inline std::string name_of(const std::string& room, const entry& e) {
  const auto& s = e.shape;
  return room + "/" + name_of(e.pass) + "/" + name_of(e.number) + "/" + std::string(s.name) + "/M" +
         std::to_string(s.d_model) + "/F" + std::to_string(s.d_ff) + "/E" + std::to_string(s.experts) + "/T" +
         std::to_string(s.tokens) + "/" + name_of(e.routing) +
         (e.choices == 1 ? "" : "/top_" + std::to_string(e.choices));
}

/// The expert that each token is meant for. Seeded: the same in every run.
std::vector<std::int32_t> draw_experts(routing how, std::int64_t tokens, std::int64_t experts, std::uint64_t seed = 1);

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "../train/settings.hpp"
#include "../train/tokenizers.hpp"
#include <filesystem>

/// \file
/// A trained model that fills in the gaps of texts, or goes on with them.

namespace generate_example {

/// What stands for a gap in a text. An encoder-decoder fills the gaps, each with a few bytes; a text without one gets
/// one at its end. A decoder alone goes on at the end.
inline constexpr std::string_view gap = "___";

struct request {
  std::vector<std::string> texts;
  std::int64_t length = 64; ///< tokens that are written, at most
  double temperature = 0;   ///< 0: always the likeliest token
  std::uint64_t seed = 1;
};

/// One text per text that was asked for, with what the model wrote in brackets: "the [quick] fox". In the precision of
/// uniform<float> or, for a run in double, of uniform<double>: the precisions of the weights. Kokkos must be
/// initialized. Throws switchyard::error for a checkpoint that is not of that model.
std::vector<std::string> write_f32(const train_example::settings& s, const std::filesystem::path& checkpoint,
                                   const request& r);
std::vector<std::string> write_f64(const train_example::settings& s, const std::filesystem::path& checkpoint,
                                   const request& r);

/// A text as the model reads it, and what it wrote as people read it. For a model with an encoder and without one.
using tokenizer_type = train_example::any_tokenizer;
std::vector<std::int32_t> encode(const tokenizer_type& tokenizer, const std::string& text, bool has_encoder);
std::string decode(const tokenizer_type& tokenizer, const std::string& text, const std::vector<std::int32_t>& written,
                   bool has_encoder);

} // namespace generate_example

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "writer.hpp"

namespace generate_example {
namespace {

/// The pieces of text between the gaps: one more than there are gaps.
std::vector<std::string> pieces_of(const std::string& text) {
  std::vector<std::string> pieces;
  std::size_t begin = 0;
  for (std::size_t at; (at = text.find(gap, begin)) != std::string::npos; begin = at + gap.size())
    pieces.push_back(text.substr(begin, at - begin));
  pieces.push_back(text.substr(begin));
  if (pieces.size() == 1) pieces.emplace_back(); // a gap at the end
  return pieces;
}

} // namespace

std::vector<std::int32_t> encode(const tokenizer_type& tokenizer, const std::string& text, bool has_encoder) {
  std::vector<std::int32_t> tokens;
  if (!has_encoder) {
    tokenizer.encode(text, tokens);
    return tokens;
  }
  const auto special = tokenizer.special();
  const auto pieces = pieces_of(text);
  if (static_cast<std::int64_t>(pieces.size()) > special.sentinels)
    throw switchyard::invalid_argument("a text has " + std::to_string(pieces.size() - 1) + " gaps: at most " +
                                       std::to_string(special.sentinels - 1));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    tokenizer.encode(pieces[i], tokens);
    if (i + 1 < pieces.size()) tokens.push_back(special.sentinel(static_cast<std::int64_t>(i)));
  }
  tokens.push_back(special.eos);
  return tokens;
}

std::string decode(const tokenizer_type& tokenizer, const std::string& text, const std::vector<std::int32_t>& written,
                   bool has_encoder) {
  const auto special = tokenizer.special();
  if (!has_encoder) {
    std::string more;
    for (const std::int32_t token : written) {
      if (token == special.eos || token == special.pad) break;
      tokenizer.decode(token, more);
    }
    return text + "[" + more + "]";
  }
  const auto pieces = pieces_of(text);
  std::vector<std::string> fills(pieces.size() - 1);
  std::string ignored, *to = &ignored; // what comes before the first sentinel, or behind one that nobody asked for
  for (const std::int32_t token : written) {
    if (token == special.eos || token == special.pad) break;
    if (special.is_sentinel(token)) {
      const auto gap_number = static_cast<std::size_t>(special.vocabulary - 1 - token);
      to = gap_number < fills.size() ? &fills[gap_number] : &ignored;
    } else {
      tokenizer.decode(token, *to);
    }
  }
  std::string whole;
  for (std::size_t i = 0; i < pieces.size(); ++i) whole += pieces[i] + (i < fills.size() ? "[" + fills[i] + "]" : "");
  return whole;
}

} // namespace generate_example

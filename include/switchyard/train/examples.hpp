// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/mesh/mesh.hpp>
#include <switchyard/train/objectives.hpp>
#include <switchyard/train/shuffle.hpp>
#include <switchyard/train/text.hpp>

/// \file
/// Examples by number. Example i of training is a pure function of (text, objective, seed, i): in epoch i / n it is
/// made of block permutation(i mod n), n being the number of blocks, with spans drawn for i. So the position in the
/// data is one integer, any rank makes any example, and a resumed run goes on with the same ones. Example j of the
/// held-out part is block j of it, always with the same spans.

namespace switchyard::train {

/// Where a sequence came from, and what its loss is counted by.
struct sequence_info {
  std::int64_t targets = 0;   ///< tokens that count
  std::int64_t bytes = 0;     ///< of text that they stand for: sentinels and ends stand for none
  std::int32_t language = -1; ///< in text::languages(); -1: an empty sequence, which fills up a batch
};

/// Sequences as the model takes them, in host memory.
struct token_batch {
  using tokens_view = Kokkos::View<std::int32_t**, Kokkos::LayoutRight, Kokkos::HostSpace>;
  tokens_view source, target;           // [sequences, length]; source of extent 0 for a decoder alone
  std::vector<sequence_info> sequences; // [sequences]
  std::int64_t position = 0;            ///< number of the first example of the global batch

  token_batch() = default;
  /// All padding. Allocates.
  token_batch(std::int64_t count, std::int64_t source_length, std::int64_t target_length)
      : source(view("source", count, source_length)), target(view("target", count, target_length)),
        sequences(static_cast<std::size_t>(count)) {}

  /// Makes sequence `row` an empty one.
  void clear(std::int64_t row, std::int32_t pad) {
    const auto r = static_cast<std::size_t>(row);
    for (std::size_t t = 0; t < source.extent(1); ++t) source(r, t) = pad;
    for (std::size_t t = 0; t < target.extent(1); ++t) target(r, t) = pad;
    sequences[r] = {};
  }

  std::int64_t targets() const {
    std::int64_t sum = 0;
    for (const sequence_info& s : sequences) sum += s.targets;
    return sum;
  }

 private:
  static tokens_view view(const char* what, std::int64_t count, std::int64_t length) {
    return tokens_view(std::string("switchyard::train::") + what, static_cast<std::size_t>(count),
                       static_cast<std::size_t>(length));
  }
};

/// Makes examples. Const members may be called from several threads.
template <tokenizer Tokenizer>
class example_maker {
 public:
  /// Throws invalid_argument or file_error as objective and text do.
  example_maker(const std::vector<text_file>& files, const Tokenizer& tokens, const objective_config& config, seed s,
                std::int64_t held_out_every = 0)
      : tokenizer_(tokens), objective_(config, tokens.special()),
        text_(files, static_cast<std::int64_t>(std::ceil(static_cast<double>(objective_.text_length()) * bytes_each())),
              held_out_every),
        seed_(s) {}

  const objective& goal() const { return objective_; }
  const train::text& from() const { return text_; }
  const Tokenizer& tokens() const { return tokenizer_; }

  /// Example `i` into sequence `row` of a batch. i < 2^47. Throws file_error where the text cannot be read.
  void make(portion which, std::int64_t i, token_batch& to, std::int64_t row) const {
    const auto number = static_cast<std::uint64_t>(i), blocks = static_cast<std::uint64_t>(text_.blocks(which));
    std::uint64_t chosen = number;
    if (which == portion::training) {
      const std::uint64_t epoch = number / blocks;
      chosen = permutation(blocks, seed_.value ^ permutation::mix(epoch + 1))(number % blocks);
    }
    const text::block block = text_.find(which, static_cast<std::int64_t>(chosen));
    std::string bytes;
    std::vector<std::int32_t> tokens;
    text_.read(block, bytes);
    tokenizer_.encode(bytes, tokens);
    const bool whole = tokens.size() <= static_cast<std::size_t>(objective_.text_length());
    if (!whole) tokens.resize(static_cast<std::size_t>(objective_.text_length()));

    const std::span source = row_of(to.source, row), target = row_of(to.target, row);
    objective_.make(tokens, block.last && whole,
                    generator(seed_, stream::text_spans, 0, static_cast<std::uint16_t>(which)), number, source, target);
    sequence_info info{0, 0, block.language};
    for (const std::int32_t token : target) {
      info.targets += token != tokenizer_.special().pad ? 1 : 0;
      info.bytes += tokenizer_.bytes_of(token);
    }
    to.sequences[static_cast<std::size_t>(row)] = info;
  }

 private:
  double bytes_each() const {
    const double each = tokenizer_.bytes_per_token();
    switchyard::detail::require(each > 0, "bytes_per_token = ", each, ": must be above 0");
    return each;
  }
  static std::span<std::int32_t> row_of(const token_batch::tokens_view& view, std::int64_t row) {
    return {view.data() + static_cast<std::size_t>(row) * view.extent(1), view.extent(1)};
  }

  Tokenizer tokenizer_;
  objective objective_;
  train::text text_;
  seed seed_;
};

} // namespace switchyard::train

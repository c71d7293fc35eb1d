// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tokenizers.hpp"
#if TRAIN_HAS_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

namespace train_example {
namespace {

namespace sy = switchyard;

struct bytes : any_tokenizer::kind {
  sy::train::byte_tokenizer it;
  sy::train::special_tokens special() const override { return it.special(); }
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override { it.encode(text, tokens); }
  void decode(std::int32_t token, std::string& text) const override { it.decode(token, text); }
  std::int64_t bytes_of(std::int32_t token) const override { return it.bytes_of(token); }
  double bytes_per_token() const override { return it.bytes_per_token(); }
};

#if TRAIN_HAS_SENTENCEPIECE
class pieces : public any_tokenizer::kind {
 public:
  explicit pieces(const std::string& file) {
    const auto status = it_.Load(file);
    if (!status.ok()) throw sy::file_error("--tokenizer = \"" + file + "\": " + status.ToString());
    if (it_.unk_id() < 0 || it_.eos_id() < 0)
      throw sy::file_error("--tokenizer = \"" + file + "\": has no pieces for unknown text and for its end");
    special_.sentinels = 100;
    special_.vocabulary = it_.GetPieceSize() + special_.sentinels;
    special_.eos = it_.eos_id();
    special_.unknown = it_.unk_id();
    special_.pad = it_.pad_id() >= 0 ? it_.pad_id() : it_.bos_id(); // a begin, which texts are encoded without
    if (special_.pad < 0)
      throw sy::file_error("--tokenizer = \"" + file + "\": has a piece neither for padding nor for a begin");
  }
  sy::train::special_tokens special() const override { return special_; }
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override {
    std::vector<int> found;
    if (it_.Encode(text, &found).ok()) tokens.insert(tokens.end(), found.begin(), found.end());
  }
  void decode(std::int32_t token, std::string& text) const override {
    if (token < 0 || token >= it_.GetPieceSize() || it_.IsControl(token) || it_.IsUnknown(token)) return;
    const std::string piece = it_.IdToPiece(token);
    if (it_.IsByte(token)) { // "<0x0A>", of models that fall back to bytes
      text.push_back(static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
      return;
    }
    std::size_t begin = 0;
    for (std::size_t at; (at = piece.find(space, begin)) != std::string::npos; begin = at + space.size()) {
      text.append(piece, begin, at - begin);
      text.push_back(' ');
    }
    text.append(piece, begin);
  }
  std::int64_t bytes_of(std::int32_t token) const override {
    std::string text;
    decode(token, text);
    return static_cast<std::int64_t>(text.size());
  }
  double bytes_per_token() const override { return 4; } // of English; a block that holds more tokens is cut

 private:
  static constexpr std::string_view space = "\xe2\x96\x81"; // how a piece writes it
  sentencepiece::SentencePieceProcessor it_;
  sy::train::special_tokens special_;
};
#endif

} // namespace

any_tokenizer make_tokenizer(const std::string& file) {
  if (file.empty()) return any_tokenizer(std::make_shared<bytes>());
#if TRAIN_HAS_SENTENCEPIECE
  return any_tokenizer(std::make_shared<pieces>(file));
#else
  throw sy::invalid_argument("--tokenizer = \"" + file +
                             "\": this program was built without SentencePiece; install libsentencepiece-dev and "
                             "build it again, or leave the option out and train on bytes");
#endif
}

} // namespace train_example

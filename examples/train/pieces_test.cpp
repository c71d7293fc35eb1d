// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tokenizers.hpp"
#include <cstdio>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

// Makes two small SentencePiece models of a text, with the library's trainer, and looks at the tokenizer that train
// makes of them: test_pieces <text> <name of the models>. One knows every byte, the other has unknown ones.

namespace {
namespace sp = sentencepiece;

int failures = 0;
void check(bool good, const char* what, const std::string& where) {
  if (good) return;
  std::printf("failed: %s (%s)\n", what, where.c_str());
  ++failures;
}

void make(const std::string& text, const std::string& name, bool bytes) {
  const auto status = sp::SentencePieceTrainer::Train(
      "--input=" + text + " --model_prefix=" + name +
      " --vocab_size=800 --hard_vocab_limit=false --minloglevel=2 --byte_fallback=" + (bytes ? "true" : "false"));
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

void look(const std::string& name, bool bytes) {
  sp::SentencePieceProcessor library;
  if (const auto status = library.Load(name + ".model"); !status.ok()) throw std::runtime_error(status.ToString());
  const auto ours = train_example::make_tokenizer(name + ".model");
  const auto special = ours.special();
  check(special.vocabulary == library.GetPieceSize() + 100, "100 sentinels above the pieces", name);
  check(special.is_sentinel(special.sentinel(99)) && special.sentinel(99) == library.GetPieceSize(), "sentinels", name);
  check(special.eos == library.eos_id() && special.unknown == library.unk_id(), "special pieces", name);
  check(special.pad != special.eos && special.pad != special.unknown && special.pad >= 0, "padding", name);

  for (const std::string text : {"The experts of a layer lie on the ranks.", "a", "", "matrix products, 16 bits"}) {
    std::vector<std::int32_t> tokens;
    ours.encode(text, tokens);
    std::vector<int> expected;
    check(library.Encode(text, &expected).ok() && tokens == std::vector<std::int32_t>(expected.begin(), expected.end()),
          "encodes as the library does", text);
    std::string back;
    std::int64_t counted = 0;
    for (const auto token : tokens) {
      ours.decode(token, back);
      counted += ours.bytes_of(token);
    }
    check(back == (text.empty() ? "" : " " + text), "the text again, behind the space that the library begins with",
          back);
    check(counted == static_cast<std::int64_t>(back.size()), "bytes are counted", text);
    check(text.size() < 20 || 3 * tokens.size() < 2 * text.size(), "pieces are longer than bytes", text);
  }
  std::vector<std::int32_t> tokens;
  ours.encode("\xe2\x99\x9e", tokens); // a chess knight: not in the text
  std::string back;
  for (const auto token : tokens) ours.decode(token, back);
  check(back == (bytes ? " \xe2\x99\x9e" : " "), "what is in no piece: its bytes, or nothing", back);
  back.clear();
  for (const auto token : {special.pad, special.eos, special.unknown, special.sentinel(0), special.vocabulary, -1}) {
    ours.decode(token, back);
    check(back.empty() && ours.bytes_of(token) == 0, "special tokens stand for no text", std::to_string(token));
  }
}

} // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::string text = arguments[1], name = arguments[2];
  for (const bool bytes : {false, true}) {
    const std::string here = name + (bytes ? "_bytes" : "");
    make(text, here, bytes);
    look(here, bytes);
  }
  try {
    train_example::make_tokenizer(text);
    check(false, "text is no model", text);
  } catch (const switchyard::file_error& problem) {
    check(std::string(problem.what()).find("--tokenizer") != std::string::npos, "the error names the option",
          problem.what());
  }
  return failures == 0 ? 0 : 1;
}

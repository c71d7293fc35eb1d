// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Feeds LLVMFuzzerTestOneInput without libFuzzer: the hand-made files, then mutations of them, the same on every run.
//   driver ITERATIONS        runs that many mutations
//   driver --seeds FOLDER    writes the hand-made files there, a corpus for libFuzzer

#include "hand_made.hpp"
#include "safetensors_seeds.hpp"
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

class mutator {
 public:
  explicit mutator(fuzz::corpus start)
      : files_(std::move(start.files)), good_(start.good), has_length_(start.has_length) {}

  std::string next() {
    // Good files are nearer to other good ones, bad ones to other errors.
    std::string bytes = files_[below(below(2) == 0 ? good_ : files_.size())];
    for (std::size_t n = 1 + below(4); n > 0; --n) change(bytes);
    // Most changes move the end of the header; half of the time it is found again, so that more than n is tested.
    if (has_length_ && bytes.size() > 8 && below(2) == 0) {
      const std::size_t end = bytes.rfind('}');
      if (end != std::string::npos && end >= 8) bytes.replace(0, 8, seeds::length(end - 7));
    }
    return bytes;
  }

 private:
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_()) % n; }

  void change(std::string& bytes) {
    static constexpr std::string_view words[] = {"{",
                                                 "}",
                                                 "[",
                                                 "]",
                                                 ",",
                                                 ":",
                                                 "\"",
                                                 "0",
                                                 "1",
                                                 "-1",
                                                 "1e3",
                                                 "[0,0]",
                                                 "4294967296",
                                                 "9223372036854775808",
                                                 "\\",
                                                 "\n",
                                                 "\\u0061",
                                                 "  ",
                                                 "\"U8\"",
                                                 "\"F64\"",
                                                 "\"a\"",
                                                 "\"b\":{",
                                                 "\xed\xa0\x80",
                                                 "\"__metadata__\":{",
                                                 "8",
                                                 "7",
                                                 "\xff",
                                                 "{}",
                                                 "\"dtype\":",
                                                 "\"BOOL\"",
                                                 "null",
                                                 "../",
                                                 "\"blocks\":[",
                                                 "0123456789abcdef"};
    const std::size_t at = below(bytes.size() + 1);
    const std::size_t length = std::min(below(16), bytes.size() - at);
    switch (below(7)) {
    case 0: // one bit
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
      break;
    case 1: // one byte
      if (at < bytes.size()) bytes[at] = static_cast<char>(below(256));
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3: // a part once more
      bytes.insert(below(bytes.size() + 1), bytes.substr(at, length));
      break;
    case 4:
      bytes.insert(at, words[below(std::size(words))]);
      break;
    case 5: // a word over what is there
      bytes.replace(at, length, words[below(std::size(words))]);
      break;
    default: { // the rest of another file
      const std::string& other = files_[below(files_.size())];
      bytes.resize(at);
      bytes += other.substr(below(other.size() + 1));
    }
    }
  }

  std::vector<std::string> files_;
  std::size_t good_;
  bool has_length_;
  std::mt19937_64 random_; // default seed: the same numbers everywhere
};

// A copy of the exact size, so that a sanitizer sees every read beyond the end.
void run(const std::string& bytes) {
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  std::memcpy(exact.get(), bytes.data(), bytes.size());
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
}

} // namespace

int main(int argc, char** argv) {
  const fuzz::corpus start = fuzz::hand_made();
  const auto& files = start.files;
  if (argc == 3 && std::string_view(argv[1]) == "--seeds") {
    for (std::size_t i = 0; i < files.size(); ++i) {
      std::ofstream out(argv[2] + ("/seed-" + std::to_string(i)), std::ios::binary);
      if (!(out << files[i] << std::flush)) return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
  }
  const long iterations = argc == 2 ? std::atol(argv[1]) : 0;
  if (iterations < 1) {
    std::fprintf(stderr, "usage: %s ITERATIONS | --seeds FOLDER\n", argv[0]);
    return EXIT_FAILURE;
  }
  for (const std::string& bytes : files) run(bytes);
  mutator mutate(start);
  for (long i = 0; i < iterations; ++i) run(mutate.next());
  std::printf("%zu files and %ld mutations of them read\n", files.size(), iterations);
  return EXIT_SUCCESS;
}

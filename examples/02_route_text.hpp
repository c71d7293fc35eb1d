// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// Text in, tables out: the part of 02_route_text that knows nothing of layers.

namespace route_text {

/// All files one after another, at most `limit` bytes; what cannot be read is left out and counted.
struct text {
  std::string bytes;
  int files = 0, unreadable = 0;
};
inline text read(const std::vector<std::string>& files, std::size_t limit) {
  text result;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in.is_open() || all.empty()) {
      ++result.unreadable;
      continue;
    }
    ++result.files;
    result.bytes += all;
    if (result.bytes.size() >= limit) break;
  }
  if (result.bytes.size() > limit) result.bytes.resize(limit);
  return result;
}

/// English text that is on every Debian machine: the licences, and who may copy what.
inline std::vector<std::string> text_of_this_machine() {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/usr/share/common-licenses", error))
    if (entry.is_regular_file(error) && !entry.is_symlink(error)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const std::size_t licences = files.size();
  for (const auto& entry : fs::directory_iterator("/usr/share/doc", error))
    if (!entry.is_symlink(error) && fs::is_regular_file(entry.path() / "copyright", error))
      files.push_back(entry.path() / "copyright");
  std::sort(files.begin() + static_cast<std::ptrdiff_t>(licences), files.end());
  return files;
}

/// What the experts got: how often each byte went to each expert, and what was kept of it.
struct routing {
  std::vector<std::array<std::int64_t, 256>> bytes; // [expert][byte] that chose it
  std::vector<std::int64_t> kept;                   // [expert]
  double load_balance = 0, entropy = 0, confidence = 0, error = 0;

  explicit routing(std::size_t experts) : bytes(experts), kept(experts) {
    for (auto& row : bytes) row.fill(0);
  }
  std::int64_t chosen(std::size_t e) const {
    std::int64_t sum = 0;
    for (const std::int64_t n : bytes[e]) sum += n;
    return sum;
  }
  std::int64_t tokens() const {
    std::int64_t sum = 0;
    for (std::size_t e = 0; e < bytes.size(); ++e) sum += chosen(e);
    return sum;
  }
  double dropped() const {
    std::int64_t sum = 0;
    for (const std::int64_t n : kept) sum += n;
    return 1 - static_cast<double>(sum) / static_cast<double>(std::max<std::int64_t>(tokens(), 1));
  }
};

/// A byte as one sees it in a terminal.
inline std::string shown(int byte) {
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  if (byte == ' ') return "' '";
  if (byte > ' ' && byte < 127) return std::string(1, static_cast<char>(byte));
  char hex[8];
  std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(byte) & 0xffu);
  return hex;
}

inline double percent(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

/// One line per expert: its share of the tokens as a bar, how many of them had room, what they are.
inline void print(const routing& r) {
  constexpr int full = 20; // characters of a bar, for three times an even share
  const std::int64_t tokens = r.tokens();
  const auto experts = static_cast<double>(r.bytes.size());
  std::printf("  expert  share of all bytes             kept  | letter  digit  space  other |  most frequent\n");
  for (std::size_t e = 0; e < r.bytes.size(); ++e) {
    const std::int64_t chosen = r.chosen(e);
    const double even = percent(chosen, tokens) * experts / 100; // 1: an even share
    const int length = std::clamp(static_cast<int>(even / 3 * full + 0.5), chosen > 0 ? 1 : 0, full);
    std::int64_t letters = 0, digits = 0, spaces = 0;
    std::array<int, 256> order{};
    for (int b = 0; b < 256; ++b) {
      const std::int64_t n = r.bytes[e][static_cast<std::size_t>(b)];
      if (std::isalpha(b)) letters += n;
      if (std::isdigit(b)) digits += n;
      if (std::isspace(b)) spaces += n;
      order[static_cast<std::size_t>(b)] = b;
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return r.bytes[e][static_cast<std::size_t>(a)] > r.bytes[e][static_cast<std::size_t>(b)];
    });
    std::string top;
    for (std::size_t i = 0; i < 8; ++i)
      if (r.bytes[e][static_cast<std::size_t>(order[i])] > 0) top += (i ? " " : "") + shown(order[i]);
    std::string bar = std::string(static_cast<std::size_t>(length), '#');
    bar.resize(full, '.');
    std::printf("  %4zu    %s %5.1f %%  %5.1f %% | %4.0f %% %4.0f %% %4.0f %% %4.0f %% |  %s\n", e, bar.c_str(),
                percent(chosen, tokens), percent(r.kept[e], chosen), percent(letters, chosen), percent(digits, chosen),
                percent(spaces, chosen), percent(chosen - letters - digits - spaces, chosen), top.c_str());
  }
  std::printf("  dropped %.1f %% of the bytes   load-balance loss %.3f (1 is even)   router entropy %.2f of %.2f   "
              "error %.3f\n",
              100 * r.dropped(), r.load_balance, r.entropy, std::log(experts), r.error);
}

} // namespace route_text

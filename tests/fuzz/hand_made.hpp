// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fuzz {

/// What mutations start from: files, of which the first `good` are good.
struct corpus {
  std::vector<std::string> files;
  std::size_t good = 0;
  bool has_length = false; ///< whether the first 8 bytes say where the header ends
};

template <class Seeds>
corpus make_corpus(const Seeds& good, const Seeds& bad, bool has_length) {
  corpus all{{}, good.size(), has_length};
  for (const auto& seed : good) all.files.push_back(seed.bytes);
  for (const auto& seed : bad) all.files.push_back(seed.bytes);
  return all;
}

/// That of the target which driver.cpp is linked with.
corpus hand_made();

} // namespace fuzz

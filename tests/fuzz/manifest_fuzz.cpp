// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Any text is read as a checkpoint.json: it is refused with a file_error, or what is read keeps every promise and is
// the same when it is written and read again. Built with libFuzzer or with driver.cpp.

#include "hand_made.hpp"
#include "manifest_seeds.hpp"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <switchyard/core/error.hpp>
#include <switchyard/io/box.hpp>
#include <switchyard/io/manifest_text.hpp>
#include <vector>

namespace {

namespace io = switchyard::io;

void promise(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

void check(const io::manifest& m) {
  for (const io::stored_file& f : m.files) {
    promise(m.find_file(f.name) == &f, "a file is found by its name");
    promise(f.name.find('/') == std::string::npos && f.name != "..", "no file leaves the folder");
  }
  for (const io::stored_tensor& t : m.tensors) {
    promise(m.find_tensor(t.name) == &t, "a tensor is found by its name");
    std::vector<io::box> boxes;
    for (const io::stored_part& p : t.parts) {
      promise(m.find_file(p.file) != nullptr, "the file of a part is there");
      boxes.push_back(p.where);
    }
    promise(!io::overlapping(boxes) && !io::uncovered(t.shape, boxes), "every element is in one part");
  }
  const std::string text = io::make_manifest(m);
  promise(io::make_manifest(io::parse_manifest("again", text)) == text, "the second text is the first");
}

std::optional<io::manifest> parse(const std::string& text) {
  try {
    return io::parse_manifest("fuzz", text);
  } catch (const switchyard::file_error&) {
    return std::nullopt;
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const auto m = parse({reinterpret_cast<const char*>(data), size})) check(*m);
  return 0;
}

fuzz::corpus fuzz::hand_made() {
  return make_corpus(seeds::good_manifests(), seeds::bad_manifests(), false);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Any bytes are read as a safetensors file: they are refused with a file_error, or every promise about the result
// holds. Built with libFuzzer (clang++ -fsanitize=fuzzer,address,undefined) or with driver.cpp.

#include "hand_made.hpp"
#include "safetensors_seeds.hpp"
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <switchyard/core/error.hpp>
#include <switchyard/io/safetensors.hpp>
#include <vector>

namespace {

namespace io = switchyard::io;

void promise(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

void check(const io::safetensors_file& file, std::span<const std::byte> bytes) {
  std::size_t total = 0;
  std::uint64_t sum = 0;
  for (const io::tensor_view& t : file.tensors()) {
    promise(&file.tensor(t.name) == &t, "a tensor is found by its name");
    promise(t.bytes.empty() ||
                (t.bytes.data() >= bytes.data() && t.bytes.data() + t.bytes.size() <= bytes.data() + bytes.size()),
            "the data lie within the file");
    std::size_t elements = 1;
    for (const std::int64_t extent : t.shape) elements *= static_cast<std::size_t>(extent);
    promise(elements == t.size() && elements * io::dtype_size(t.type) == t.bytes.size(), "the shape fits the data");
    for (const std::byte b : t.bytes) sum += std::to_integer<unsigned>(b); // every byte can be read
    total += t.bytes.size();

    std::vector<double> values(t.size());
    file.copy_to<double>(t.name, values, io::conversion::round);
  }
  std::uint64_t all = 0;
  for (const std::byte b : bytes.last(total)) all += std::to_integer<unsigned>(b);
  promise(sum == all, "the tensors are all of the data");

  const auto written = io::serialize_safetensors(file.tensors(), file.metadata());
  const auto again = io::parse_safetensors(written);
  promise(again.names() == file.names() && again.metadata() == file.metadata(), "names and metadata are kept");
  for (const io::tensor_view& t : file.tensors()) {
    const io::tensor_view& other = again.tensor(t.name);
    promise(other.type == t.type && other.shape == t.shape && equal(other.bytes, t.bytes), "a tensor is kept");
  }
  promise(equal(io::serialize_safetensors(again.tensors(), again.metadata()), written), "the second save is the first");
}

std::optional<io::safetensors_file> parse(std::span<const std::byte> bytes) {
  try {
    return io::parse_safetensors(bytes);
  } catch (const switchyard::file_error&) {
    return std::nullopt;
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto file = parse(bytes)) check(*file, bytes);
  return 0;
}

fuzz::corpus fuzz::hand_made() {
  return make_corpus(seeds::good(), seeds::bad(), true);
}

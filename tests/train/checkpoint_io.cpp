// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../fuzz/manifest_seeds.hpp"
#include "checkpoint_support.hpp"
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <switchyard/io/manifest_text.hpp>
#include <switchyard/io/safetensors.hpp>
#include <switchyard/io/safetensors_ranges.hpp>
#include <switchyard/io/xxh64.hpp>
#include <unistd.h>

// What checkpoints are made of: checksums, boxes, scalars, the text of a manifest, parts of files.

using namespace checkpoints;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using switchyard::file_error;
using switchyard::invalid_argument;
using namespace std::string_literals;

TEST_CASE("xxh64 has the published values") {
  CHECK(io::xxh64("") == 0xef46db3751d8e999u);
  CHECK(io::xxh64("a") == 0xd24ec4f1a98c6e5bu);
  CHECK(io::xxh64("abc") == 0x44bc2cf5ad770999u);
  CHECK(io::xxh64("Nobody inspects the spammish repetition") == 0xfbcea83c8a378bf1u);
  // The buffer and values of the reference implementation's own check, which cross each of its branches.
  constexpr std::uint64_t prime32 = 2654435761u, prime64 = 11400714785074694797u;
  std::string buffer;
  for (std::uint64_t i = 0, generator = prime32; i < 222; ++i, generator *= prime64)
    buffer += static_cast<char>(generator >> 56);
  const std::string_view all = buffer;
  CHECK(io::xxh64("", prime32) == 0xac75fda2929b17efu);
  CHECK(io::xxh64(all.substr(0, 1)) == 0xe934a84adb052768u);
  CHECK(io::xxh64(all.substr(0, 1), prime32) == 0x5014607643a9b4c3u);
  CHECK(io::xxh64(all.substr(0, 4)) == 0x9136a0dca57457eeu);
  CHECK(io::xxh64(all.substr(0, 14)) == 0x8282dcc4994e35c8u);
  CHECK(io::xxh64(all.substr(0, 14), prime32) == 0xc3bd6bf63deb6df0u);
  CHECK(io::xxh64(all) == 0xb641ae8cb691c174u);
  CHECK(io::xxh64(all, prime32) == 0x20cb8ab7ae10c14au);
  CHECK(io::to_hex(0xef46db3751d8e999u) == "ef46db3751d8e999");
  CHECK(io::from_hex("00000000000000ff") == 255u);
  for (const char* text : {"", "ff", "00000000000000fF", "00000000000000f", "000000000000000ff", "0x000000000000ff"})
    CHECK_FALSE(io::from_hex(text));
}

TEST_CASE("boxes: what they have in common, leave out and run through") {
  const io::box a{{1, 0}, {2, 4}}, b{{2, 2}, {3, 5}};
  CHECK(io::intersection(a, b) == io::box{{2, 2}, {1, 2}});
  CHECK_FALSE(io::intersection(a, {{3, 0}, {1, 4}}));
  CHECK_FALSE(io::intersection(a, {{1, 1}, {2, 0}}));
  CHECK(io::intersection({{}, {}}, {{}, {}}) == io::box{}); // scalars

  const extents shape = {5, 7};
  CHECK(io::lies_in({{4, 0}, {1, 7}}, shape));
  for (const io::box& bad : {io::box{{5, 0}, {1, 7}}, io::box{{-1, 0}, {1, 7}}, io::box{{0, 0}, {6, 7}},
                             io::box{{1, 0}, {std::numeric_limits<std::int64_t>::max(), 7}}, io::box{{0}, {1}}})
    CHECK_FALSE(io::lies_in(bad, shape));

  CHECK(io::tile_exactly(shape, {{{0, 0}, {5, 3}}, {{0, 3}, {2, 4}}, {{2, 3}, {3, 4}}, {{1, 1}, {0, 2}}}));
  CHECK(io::uncovered(shape, {{{0, 0}, {5, 3}}, {{0, 3}, {2, 4}}, {{2, 3}, {3, 3}}}) == io::box{{2, 6}, {3, 1}});
  CHECK_FALSE(io::tile_exactly(shape, {{{0, 0}, {5, 3}}, {{0, 3}, {2, 4}}, {{2, 3}, {3, 3}}}));
  CHECK_FALSE(io::tile_exactly(shape, {{{0, 0}, {5, 7}}, {{2, 3}, {1, 1}}}));
  CHECK_FALSE(io::tile_exactly(shape, {{{0, 0}, {5, 6}}, {{0, 0}, {5, 1}}})); // as many elements as there are
  CHECK(io::overlapping({{{0, 0}, {5, 3}}, {{0, 4}, {1, 1}}, {{4, 2}, {1, 2}}}) ==
        std::pair<std::size_t, std::size_t>{0, 2});
  CHECK(io::tile_exactly(extents{0, 3}, {}));
  CHECK(io::tile_exactly(extents{}, {{{}, {}}}));
  CHECK_FALSE(io::tile_exactly(extents{}, {}));

  std::vector<std::vector<std::int64_t>> runs;
  const auto note = [&](std::int64_t x, std::int64_t y, std::int64_t n) { runs.push_back({x, y, n}); };
  io::for_each_run({{1, 2}, {2, 3}}, {{0, 0}, {5, 7}}, {{1, 1}, {2, 4}}, note);
  CHECK(runs == std::vector<std::vector<std::int64_t>>{{9, 1, 3}, {16, 5, 3}});
  runs.clear();
  io::for_each_run({{2, 0}, {2, 7}}, {{0, 0}, {5, 7}}, {{1, 0}, {3, 7}}, note); // whole rows are one run
  CHECK(runs == std::vector<std::vector<std::int64_t>>{{14, 7, 14}});
  runs.clear();
  io::for_each_run({{}, {}}, {{}, {}}, {{}, {}}, note);
  CHECK(runs == std::vector<std::vector<std::int64_t>>{{0, 0, 1}});
}

TEST_CASE("states are equal after their text was read, doubles to the last bit") {
  io::manifest m;
  m.library = "0.1.0";
  m.block_bytes = 1;
  std::vector<double> numbers = {
      0.0, -0.0, 1.0, 0.1, -2.5e-300, 5e-324, 1.7976931348623157e308, 1e21, 123456789012345680.0};
  std::uint64_t bits = 1;
  for (int i = 0; i < 1000; ++i) {
    bits = bits * 6364136223846793005u + 1442695040888963407u;
    if (const double x = std::bit_cast<double>(bits); std::isfinite(x)) numbers.push_back(x);
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) m.state.set("d" + std::to_string(i), numbers[i]);
  m.state.set("min", std::numeric_limits<std::int64_t>::min());
  m.state.set("max", std::numeric_limits<std::uint64_t>::max());
  m.state.set("small", std::uint8_t{5});
  m.state.set("no", false);
  m.state.set("\u00e9\x01\"\\", "\U0001f600\n\t\x7f");
  const io::manifest again = io::parse_manifest("text", io::make_manifest(m));
  CHECK(again.state == m.state);
  bool same = true;
  for (std::size_t i = 0; i < numbers.size(); ++i)
    same = same && std::bit_cast<std::uint64_t>(again.state.get<double>("d" + std::to_string(i))) ==
                       std::bit_cast<std::uint64_t>(numbers[i]);
  CHECK(same);
  CHECK(again.state.get<int>("small") == 5);
  CHECK(again.state.get<std::uint64_t>("max") == std::numeric_limits<std::uint64_t>::max());

  const auto wrong = [](const auto& f, const std::string& part) {
    CHECK_THROWS_MATCHES(f(), file_error, MessageMatches(ContainsSubstring(part)));
  };
  wrong([&] { return again.state.get<int>("nothing"); }, "\"nothing\" is not there");
  wrong([&] { return again.state.get<std::int64_t>("max"); }, "\"max\" is not a whole number in the range");
  wrong([&] { return again.state.get<std::int8_t>("min"); }, "in the range wanted");
  wrong([&] { return again.state.get<int>("d2"); }, "whole number"); // 1.0 is none
  wrong([&] { return again.state.get<double>("small"); }, "number with a fraction");
  wrong([&] { return again.state.get<bool>("small"); }, "true or false");
  wrong([&] { return again.state.get<std::string>("no"); }, "text");
  CHECK_THROWS_AS(m.state.set("x", std::numeric_limits<double>::quiet_NaN()), invalid_argument);
  CHECK_THROWS_AS(m.state.set("x", std::numeric_limits<float>::infinity()), invalid_argument);
  CHECK_THROWS_AS(m.state.set("x", "\xff"), invalid_argument);
  CHECK_THROWS_AS(m.state.set("\xff", 1), invalid_argument);
}

TEST_CASE("a manifest is read as it was written, and every broken promise is an error") {
  for (const seeds::file& good : seeds::good_manifests()) {
    INFO(good.name);
    const io::manifest m = io::parse_manifest("text", good.bytes);
    const std::string text = io::make_manifest(m);
    CHECK(io::make_manifest(io::parse_manifest("text", text)) == text);
  }
  for (const seeds::file& bad : seeds::bad_manifests()) {
    INFO(bad.name);
    CHECK_THROWS_MATCHES(io::parse_manifest("text", bad.bytes), file_error,
                         MessageMatches(ContainsSubstring("switchyard: text: ") && ContainsSubstring(bad.error)));
  }
}

TEST_CASE("parts of a safetensors file are read without the rest") {
  const folder here;
  std::vector<float> x(100);
  std::iota(x.begin(), x.end(), 0.f);
  const std::vector<std::int16_t> y = {1, 2, 3};
  io::write_safetensors(here / "a", {io::make_tensor("x", {10, 10}, x), io::make_tensor("y", {3}, y)});
  const io::safetensors_ranges in(here / "a");
  REQUIRE(in.tensors().size() == 2);
  CHECK(in.find("x")->shape == extents{10, 10});
  CHECK(in.find("z") == nullptr);
  std::vector<float> row(10);
  const auto bytes = std::as_writable_bytes(std::span(row));
  in.read("x", 70 * 4, bytes);
  CHECK(row == std::vector<float>(x.begin() + 70, x.begin() + 80));
  in.read("y", 6, bytes.first(0));
  CHECK_THROWS_MATCHES(in.read("x", 91 * 4, bytes), invalid_argument, MessageMatches(ContainsSubstring("has 400")));
  CHECK_THROWS_MATCHES(in.read("z", 0, bytes), file_error, MessageMatches(ContainsSubstring("not in the file")));
  fs::create_symlink(here / "a", here / "link");
  CHECK_THROWS_MATCHES(io::safetensors_ranges(here / "link"), file_error,
                       MessageMatches(ContainsSubstring("symbolic link")));
  store(here / "cut", load(here / "a").substr(0, 100));
  CHECK_THROWS_AS(io::safetensors_ranges(here / "cut"), file_error);
  REQUIRE(::truncate((here / "a").c_str(), 300) == 0); // while it is open
  CHECK_THROWS_MATCHES(in.read("x", 360, bytes), file_error, MessageMatches(ContainsSubstring("shorter")));
}

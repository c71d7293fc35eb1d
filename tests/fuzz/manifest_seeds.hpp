// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include "safetensors_seeds.hpp"
#include <string>
#include <string_view>
#include <vector>

// Texts of checkpoint.json made by hand, good and bad: what the unit tests expect and what the fuzzers start from.

namespace seeds {

inline std::string changed(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) return "seeds::changed: not found"; // is refused with another message than expected
  return text.replace(at, from.size(), to);
}

inline std::string manifest_text() {
  return R"({"format":"switchyard-checkpoint","version":1,"library":"0.1.0","step":12,"checksum":"xxh64","block_bytes":16,
"state":{"a":1,"b":-0.5,"c":"text","d":true,"e":18446744073709551615},
"files":{
"one.safetensors":{"bytes":100,"head_bytes":40,"head":"0123456789abcdef"},
"two.safetensors":{"bytes":80,"head_bytes":40,"head":"0123456789abcdef"}},
"tensors":{
"s":{"dtype":"F64","shape":[],"parts":[{"file":"one.safetensors","key":"s","offset":[],"extent":[],"blocks":["00000000000000aa"]}]},
"x":{"dtype":"F32","shape":[2,3],"parts":[
{"file":"one.safetensors","key":"x@0_0","offset":[0,0],"extent":[2,1],"blocks":["00000000000000bb"]},
{"file":"two.safetensors","key":"x@0_1","offset":[0,1],"extent":[2,2],"blocks":["00000000000000cc"]}]}}}
)";
}

inline std::vector<file> good_manifests() {
  const std::string text = manifest_text();
  return {
      {"small", text, ""},
      {"nothing in it",
       R"({"format":"switchyard-checkpoint","version":1,"library":"","step":0,"checksum":"xxh64","block_bytes":1,)"
       R"("state":{},"files":{},"tensors":{}})",
       ""},
      {"a tensor without elements",
       changed(text, R"("s":{"dtype")", R"("e":{"dtype":"F32","shape":[0,9],"parts":[]},"s":{"dtype")"), ""},
      {"several blocks",
       changed(changed(text, "\"block_bytes\":16", "\"block_bytes\":8"), R"(["00000000000000cc"])",
               R"(["00000000000000cc","00000000000000dd"])"),
       ""},
      {"another order", changed(text, R"("version":1,"library":"0.1.0",)", R"("library":"0.1.0","version":1,)"), ""}};
}

inline std::vector<file> bad_manifests() {
  const std::string text = manifest_text();
  const auto bad = [&](std::string_view from, std::string_view to, std::string error) {
    return file{std::string(to), changed(text, from, to), std::move(error)};
  };
  return {
      {"empty", "", "expected an object"},
      {"an array", "[]", "expected an object"},
      {"cut", text.substr(0, text.size() - 3), "expected ',' or '}'"},
      {"more", text + "{}", "expected nothing more"},
      {"byte order mark", "\xef\xbb\xbf" + text, "expected an object"},
      bad("text", "\xff", "not UTF-8"),
      bad("switchyard-checkpoint", "another", "format = \"another\""),
      bad("\"version\":1", "\"version\":2", "version = 2: this library reads version 1"),
      bad("\"version\":1", "\"version\":1,\"version\":1", "\"version\" is given twice"),
      bad("\"version\":1,", "", "\"version\" is missing"),
      bad("\"step\":12", "\"step\":-1", "a whole number"),
      bad("\"step\":12", "\"step\":1e3", "without fraction or exponent"),
      bad("\"step\":12", "\"step\":9223372036854775808", "below 2^63"),
      bad("\"step\":12", "\"step\":[[[[12]]]]", "a whole number"),
      bad("\"step\":12", "\"step\":12,\"more\":1", "unknown field \"more\""),
      bad("xxh64", "md5", "checksum = \"md5\""),
      bad("\"block_bytes\":16", "\"block_bytes\":0", "block_bytes = 0"),
      bad("\"a\":1", "\"a\":1,\"a\":1", "the state \"a\" is given twice"),
      bad("\"a\":1", "\"a\":01", "',' or '}'"),
      bad("\"a\":1", "\"a\":1.", "a digit"),
      bad("\"a\":1", "\"a\":-", "a digit"),
      bad("\"a\":1", "\"a\":1e999", "is no double"),
      bad("\"a\":1", "\"a\":18446744073709551616", "does not fit into 64 bits"),
      bad("\"a\":1", "\"a\":null", "a digit"),
      bad("\"a\":1", "\"a\":tru", "true or false"),
      bad("\"a\":1", "\"a\":{}", "a digit"),
      bad("one.safetensors", "../one.safetensors", "leads out of the folder"),
      bad("one.safetensors", "/etc/passwd", "leads out of the folder"),
      bad("one.safetensors", "..", "leads out of the folder"),
      bad("one.safetensors", "", "leads out of the folder"),
      bad("one.safetensors", "a\\u0000b", "leads out of the folder"),
      bad("one.safetensors", "two.safetensors", "the file \"two.safetensors\" is given twice"),
      bad("one.safetensors", "three.safetensors", "\"one.safetensors\" is not among the files"),
      bad("\"head_bytes\":40", "\"head_bytes\":101", "head_bytes = 101 of 100"),
      bad("\"bytes\":100,", "", "\"bytes\" is missing"),
      bad("0123456789abcdef", "0123456789abcdeF", "not 16 hexadecimal digits"),
      bad("\"s\":{", "\"x\":{", "the tensor \"x\" is given twice"),
      bad("F64", "F63", "dtype \"F63\" is not known"),
      bad("F64", "F32\",\"dtype\":\"F32", "\"dtype\" is given twice"),
      bad("\"shape\":[],", "", "\"shape\" is missing"),
      bad("[2,3]", "[2,4]", "do not hold every element exactly once"),
      bad("[2,3]", "[2,2]", "leaves the shape"),
      bad("[2,3]", "[2,-3]", "a whole number"),
      bad("[2,3]", "[4611686018427387904,4611686018427387904,0]", "more bytes than 2^63"),
      bad("[2,3]", "[2,3,1]", "leaves the shape"),
      bad("\"offset\":[0,1]", "\"offset\":[0,0]", "do not hold every element exactly once"),
      bad("\"offset\":[0,1]", "\"offset\":[0,9223372036854775807]", "leaves the shape"),
      bad("\"extent\":[2,2]", "\"extent\":[2,1]", "do not hold every element exactly once"),
      bad("[\"00000000000000bb\"]", "[]", "has 0 checksums, not 1"),
      bad("[\"00000000000000bb\"]", "[\"00000000000000bb\",\"00000000000000bb\"]", "has 2 checksums, not 1"),
      bad("\"key\":\"x@0_0\"", "\"key\":\"s\"", "two parts have the key \"s\""),
      {"deep", changed(text, "[2,3]", repeat("[", 100000)), "a whole number"},
  };
}

} // namespace seeds

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Safetensors files made by hand, good and bad: what the unit tests expect and what the fuzzers start from.

namespace seeds {

struct file {
  std::string name;
  std::string bytes;
  std::string error; // a part of the message; empty where the file is good
};

// The first 8 bytes of a file, least significant first.
inline std::string length(std::uint64_t n) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(n >> (8 * i) & 0xff);
  return out;
}

inline std::string make(std::string_view header, std::string_view data = "") {
  return length(header.size()) + std::string(header) + std::string(data);
}

inline std::string repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// A file of one tensor "a" with these fields and 8 bytes of data.
inline std::string one(std::string_view fields) {
  return make("{\"a\":{" + std::string(fields) + "}}", "12345678");
}

inline std::vector<file> good() {
  return {
      {"no tensors", make("{}"), ""},
      {"no tensors, padded", make("{}      "), ""},
      {"empty metadata", make(R"({"__metadata__":{}})"), ""},
      {"one", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), ""},
      {"fields in another order", one(R"("data_offsets":[0,8],"shape":[1,2,1],"dtype":"I32")"), ""},
      {"white space",
       make("{ \"a\" :\t{\"dtype\":\"F64\" , \"shape\": [ ] ,\n\"data_offsets\":[ 0,8 ]\r} } ", "12345678"), ""},
      {"scalar", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8])"), ""},
      {"no elements", make(R"({"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}})"), ""},
      {"no elements amid others",
       make(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},)"
            R"("e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},)"
            R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            "123"),
       ""},
      {"metadata",
       make(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},"__metadata__":{"k":"v","":"\n"}})",
            std::string(1, '\1')),
       ""},
      {"names",
       make(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
            R"("\u0061\"\\\/\ud83d\ude00":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},)"
            "\"\xc3\xa9\":{\"dtype\":\"I16\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
       ""},
      {"odd offsets",
       make(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
            "123456789"),
       ""},
      {"64 extents", one(R"("dtype":"F64","data_offsets":[0,8],"shape":[1)" + repeat(",1", 63) + "]"), ""},
  };
}

inline std::vector<file> bad() {
  const std::string big = "18446744073709551616"; // 2^64
  return {
      // not a file of this kind at all
      {"0 bytes", "", "the file is empty"},
      {"7 bytes", std::string(7, '\0'), "the file has 7 bytes"},
      {"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"},
      {"zip", std::string("PK\x03\x04\0\0\x08\x08\0\0\0\0", 12), "PyTorch checkpoint; convert it to safetensors"},
      {"pickle, protocol 2", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9 j\xa8P\x19.", "pickle, likely a PyTorch checkpoint"},
      {"pickle, protocol 4", std::string("\x80\x04\x95\x0a\0\0\0\0\0\0\0}q\0.", 15), "convert it to safetensors"},
      {"NumPy", std::string("\x93NUMPY\x01\0v\0{'descr'", 18), "it is a NumPy array"},
      {"HDF5", "\x89HDF\r\n\x1a\n________", "it is an HDF5 file"},
      {"web page", "<!DOCTYPE html><html>", "it looks like a web page"},
      {"index", R"({"metadata":{"total_size":1},"weight_map":{}})", "perhaps the index of a sharded model"},
      {"small index", "{}", "perhaps the index of a sharded model"},

      // the length of the header
      {"n = 2^64 - 1", length(~std::uint64_t{0}) + "{}", "header of 18446744073709551615 bytes: at most 100000000"},
      {"n = 100000001", length(100'000'001) + "{}", "at most 100000000 are allowed"},
      {"n = 100000000", length(100'000'000) + "{}", "header of 100000000 bytes, but only 2 follow"},
      {"n one above the size", length(3) + "{}", "header of 3 bytes, but only 2 follow"},
      {"n = 0", length(0), "the header is empty"},
      {"cut within the header", length(58) + one(R"("dtype":"F64","shape":[],"data_offsets":[0,8])").substr(8, 40),
       "header of 58 bytes, but only 40 follow"},

      // its text
      {"not UTF-8", make("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"), "not UTF-8"},
      {"surrogate in UTF-8", make("{\"\xed\xa0\x80\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
       "not UTF-8"},
      {"byte order mark", make("\xef\xbb\xbf{}"), "byte order mark"},
      {"array", make("[]"), "the header does not begin with '{'"},
      {"space first", make(" {}"), "the header does not begin with '{'"},
      {"text after the object", make("{}{}"), "expected nothing more, found '{' at byte 2"},
      {"zero after the object", make(std::string("{}\0", 3)), "expected nothing more, found the byte 0 at byte 2"},
      {"unfinished", make("{\"a\":{"), "expected a string, found the end of the text"},
      {"comma at the end", make(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},})"), "expected a string"},
      {"no value", make("{\"a\"}"), "expected ':' after the key, found '}'"},
      {"tensor is text", make(R"({"a":"b"})"), "tensor \"a\": in the header: expected an object, found '\"'"},
      {"tensor is null", make(R"({"a":null})"), "expected an object, found 'n'"},
      {"deep arrays", one(R"("dtype":"F32","shape":)" + repeat("[", 10000)), "found '[' at byte"},
      {"deep objects", make(repeat("{\"a\":", 10000)), "unknown field \"a\""},

      // names
      {"tensor twice",
       make(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            "12"),
       "tensor \"a\": the name is given twice"},
      {"same tensor twice",
       make(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            "1"),
       "tensor \"a\": the name is given twice"},
      {"dtype twice", one(R"("dtype":"F64","dtype":"F64","shape":[],"data_offsets":[0,8])"), "dtype is given twice"},
      {"shape twice", one(R"("dtype":"F64","shape":[],"shape":[],"data_offsets":[0,8])"), "shape is given twice"},
      {"data_offsets twice", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8],"data_offsets":[0,8])"),
       "data_offsets is given twice"},
      {"unknown field", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8],"strides":[])"),
       "unknown field \"strides\""},
      {"no dtype", one(R"("shape":[],"data_offsets":[0,8])"), "tensor \"a\": dtype is missing"},
      {"no shape", one(R"("dtype":"F64","data_offsets":[0,8])"), "tensor \"a\": shape is missing"},
      {"no data_offsets", one(R"("dtype":"F64","shape":[])"), "tensor \"a\": data_offsets is missing"},
      {"control characters in a name", make(R"({"\u001b[2J\n":{}})"), R"(tensor "\u001b[2J\n": dtype is missing)"},
      {"long name", make("{\"" + repeat("\xe2\x82\xac", 5000) + "\":{}}"),
       "tensor \"" + repeat("\xe2\x82\xac", 33) + "\"...: dtype is missing"},

      // metadata
      {"metadata is text", make(R"({"__metadata__":"x"})"), "in __metadata__, which maps text to text"},
      {"metadata of a number", make(R"({"__metadata__":{"step":1}})"), "expected a string, found '1'"},
      {"metadata of null", make(R"({"__metadata__":{"step":null}})"), "expected a string, found 'n'"},
      {"metadata of an object", make(R"({"__metadata__":{"a":{}}})"), "expected a string, found '{'"},
      {"metadata twice", make(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__ is given twice"},
      {"metadata key twice", make(R"({"__metadata__":{"k":"1","\u006b":"2"}})"),
       "__metadata__ has the key \"k\" twice"},

      // dtype and shape
      {"unknown dtype", one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"),
       "dtype \"F8_E4M3\" is not one of BOOL U8 I8 I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64"},
      {"dtype in lower case", one(R"("dtype":"f64","shape":[],"data_offsets":[0,8])"), "dtype \"f64\" is not one of"},
      {"dtype is a number", one(R"("dtype":64,"shape":[],"data_offsets":[0,8])"), "expected a string, found '6'"},
      {"shape is a number", one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "expected an array, found '2'"},
      {"negative extent", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "0 or above"},
      {"extent 2e0", one(R"("dtype":"F32","shape":[2e0],"data_offsets":[0,8])"), "without fraction or exponent"},
      {"extent 2.0", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "without fraction or exponent"},
      {"extent 02", one(R"("dtype":"F32","shape":[02],"data_offsets":[0,8])"), "without leading zeros"},
      {"extent true", one(R"("dtype":"F64","shape":[true],"data_offsets":[0,8])"), "expected a whole number"},
      {"extent 2^64", one(R"("dtype":"F64","shape":[)" + big + R"(],"data_offsets":[0,8])"), "a number below 2^64"},
      {"extent 2^63", one(R"("dtype":"F64","shape":[9223372036854775808],"data_offsets":[0,8])"), "must be below 2^63"},
      // sizes that are small modulo 2^64
      {"bytes overflow", one(R"("dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8])"),
       "F64 of shape [2305843009213693953] has more bytes than 2^63"},
      {"product overflow", make(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"),
       "has more bytes than 2^63"},
      {"product overflow before a 0",
       make(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],)"
            R"("data_offsets":[0,0]}})"),
       "has more bytes than 2^63"},
      {"product overflow after a 0",
       make(R"({"a":{"dtype":"U8","shape":[0,4294967296,4294967296],)"
            R"("data_offsets":[0,0]}})"),
       "has more bytes than 2^63"},
      {"65 extents", one(R"("dtype":"F64","data_offsets":[0,8],"shape":[1)" + repeat(",1", 64) + "]"),
       "shape has more than 64 extents"},

      // offsets
      {"one offset", one(R"("dtype":"F64","shape":[],"data_offsets":[8])"), "fewer than 2 numbers"},
      {"three offsets", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8,8])"), "more than 2 numbers"},
      {"negative offset", one(R"("dtype":"F64","shape":[],"data_offsets":[-8,0])"), "found '-' at byte"},
      {"offset 8e0", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8e0])"), "without fraction or exponent"},
      {"begin after end", one(R"("dtype":"F64","shape":[],"data_offsets":[8,0])"),
       "data_offsets = [8,0] begin after their end"},
      {"fewer bytes than the shape", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
       "data_offsets = [0,8] hold 8 bytes, F32 of shape [3] needs 12"},
      {"more bytes than the shape", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), "needs 4"},
      {"overlap",
       make(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
            R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            "123"),
       "tensor \"b\": its data begin at byte 1 and overlap"},
      {"shared bytes",
       make(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
            R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
            "12"),
       "overlap those of another tensor"},
      {"no elements within another",
       make(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
            R"("b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
            "12"),
       "overlap those of another tensor"},
      {"hole",
       make(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
            R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
            "123"),
       "tensor \"b\": bytes 1 to 2, before its data, belong to no tensor"},
      {"hole at the start", make(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12"),
       "bytes 0 to 1, before its data"},
      {"no elements beyond the end", make(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[9,9]}})"),
       "belong to no tensor"},
      {"trailing byte", one(R"("dtype":"F64","shape":[],"data_offsets":[0,8])") + "9",
       "1 bytes at the end of the file belong to no tensor"},
      {"header of another file", make(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345678"),
       "4 bytes at the end of the file"},
      {"data without tensors", make("{}", "1"), "1 bytes at the end"},
      {"truncated data", make(R"({"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}})", "1234567"),
       "tensor \"a\": its data end at byte 8, but the file has 7 bytes of data: it is truncated"},
      {"end near 2^64",
       make(R"({"a":{"dtype":"U8","shape":[9223372036854775807],)"
            R"("data_offsets":[9223372036854775808,18446744073709551615]}})"),
       "belong to no tensor"},
  };
}

} // namespace seeds

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <switchyard/io/detail/json.hpp>
#include <utility>
#include <vector>

namespace {

namespace io = switchyard::io::detail;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using namespace std::string_literals;

std::string read_string(std::string_view text) {
  io::json_reader json(text);
  std::string value = json.string();
  json.end();
  return value;
}

std::uint64_t read_integer(std::string_view text) {
  io::json_reader json(text);
  const auto value = json.integer();
  json.end();
  return value;
}

std::vector<std::uint64_t> read_array(std::string_view text) {
  io::json_reader json(text);
  std::vector<std::uint64_t> values;
  json.array([&] { values.push_back(json.integer()); });
  json.end();
  return values;
}

using members = std::vector<std::pair<std::string, std::uint64_t>>;

members read_object(std::string_view text) {
  io::json_reader json(text);
  members values;
  json.object([&](std::string key) {
    const auto value = json.integer();
    values.emplace_back(std::move(key), value);
  });
  json.end();
  return values;
}

template <class Read>
void check_error(Read read, std::string_view text, const std::string& part) {
  INFO("text: " << text);
  CHECK_THROWS_MATCHES(read(text), io::json_error, MessageMatches(ContainsSubstring(part)));
}

} // namespace

TEST_CASE("JSON strings", "[io]") {
  CHECK(read_string(R"("")").empty());
  CHECK(read_string("  \"a b\"\t\r\n") == "a b");
  CHECK(read_string(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(read_string(R"("\u0041\u00e9\u20AC\ud83d\ude00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(read_string(R"("\u007f\u0080\u07ff\u0800\uffff\udbff\udfff")") ==
        "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf");
  CHECK(read_string(R"("a\u0000b")") == "a\0b"s);
  CHECK(read_string("\"\xc3\xa9\x7f\"") == "\xc3\xa9\x7f");

  check_error(read_string, "", "expected a string, found the end");
  check_error(read_string, "'a'", "expected a string, found '''");
  check_error(read_string, "\"a", "the closing quote of a string, found the end");
  check_error(read_string, "\"a\nb\"", "in place of a control character, found the byte 10 at byte 2");
  check_error(read_string, "\"\0\""s, "in place of a control character, found the byte 0");
  check_error(read_string, R"("\x41")", "after a backslash, found 'x' at byte 2");
  check_error(read_string, R"("\)", "after a backslash, found the end");
  check_error(read_string, "\"\\\0\""s, "after a backslash, found the byte 0");
  check_error(read_string, R"("\u12g4")", "four hexadecimal digits after \\u, found 'g'");
  check_error(read_string, R"("\u12)", "four hexadecimal digits after \\u, found the end");
  check_error(read_string, R"("\ud800")", "other half of a surrogate pair");
  check_error(read_string, R"("\ud800\n")", "other half of a surrogate pair");
  check_error(read_string, R"("\udc00\ud800")", "other half of a surrogate pair");
  check_error(read_string, R"("\ud800\ud800")", "low half of a surrogate pair");
  check_error(read_string, R"("\ud800\u0041")", "low half of a surrogate pair");
  check_error(read_string, R"("a" "b")", "nothing more, found '\"' at byte 4");
}

TEST_CASE("JSON whole numbers", "[io]") {
  CHECK(read_integer("0") == 0);
  CHECK(read_integer(" 42 ") == 42);
  CHECK(read_integer("18446744073709551615") == 18446744073709551615u);

  check_error(read_integer, "18446744073709551616", "below 2^64");
  check_error(read_integer, "18446744073709551620", "below 2^64");
  check_error(read_integer, "99999999999999999999999999", "below 2^64");
  check_error(read_integer, "00", "without leading zeros");
  check_error(read_integer, "01", "without leading zeros");
  for (const char* text :
       {"", "-1", "-0", "+1", "1.0", "1.", "1e3", "1E0", ".5", "0.5", "\"1\"", "true", "null", "NaN"})
    check_error(read_integer, text, "a whole number, 0 or above, without fraction or exponent");
  check_error(read_integer, "0x10", "nothing more, found 'x'");
  check_error(read_integer, "1\v", "nothing more, found the byte 11");
}

TEST_CASE("JSON arrays and objects", "[io]") {
  CHECK(read_array("[]").empty());
  CHECK(read_array("[ ]").empty());
  CHECK(read_array("[1]") == std::vector<std::uint64_t>{1});
  CHECK(read_array(" [ 1 , 2,3 ] ") == std::vector<std::uint64_t>{1, 2, 3});
  check_error(read_array, "[1,]", "a whole number");
  check_error(read_array, "[,1]", "a whole number");
  check_error(read_array, "[1 2]", "',' or ']', found '2' at byte 3");
  check_error(read_array, "[1", "',' or ']', found the end");
  check_error(read_array, "[", "a whole number");
  check_error(read_array, "[1}", "',' or ']', found '}'");
  check_error(read_array, "{}", "expected an array, found '{'");
  check_error(read_array, "[[1]]", "a whole number");
  check_error(read_array, std::string(100000, '['), "a whole number");

  CHECK(read_object("{}").empty());
  CHECK(read_object(R"({"a":1,"b" : 2 , "a":3})") == members{{"a", 1}, {"b", 2}, {"a", 3}});
  check_error(read_object, R"({"a":1,})", "expected a string, found '}'");
  check_error(read_object, R"({"a" 1})", "':' after the key, found '1'");
  check_error(read_object, R"({"a":})", "a whole number");
  check_error(read_object, R"({a:1})", "expected a string, found 'a'");
  check_error(read_object, R"({"a":1 "b":2})", "',' or '}', found '\"'");
  check_error(read_object, R"({"a":1)", "',' or '}', found the end");
  check_error(read_object, "[]", "expected an object, found '['");
  check_error(read_object, "{} // end", "nothing more, found '/'");
}

TEST_CASE("UTF-8", "[io]") {
  for (const auto& text : {""s, "a\0\x7f"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s, "\xee\x80\x80"s,
                           "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s}) {
    INFO("text: " << text);
    CHECK(io::is_utf8(text));
  }
  // Continuation alone, cut short, overlong in 2, 3 and 4 bytes, surrogates, above U+10FFFF, bytes never used.
  for (const auto& text :
       {"\x80"s, "\xbf"s, "\xc3"s, "a\xe2\x82"s, "\xf0\x9f\x98"s, "\xc3("s, "\xe2(\xa1"s, "\xe2\x82("s, "\xc0\x80"s,
        "\xc1\xbf"s, "\xe0\x9f\xbf"s, "\xf0\x8f\xbf\xbf"s, "\xed\xa0\x80"s, "\xed\xbf\xbf"s, "\xf4\x90\x80\x80"s,
        "\xf8\x88\x80\x80\x80"s, "\xfe"s, "\xff"s}) {
    INFO("first byte: " << int{static_cast<unsigned char>(text[0])});
    CHECK_FALSE(io::is_utf8(text));
  }
}

TEST_CASE("UTF-8 ends where the text ends", "[io]") {
  for (const std::string_view text : {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"})
    for (std::size_t size = 1; size < text.size(); ++size) {
      INFO(size << " of " << text.size());
      CHECK_FALSE(io::is_utf8(text.substr(0, size)));
    }
}

TEST_CASE("JSON quoting is undone by reading", "[io]") {
  CHECK(io::json_quote("a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9") ==
        "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"");
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  all += "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
  CHECK(read_string(io::json_quote(all)) == all);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "../fuzz/safetensors_seeds.hpp"
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <switchyard/core/error.hpp>
#include <switchyard/io/safetensors.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
namespace io = switchyard::io;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::StartsWith;
using switchyard::file_error;
using switchyard::invalid_argument;
using namespace std::string_literals;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A folder that is gone after the test.
class folder {
 public:
  folder() : path_(fs::temp_directory_path() / "switchyard-io-XXXXXX") {
    std::string name = path_.string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  fs::path operator/(const char* name) const { return path_ / name; }
  std::ptrdiff_t entries() const { return std::distance(fs::directory_iterator(path_), {}); }

 private:
  fs::path path_;
};

void store(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string load(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const file_error& problem) {
    return problem.what();
  }
  return "no file_error";
}

// values -> file -> values, of one type.
template <class T>
void check_round_trip(io::dtype type, const std::string& name, const std::vector<T>& values) {
  INFO(name);
  CHECK(io::dtype_of<T>() == type);
  CHECK(io::dtype_name(type) == name);
  CHECK(io::find_dtype(name) == type);
  CHECK(io::dtype_size(type) == sizeof(T));
  const auto count = static_cast<std::int64_t>(values.size());
  const auto written = io::serialize_safetensors({io::make_tensor("t", {1, count}, values)});
  const auto file = io::parse_safetensors(written);
  const io::tensor_view& found = file.tensor("t");
  CHECK(found.type == type);
  CHECK(found.shape == std::vector<std::int64_t>{1, count});
  CHECK(found.size() == values.size());
  std::vector<T> copy(values.size());
  file.copy_to("t", std::span(copy));
  CHECK(text_of(std::as_bytes(std::span(copy))) == text_of(std::as_bytes(std::span(values))));
  CHECK(io::serialize_safetensors(file.tensors(), file.metadata()) == written);
}

// A file of one tensor "t" with these values.
template <class T>
std::vector<std::byte> file_of(const std::vector<T>& values) {
  return io::serialize_safetensors({io::make_tensor("t", {static_cast<std::int64_t>(values.size())}, values)});
}

template <class To, class From>
std::vector<To> converted(const std::vector<From>& values, io::conversion how = io::conversion::exact) {
  const auto bytes = file_of(values);
  std::vector<To> out(values.size());
  io::parse_safetensors(bytes).copy_to("t", std::span(out), how);
  return out;
}

} // namespace

TEST_CASE("safetensors: hand-made good files are read, from memory and from a path", "[io]") {
  const folder here;
  for (const auto& seed : seeds::good()) {
    INFO(seed.name);
    const auto file = io::parse_safetensors(bytes_of(seed.bytes));
    store(here / "f", seed.bytes);
    const auto same = io::read_safetensors(here / "f");
    CHECK(same.names() == file.names());
    CHECK(same.metadata() == file.metadata());
    for (const io::tensor_view& t : file.tensors()) {
      CHECK(same.tensor(t.name).type == t.type);
      CHECK(same.tensor(t.name).shape == t.shape);
      CHECK(text_of(same.tensor(t.name).bytes) == text_of(t.bytes));
    }
  }
}

TEST_CASE("safetensors: what a file holds", "[io]") {
  const std::string bytes =
      seeds::make(R"({"b":{"dtype":"U8","shape":[3,1],"data_offsets":[4,7]},"e":{"dtype":"F32","shape":[0,5],)"
                  R"("data_offsets":[4,4]},"__metadata__":{"format":"pt","k":"\u00e9"},)"
                  R"("a.w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
                  "\x00\x00\xc0\x3f"s + "xyz"); // 1.5f, least significant byte first
  const auto file = io::parse_safetensors(bytes_of(bytes));
  CHECK(file.names() == std::vector<std::string>{"a.w", "b", "e"});
  CHECK(file.tensors().size() == 3);
  CHECK(file.metadata() == io::metadata_map{{"format", "pt"}, {"k", "\xc3\xa9"}});
  CHECK(file.contains("b"));
  CHECK_FALSE(file.contains("a"));
  CHECK_FALSE(file.contains("__metadata__"));

  CHECK(file.tensor("a.w").type == io::dtype::f32);
  CHECK(file.tensor("a.w").shape.empty());
  CHECK(file.tensor("a.w").size() == 1);
  float scalar = 0;
  file.copy_to<float>("a.w", std::span(&scalar, 1));
  CHECK(scalar == 1.5f);

  CHECK(file.tensor("b").shape == std::vector<std::int64_t>{3, 1});
  CHECK(text_of(file.tensor("b").bytes) == "xyz");
  CHECK(file.tensor("e").shape == std::vector<std::int64_t>{0, 5});
  CHECK(file.tensor("e").bytes.empty());
  CHECK_NOTHROW(file.copy_to<float>("e", {}));
}

TEST_CASE("safetensors: bad files are refused, each with its message", "[io]") {
  const folder here;
  const fs::path path = here / "bad.safetensors";
  for (const auto& seed : seeds::bad()) {
    INFO(seed.name);
    // A copy of the exact size, so that a sanitizer sees every read beyond the end.
    const std::vector<std::byte> exact(bytes_of(seed.bytes).begin(), bytes_of(seed.bytes).end());
    const std::string error = error_of([&] { io::parse_safetensors(exact, "memory"); });
    CHECK_THAT(error, StartsWith("switchyard: memory: "));
    CHECK_THAT(error, ContainsSubstring(seed.error));
    CHECK_THAT(error, ContainsSubstring("; ")); // what to do
    CHECK(error.size() < 600);
    store(path, seed.bytes);
    CHECK(error_of([&] { io::read_safetensors(path); }) == "switchyard: " + path.string() + error.substr(18));
  }
}

TEST_CASE("safetensors: every truncation of a good file is refused", "[io]") {
  for (const auto& seed : seeds::good())
    for (std::size_t size = 0; size < seed.bytes.size(); ++size) {
      INFO(seed.name << " cut to " << size);
      CHECK_THROWS_AS(io::parse_safetensors(bytes_of(seed.bytes).first(size)), file_error);
    }
}

TEST_CASE("safetensors: paths that are no readable file", "[io]") {
  const folder here;
  CHECK_THAT(error_of([&] { io::read_safetensors(here / "none"); }),
             ContainsSubstring("none: cannot be read (open: No such file or directory); check the path"));
  CHECK_THAT(error_of([&] { io::read_safetensors(here / ""); }), ContainsSubstring("it is not a regular file"));
  REQUIRE(::mkfifo((here / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(error_of([&] { io::read_safetensors(here / "pipe"); }), ContainsSubstring("it is not a regular file"));
  CHECK_THAT(error_of([&] { io::read_safetensors("/dev/zero"); }), ContainsSubstring("it is not a regular file"));

  // A link is as good as what it leads to.
  store(here / "f", seeds::make("{}"));
  fs::create_symlink("f", here / "link");
  CHECK(io::read_safetensors(here / "link").tensors().empty());
  fs::create_symlink("none", here / "dangling");
  CHECK_THAT(error_of([&] { io::read_safetensors(here / "dangling"); }), ContainsSubstring("No such file"));
  fs::create_symlink("loop", here / "loop");
  CHECK_THAT(error_of([&] { io::read_safetensors(here / "loop"); }), ContainsSubstring("cannot be read"));
}

TEST_CASE("safetensors: a hostile header does not allocate what it names", "[io]") {
  // A sparse file of 2^40 bytes whose header is wrong: refused before its data would be held.
  const folder here;
  store(here / "f", seeds::make(R"({"a":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}})"));
  CHECK_THAT(error_of([&] { io::read_safetensors(here / "f"); }), ContainsSubstring("it is truncated"));
  std::error_code refused;
  fs::resize_file(here / "f", std::uintmax_t{1} << 40, refused);
  if (!refused) {
    CHECK_THAT(error_of([&] { io::read_safetensors(here / "f"); }), ContainsSubstring("it is truncated"));
  }
}

TEST_CASE("safetensors: every dtype round-trips", "[io]") {
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  const auto inf = std::numeric_limits<double>::infinity();
  check_round_trip<double>(io::dtype::f64, "F64", {0.0, -0.0, 1.5, -1e300, 5e-324, inf, nan});
  check_round_trip<float>(io::dtype::f32, "F32", {0.0f, -0.0f, 0.1f, 1e-45f, -INFINITY, NAN});
  std::vector<switchyard::half> halves;
  std::vector<switchyard::bfloat16> bfloats;
  for (const int bits : {0x0000, 0x8000, 0x3c00, 0x0001, 0x7bff, 0x7c00, 0x7e01, 0xffff}) {
    halves.push_back(switchyard::half::from_bits(static_cast<std::uint16_t>(bits)));
    bfloats.push_back(switchyard::bfloat16::from_bits(static_cast<std::uint16_t>(bits)));
  }
  check_round_trip(io::dtype::f16, "F16", halves);
  check_round_trip(io::dtype::bf16, "BF16", bfloats);
  check_round_trip<std::int64_t>(io::dtype::i64, "I64", {0, -1, INT64_MIN, INT64_MAX});
  check_round_trip<std::int32_t>(io::dtype::i32, "I32", {0, -1, INT32_MIN, INT32_MAX});
  check_round_trip<std::int16_t>(io::dtype::i16, "I16", {0, -1, INT16_MIN, INT16_MAX});
  check_round_trip<std::int8_t>(io::dtype::i8, "I8", {0, -1, INT8_MIN, INT8_MAX});
  check_round_trip<std::uint64_t>(io::dtype::u64, "U64", {0, 1, UINT64_MAX});
  check_round_trip<std::uint32_t>(io::dtype::u32, "U32", {0, 1, UINT32_MAX});
  check_round_trip<std::uint16_t>(io::dtype::u16, "U16", {0, 1, UINT16_MAX});
  check_round_trip<std::uint8_t>(io::dtype::u8, "U8", {0, 1, UINT8_MAX});
  check_round_trip<long long>(io::dtype::i64, "I64", {-5});
  check_round_trip<float>(io::dtype::f32, "F32", {});

  const bool flags[] = {true, false, true}; // std::vector<bool> has no bytes
  const auto bytes = io::serialize_safetensors({io::make_tensor("t", {3}, flags)});
  const auto file = io::parse_safetensors(bytes);
  CHECK(file.tensor("t").type == io::dtype::boolean);
  bool copy[3] = {};
  file.copy_to<bool>("t", copy);
  CHECK((copy[0] && !copy[1] && copy[2]));
}

TEST_CASE("safetensors: exact conversions need no permission", "[io]") {
  using switchyard::bfloat16, switchyard::half;
  CHECK(converted<double>(std::vector<float>{0.1f, -0.0f}) == std::vector<double>{double{0.1f}, -0.0});
  CHECK(converted<float>(std::vector{half(1.5f), half::from_bits(1)}) == std::vector<float>{1.5f, 0x1p-24f});
  CHECK(converted<double>(std::vector{bfloat16(3.0f)}) == std::vector<double>{3});
  CHECK(converted<std::int64_t>(std::vector<std::int8_t>{-128, 127}) == std::vector<std::int64_t>{-128, 127});
  CHECK(converted<std::int16_t>(std::vector<std::uint8_t>{255}) == std::vector<std::int16_t>{255});
  CHECK(converted<float>(std::vector<std::int16_t>{-32768}) == std::vector<float>{-32768});
  CHECK(converted<double>(std::vector<std::uint32_t>{UINT32_MAX}) == std::vector<double>{4294967295.0});
  CHECK(converted<bfloat16>(std::vector<std::uint8_t>{255})[0] == 255.0f);

  // A BOOL byte is true unless it is 0, whoever wrote it.
  const std::string odd = seeds::make(R"({"t":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", "\x00\x01\x02"s);
  bool flags[3] = {};
  io::parse_safetensors(bytes_of(odd)).copy_to<bool>("t", flags);
  CHECK((!flags[0] && flags[1] && flags[2]));
  double numbers[3] = {};
  io::parse_safetensors(bytes_of(odd)).copy_to<double>("t", numbers);
  CHECK((numbers[0] == 0 && numbers[1] == 1 && numbers[2] == 1));

  // Elements that do not start at a multiple of their size.
  const auto unaligned = seeds::good()[11];
  REQUIRE(unaligned.name == "odd offsets");
  double value = 0, expected = 0;
  io::parse_safetensors(bytes_of(unaligned.bytes)).copy_to<double>("b", std::span(&value, 1));
  std::memcpy(&expected, "23456789", 8);
  CHECK(value == expected);
}

TEST_CASE("safetensors: rounding has to be asked for, narrowing integers is refused", "[io]") {
  using switchyard::bfloat16, switchyard::half;
  constexpr auto round = io::conversion::round;
  CHECK(converted<float>(std::vector{0.1, 1e300, -1e-300}, round) == std::vector<float>{0.1f, INFINITY, -0.0f});
  CHECK(converted<bfloat16>(std::vector{1.00390625}, round)[0] == 1.0f); // a tie goes to the even neighbour
  CHECK(converted<half>(std::vector{65520.0f}, round)[0] == INFINITY);
  CHECK(converted<half>(std::vector{bfloat16(0x1p-30f)}, round)[0] == 0.0f);
  CHECK(converted<float>(std::vector<std::int64_t>{(1 << 24) + 1}, round) == std::vector<float>{0x1p24f});
  CHECK(converted<double>(std::vector{0.1f}, round) == std::vector<double>{double{0.1f}});

  const auto message = [](const std::string& part) { return MessageMatches(ContainsSubstring(part)); };
  CHECK_THROWS_MATCHES(converted<float>(std::vector{0.5}), file_error,
                       message("tensor \"t\" is F64, which not every F32 can hold; ask for conversion::round"));
  CHECK_THROWS_MATCHES(converted<half>(std::vector{bfloat16(1.0f)}), file_error, message("conversion::round"));
  CHECK_THROWS_MATCHES(converted<bfloat16>(std::vector{half(1.0f)}), file_error, message("conversion::round"));
  CHECK_THROWS_MATCHES(converted<half>(std::vector<std::int16_t>{1}), file_error, message("conversion::round"));
  CHECK_THROWS_MATCHES(converted<float>(std::vector<std::int32_t>{1}), file_error, message("conversion::round"));
  CHECK_THROWS_MATCHES(converted<double>(std::vector<std::int64_t>{1}), file_error, message("conversion::round"));
  for (const auto how : {io::conversion::exact, round}) {
    CHECK_THROWS_MATCHES(converted<std::int32_t>(std::vector<std::int64_t>{1}, how), file_error,
                         message("tensor \"t\" is I64, which not every I32 can hold; ask for a wider type"));
    CHECK_THROWS_MATCHES(converted<std::int32_t>(std::vector<std::uint32_t>{1}, how), file_error, message("wider"));
    CHECK_THROWS_MATCHES(converted<std::uint64_t>(std::vector<std::int8_t>{1}, how), file_error, message("wider"));
    CHECK_THROWS_MATCHES(converted<std::int64_t>(std::vector<half>{half(1.0f)}, how), file_error, message("wider"));
    bool flag = false;
    const auto bytes = file_of(std::vector<std::uint8_t>{1});
    CHECK_THROWS_MATCHES(io::parse_safetensors(bytes).copy_to<bool>("t", std::span(&flag, 1), how), file_error,
                         message("is U8, which not every BOOL can hold"));
  }
}

TEST_CASE("safetensors: a missing tensor and a destination of another size", "[io]") {
  const std::vector<float> values(6);
  std::vector<io::tensor_view> tensors;
  for (int i = 0; i < 12; ++i) tensors.push_back(io::make_tensor("t" + std::to_string(100 + i), {2, 3}, values));
  const auto bytes = io::serialize_safetensors(tensors);
  const auto file = io::parse_safetensors(bytes, "model");
  CHECK(error_of([&] { file.tensor("x\n"); }) ==
        R"(switchyard: model: tensor "x\n" is not in the file; it has 12 tensors: "t100", "t101", "t102", "t103", )"
        R"("t104", "t105", "t106", "t107", "t108", "t109", ...)");
  std::vector<float> five(5);
  CHECK(error_of([&] { file.copy_to<float>("t100", five); }) ==
        "switchyard: model: tensor \"t100\" of shape [2,3] has 6 elements, the destination 5; give one of that size");
}

TEST_CASE("safetensors: the bytes that are written", "[io]") {
  // Widest first, floats above unsigned above signed as the format's own writer has them, then by name.
  const std::uint8_t one[] = {1};
  const float two[] = {1.5f, -2.0f};
  const double three = 1.0;
  const auto b = io::make_tensor("b", {1}, one), a = io::make_tensor("a", {2, 1}, two),
             c = io::make_tensor("c\"\n", {}, std::span(&three, 1)),
             e = io::make_tensor("A", {0, 5}, std::span(two, 0));
  const std::string header =
      R"({"__metadata__":{"a":"1","b":"\u0001"},"c\"\n":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
      R"("A":{"dtype":"F32","shape":[0,5],"data_offsets":[8,8]},"a":{"dtype":"F32","shape":[2,1],)"
      R"("data_offsets":[8,16]},"b":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  const std::string expected = seeds::make(padded, "\0\0\0\0\0\0\xf0\x3f"
                                                   "\0\0\xc0\x3f"
                                                   "\0\0\0\xc0"
                                                   "\x01"s);
  CHECK(text_of(io::serialize_safetensors({a, b, c, e}, {{"b", "\x01"}, {"a", "1"}})) == expected);
  CHECK(text_of(io::serialize_safetensors({e, c, b, a}, {{"a", "1"}, {"b", "\x01"}})) == expected);
  CHECK(text_of(io::serialize_safetensors({})) == seeds::make("{}      "));

  // Every type in the order of the file.
  std::vector<io::tensor_view> all;
  for (const char* name : {"BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64"})
    all.push_back({name, *io::find_dtype(name), {0}, {}});
  const std::string text = text_of(io::serialize_safetensors(all));
  std::size_t at = 0;
  for (const char* name : {"U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL"}) {
    const auto next = text.find("\""s + name + "\":{");
    CHECK((next != std::string::npos && next > at));
    at = next;
  }
}

TEST_CASE("safetensors: save, load, save gives the same bytes", "[io]") {
  const folder here;
  const std::vector<float> x{1, 2, 3, 4, 5, 6};
  const std::vector<std::int32_t> index{-1, 7};
  const io::metadata_map metadata{{"step", "12"}, {"note", "\xc3\xa9\t\"\\"}};
  io::write_safetensors(here / "1",
                        {io::make_tensor("x", {2, 3}, x), io::make_tensor("index", {2}, index),
                         io::make_tensor("none", {0, 5}, std::span<double>()),
                         io::make_tensor("s", {}, std::span(x).first(1))},
                        metadata);
  const auto file = io::read_safetensors(here / "1");
  CHECK(file.metadata() == metadata);
  io::write_safetensors(here / "2", file.tensors(), file.metadata());
  CHECK(load(here / "1") == load(here / "2"));
  CHECK(text_of(io::serialize_safetensors(file.tensors(), file.metadata())) == load(here / "1"));
  io::write_safetensors(here / "1", file.tensors(), {}); // over the file it came from
  CHECK(io::read_safetensors(here / "1").metadata().empty());
  CHECK(here.entries() == 2);

  // A file moves with its views.
  auto first = io::read_safetensors(here / "2");
  const auto moved = std::move(first);
  CHECK(text_of(moved.tensor("x").bytes) == text_of(std::as_bytes(std::span(x))));
}

TEST_CASE("safetensors: what cannot be written", "[io]") {
  const folder here;
  const fs::path path = here / "f";
  const std::vector<float> x(6);
  const auto refused = [&](const std::vector<io::tensor_view>& tensors, const io::metadata_map& metadata,
                           const std::string& part) {
    INFO(part);
    CHECK_THROWS_MATCHES(io::write_safetensors(path, tensors, metadata), invalid_argument,
                         MessageMatches(ContainsSubstring(part)));
    CHECK(here.entries() == 0);
  };
  refused({io::make_tensor("x", {7}, x)}, {}, "tensor \"x\": F32 of shape [7] does not have the 24 bytes given");
  refused({io::make_tensor("x", {}, x)}, {}, "does not have the 24 bytes");
  refused({io::make_tensor("x", {-2, -3}, x)}, {}, "shape [-2,-3]: extents must be at least 0");
  refused({io::make_tensor("x", {INT64_C(1) << 32, INT64_C(1) << 32}, x)}, {}, "does not have");
  refused({io::make_tensor("x", std::vector<std::int64_t>(65, 1), std::span(x).first(1))}, {}, "at most 64 extents");
  const std::vector<std::uint8_t> bytes(6);
  refused({io::make_tensor("x", {6}, x), io::make_tensor("y", {6}, x), io::make_tensor("x", {6}, bytes)}, {},
          "tensor \"x\": the name is given twice");
  refused({io::make_tensor("__metadata__", {6}, x)}, {}, "the name is reserved");
  refused({io::make_tensor("\xff", {6}, x)}, {}, "tensor name: must be UTF-8");
  refused({}, {{"\xff", ""}}, "metadata: keys and values must be UTF-8");
  refused({}, {{"", "\xc3"}}, "metadata: keys and values must be UTF-8");
  refused({}, {{"k", std::string(100'000'000, 'x')}}, "bytes: at most 100000000 are allowed");
}

TEST_CASE("safetensors: a write that fails leaves what was there", "[io]") {
  const folder here;
  const std::vector<double> big(100'000);
  const auto tensor = io::make_tensor("x", {100'000}, big);
  store(here / "f", "before");
  const auto refused = [&](const fs::path& path, const std::string& part) {
    const std::string error = error_of([&] { io::write_safetensors(path, {tensor}); });
    CHECK_THAT(error, StartsWith("switchyard: " + path.string() + ": cannot be written ("));
    CHECK_THAT(error, ContainsSubstring(part));
  };

  // The disk is full, or so it seems: no file of this process may grow beyond 4096 bytes.
  ::rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const ::rlimit small{4096, old.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string error = error_of([&] { io::write_safetensors(here / "f", {tensor}); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(error, ContainsSubstring("cannot be written (write: File too large)"));
  CHECK(load(here / "f") == "before");
  CHECK(here.entries() == 1);

  fs::create_directory(here / "folder");
  refused(here / "folder", "not a regular file");
  refused(here / "no/f", "create: No such file or directory");
  fs::create_symlink("/dev/null", here / "null"); // by a link, so that a failing test does no harm
  refused(here / "null", "not a regular file");
  CHECK(fs::is_symlink(here / "null"));
  REQUIRE(::mkfifo((here / "pipe").c_str(), 0600) == 0);
  refused(here / "pipe", "not a regular file");
  CHECK(here.entries() == 4);

  // A temporary file that a killed process left is not in the way.
  store((here / "f").string() + ".tmp-" + std::to_string(::getpid()) + "-0", "left");
  io::write_safetensors(here / "f", {tensor});
  CHECK(io::read_safetensors(here / "f").tensor("x").size() == big.size());
  CHECK(here.entries() == 5);
  CHECK(load((here / "f").string() + ".tmp-" + std::to_string(::getpid()) + "-0") == "left");

  // A link is replaced; what it leads to stays.
  store(here / "target", "stays");
  fs::create_symlink("target", here / "link");
  io::write_safetensors(here / "link", {tensor});
  CHECK(load(here / "target") == "stays");
  CHECK(fs::is_regular_file(fs::symlink_status(here / "link")));

  // The mode is that of any new file, not that of a private temporary one.
  const ::mode_t mask = ::umask(022);
  io::write_safetensors(here / "new", {});
  ::umask(mask);
  CHECK((fs::status(here / "new").permissions() & fs::perms::all) == fs::perms{0644});
}

TEST_CASE("safetensors: interrupted and short transfers are continued", "[io]") {
  const std::string from = "0123456789";
  std::string to;
  int calls = 0;
  const auto step = [&](std::size_t done, std::size_t count) -> ::ssize_t {
    if (++calls % 2 == 1) {
      errno = EINTR;
      return -1;
    }
    const std::size_t some = std::min<std::size_t>(count, 3);
    to += from.substr(done, some);
    return static_cast<::ssize_t>(some);
  };
  CHECK(io::detail::transfer(10, "write", step) == 10);
  CHECK(to == from);
  CHECK(calls == 8);

  const auto ends = [](std::size_t done, std::size_t) -> ::ssize_t { return done < 4 ? 2 : 0; };
  CHECK(io::detail::transfer(10, "read", ends) == 4);
  const auto fails = [](std::size_t, std::size_t) -> ::ssize_t {
    errno = ENOSPC;
    return -1;
  };
  CHECK_THROWS_MATCHES(io::detail::transfer(1, "write", fails), std::system_error,
                       MessageMatches(ContainsSubstring("No space left on device")));
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "files.hpp"
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <switchyard/train/batches.hpp>
#include <switchyard/train/schedule.hpp>
#include <thread>

// Text, order, objectives and batches: the part of training that knows no model.

using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;
namespace sy = switchyard;
namespace train = switchyard::train;
using tokens_type = std::vector<std::int32_t>;

TEST_CASE("shuffle: a permutation of any size, another one for another key", "[train]") {
  for (const std::uint64_t n : {1u, 2u, 3u, 4u, 5u, 17u, 64u, 1000u, 4097u}) {
    std::set<std::uint64_t> seen;
    const train::permutation p(n, 7);
    for (std::uint64_t i = 0; i < n; ++i) {
      CHECK(p(i) < n);
      seen.insert(p(i));
    }
    CHECK(seen.size() == n);
  }
  // All orders of 3 are about equally likely: 3000 draws, 500 each, sigma 20.
  std::map<std::array<std::uint64_t, 3>, int> orders;
  for (std::uint64_t key = 0; key < 3000; ++key) {
    const train::permutation p(3, key);
    ++orders[{p(0), p(1), p(2)}];
  }
  CHECK(orders.size() == 6);
  for (const auto& [order, count] : orders) CHECK(std::abs(count - 500) < 100);
  // Neighbours go far apart: a third of n on average.
  const train::permutation p(10000, 3);
  double distance = 0;
  for (std::uint64_t i = 0; i + 1 < 10000; ++i)
    distance += std::abs(static_cast<double>(p(i)) - static_cast<double>(p(i + 1))) / 9999;
  CHECK(std::abs(distance - 3333) < 100);
}

TEST_CASE("text: files and folders, labels, and what is not there", "[train]") {
  const folder f("text_find");
  f.write("de/b.txt", "zwei");
  f.write("de/a.txt", "eins");
  f.write("de/deep/c.txt", "drei");
  f.write("en.txt", "one");
  f.write("empty.txt", "");
  const auto found = train::find_text(
      {f.path("en.txt"), f.path("de"), "fr=" + f.path("en.txt"), "x=" + f.path("de"), f.path("empty.txt")});
  std::string listed;
  for (const auto& file : found) listed += file.language + ":" + file.path.substr(f.path("").size()) + " ";
  CHECK(listed == "en:en.txt de:de/a.txt de:de/b.txt deep:de/deep/c.txt fr:en.txt x:de/a.txt x:de/b.txt "
                  "x:de/deep/c.txt ");
  CHECK_THROWS_WITH(train::find_text({f.path("none")}), ContainsSubstring("neither a file nor a folder"));
  f.write("hollow/empty.txt", "");
  CHECK_THROWS_WITH(train::find_text({f.path("hollow")}), ContainsSubstring("no file with text"));
  CHECK_THROWS_WITH(train::text(train::find_text({f.path("empty.txt")}), 8), ContainsSubstring("nothing to train on"));
  CHECK_THROWS_WITH(train::text(found, 8, 1), ContainsSubstring("held_out_every = 1"));
}

TEST_CASE("text: every byte is in one block, held-out blocks are in no training block", "[train]") {
  const folder f("text_blocks");
  std::string all; // no 4 bytes of it occur twice
  for (int i = 0; i < 3000; ++i) all += {static_cast<char>(i & 63), static_cast<char>(64 + (i >> 6))};
  f.write("a", all.substr(0, 1000));
  f.write("b", "");
  f.write("c", all.substr(1000, 7));
  f.write("d", all.substr(1007));
  const std::vector<train::text_file> files{
      {f.path("a"), "x"}, {f.path("b"), "y"}, {f.path("c"), "z"}, {f.path("d"), "x"}};
  for (const std::int64_t every : {0, 2, 3, 10}) {
    const train::text text(files, 64, every);
    CHECK(text.bytes() == 6000);
    std::map<std::string, int> blocks;
    std::string bytes, joined[2];
    for (const auto which : {train::portion::training, train::portion::held_out})
      for (std::int64_t i = 0; i < text.blocks(which); ++i) {
        const auto block = text.find(which, i);
        text.read(block, bytes);
        CHECK(block.bytes == static_cast<std::int64_t>(bytes.size()));
        CHECK((block.bytes == 64 || block.last));
        CHECK(text.languages()[static_cast<std::size_t>(block.language)] == (*block.path == f.path("c") ? "z" : "x"));
        joined[static_cast<int>(which)] += bytes;
        ++blocks[bytes];
      }
    CHECK(joined[0].size() + joined[1].size() == 6000);
    for (const auto& [block, count] : blocks) CHECK((count == 1 && all.find(block) != std::string::npos));
    const auto total = static_cast<std::int64_t>(blocks.size());
    CHECK(text.blocks(train::portion::held_out) == (every == 0 ? 0 : total / every));
    CHECK(text.fingerprint() != train::text(files, 65, every).fingerprint());
  }
  const train::text text(files, 64, 10);
  const auto last = text.find(train::portion::training, text.blocks(train::portion::training) - 1);
  f.write("d", "short");
  std::string bytes;
  CHECK_THROWS_AS(text.read(last, bytes), sy::file_error);
  CHECK_THROWS_AS(text.find(train::portion::training, 1 << 20), sy::invalid_argument);
}

TEST_CASE("span corruption: T5's numbers, and every token exactly once", "[train]") {
  const train::byte_tokenizer bytes;
  // T5's own: 568 tokens of text make 512 of source and 114 of target.
  const train::objective t5({.length = 512}, {32128, 0, 1, 2, 100});
  CHECK(t5.text_length() == 568);
  CHECK(t5.source_length() == 512);
  CHECK(t5.target_length() == 114);
  CHECK(t5.counts(568).noise == 85);
  CHECK(t5.counts(568).spans == 28);
  CHECK_THROWS_WITH(train::objective({.length = 4096}, bytes.special()), ContainsSubstring("sentinels"));
  CHECK_THROWS_AS(train::objective({.length = 2}, bytes.special()), sy::invalid_argument);
  CHECK_THROWS_AS(train::objective({.noise_density = 1}, bytes.special()), sy::invalid_argument);

  const train::objective goal({.length = 64}, bytes.special());
  const auto special = bytes.special();
  const sy::generator draw(sy::seed{5}, sy::stream::text_spans);
  for (std::uint64_t index = 0; index < 2000; ++index) {
    const std::int64_t n = index < 1000 ? goal.text_length() : static_cast<std::int64_t>(index % 40);
    tokens_type tokens, source(64), target(static_cast<std::size_t>(goal.target_length()));
    for (std::int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<std::int32_t>(3 + i));
    goal.make(tokens, false, draw, index, source, target);
    if (n < 2) {
      CHECK(std::count(target.begin(), target.end(), 0) == static_cast<std::ptrdiff_t>(target.size()));
      continue;
    }
    if (index < 1000) CHECK(std::find(source.begin(), source.end(), 0) == source.end());
    // Putting each span of the target in the place of its sentinel gives the text again.
    tokens_type again;
    auto at = target.begin();
    std::int64_t spans = 0, noise = 0;
    for (const std::int32_t token : source) {
      if (token == special.eos) break;
      if (!special.is_sentinel(token)) {
        again.push_back(token);
        continue;
      }
      CHECK(token == special.sentinel(spans++));
      REQUIRE(*at++ == token);
      CHECK(!again.empty()); // what is not noise comes first
      for (; !special.is_sentinel(*at) && *at != special.eos; ++at, ++noise) again.push_back(*at);
    }
    CHECK(*at == special.eos);
    CHECK(again == tokens);
    CHECK(noise == goal.counts(n).noise);
    CHECK(spans == goal.counts(n).spans);
  }

  // 5 of noise and 5 of the rest in 3 pieces each: 6 ways times 6, each as likely as any other; 100 of 3600, sigma 10.
  const train::objective ten({.length = 9, .noise_density = 0.5, .mean_span = 1.7}, special);
  REQUIRE(ten.text_length() == 10);
  REQUIRE(ten.counts(10).spans == 3);
  std::map<tokens_type, int> ways;
  for (std::uint64_t index = 0; index < 3600; ++index) {
    tokens_type tokens{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, source(static_cast<std::size_t>(ten.source_length())),
        target(static_cast<std::size_t>(ten.target_length()));
    ten.make(tokens, false, draw, index, source, target);
    ++ways[source];
  }
  CHECK(ways.size() == 36);
  for (const auto& [source, count] : ways) CHECK(std::abs(count - 100) < 50);
}

TEST_CASE("next token: the text, and an end where it ends", "[train]") {
  const train::byte_tokenizer bytes;
  const train::objective goal({.kind = train::objective_kind::next_token, .length = 8}, bytes.special());
  const sy::generator draw(sy::seed{5}, sy::stream::text_spans);
  CHECK(goal.text_length() == 8);
  CHECK(goal.source_length() == 0);
  const auto made = [&](const std::string& text, bool ends) {
    tokens_type tokens, none, target(8, -1);
    bytes.encode(text, tokens);
    goal.make(tokens, ends, draw, 0, none, target);
    std::string shown;
    for (const std::int32_t t : target) {
      if (t < 3) shown += static_cast<char>('0' + t);
      bytes.decode(t, shown);
    }
    return shown;
  };
  CHECK(made("abcdefgh", false) == "abcdefgh");
  CHECK(made("abcdefgh", true) == "abcdefgh");
  CHECK(made("abc", true) == "abc10000");
  CHECK(made("abc", false) == "abc00000");
}

namespace {
train::example_maker<train::byte_tokenizer> make_maker(const folder& f, std::uint64_t seed) {
  std::string all;
  for (int i = 0; i < 5000; ++i) all += static_cast<char>((i * 7 + i / 97) & 0xff);
  f.write("a", all);
  f.write("b", all.substr(0, 777));
  return {train::find_text({f.path("a"), f.path("b")}), {}, {.length = 32}, sy::seed{seed}, 5};
}
/// All tokens of a batch.
tokens_type flat(const train::token_batch& b) {
  tokens_type all(b.source.data(), b.source.data() + b.source.size());
  all.insert(all.end(), b.target.data(), b.target.data() + b.target.size());
  return all;
}
} // namespace

TEST_CASE("examples: functions of seed and number, every block once per epoch", "[train]") {
  const folder f("examples");
  const auto maker = make_maker(f, 1), same = make_maker(f, 1), other = make_maker(f, 2);
  const std::int64_t n = maker.from().blocks(train::portion::training);
  const auto example = [](const auto& from, train::portion which, std::int64_t i) {
    train::token_batch b(1, from.goal().source_length(), from.goal().target_length());
    from.make(which, i, b, 0);
    return std::pair{flat(b), b.sequences[0]};
  };
  int differ = 0;
  std::set<tokens_type> epochs[2];
  std::vector<tokens_type> order;
  std::map<std::int32_t, std::int64_t> bytes;
  for (std::int64_t i = 0; i < 2 * n; ++i) {
    const auto [tokens, info] = example(maker, train::portion::training, i);
    CHECK(tokens == example(same, train::portion::training, i).first);
    differ += tokens != example(other, train::portion::training, i).first ? 1 : 0;
    tokens_type text; // without sentinels and ends: which block it was
    for (const auto t : tokens)
      if (maker.tokens().bytes_of(t) > 0) text.push_back(t);
    std::sort(text.begin(), text.end());
    epochs[i / n].insert(text);
    order.push_back(text);
    bytes[info.language] += info.bytes;
    CHECK(info.targets >= info.bytes + 2);
  }
  CHECK(differ > n);
  CHECK(epochs[0] == epochs[1]);
  int same_place = 0;
  for (std::size_t i = 0; 2 * i < order.size(); ++i) same_place += order[i] == order[i + order.size() / 2] ? 1 : 0;
  CHECK(2 * same_place < n); // another order in every epoch
  CHECK(bytes.size() == 2);
  CHECK(example(maker, train::portion::training, 0).first != example(maker, train::portion::training, n).first);
  CHECK(example(maker, train::portion::held_out, 3).first != example(maker, train::portion::training, 3).first);
}

TEST_CASE("batches: the examples by number for any part and from any position", "[train]") {
  const folder f("batches");
  const auto maker = make_maker(f, 1);
  const auto expected = [&](std::int64_t first, const std::vector<std::int64_t>& offsets) {
    train::token_batch b(static_cast<std::int64_t>(offsets.size()), maker.goal().source_length(),
                         maker.goal().target_length());
    for (std::size_t i = 0; i < offsets.size(); ++i)
      maker.make(train::portion::training, first + offsets[i], b, static_cast<std::int64_t>(i));
    return flat(b);
  };
  train::batches whole(maker, train::batch_part::whole(6, 2));
  train::batches part(maker, {6, 2, 1, 2}, 12); // of passes of 3, the last two
  for (std::int64_t step = 0; step < 20; ++step) {
    CHECK(whole.position() == 6 * step);
    const auto& all = whole.next();
    CHECK(all.position == 6 * step);
    CHECK(flat(all) == expected(6 * step, {0, 1, 2, 3, 4, 5}));
    CHECK(flat(part.next()) == expected(12 + 6 * step, {1, 2, 4, 5}));
  }
  whole.seek(3);
  CHECK(flat(whole.next()) == expected(3, {0, 1, 2, 3, 4, 5}));
  CHECK(whole.position() == 9);
  train::batches nothing(maker, {4, 1, 4, 0});
  CHECK(nothing.next().sequences.empty());
  CHECK(nothing.next().position == 4);
  CHECK_THROWS_AS(train::batches(maker, train::batch_part{6, 4, 0, 1}), sy::invalid_argument);
  CHECK_THROWS_AS(train::batches(maker, train::batch_part{6, 2, 2, 2}), sy::invalid_argument);

  f.write("a", "gone"); // shorter than it was
  CHECK_THROWS_AS(
      [&] {
        for (int i = 0; i < 10; ++i) whole.next();
      }(),
      sy::file_error);
  CHECK_THROWS_AS(
      [&] {
        for (int i = 0; i < 10; ++i) whole.next();
      }(),
      sy::file_error);
}

namespace {
/// Bytes, of which so many pieces of text are encoded and then no more, until they may.
struct gated_tokenizer : train::byte_tokenizer {
  struct gate {
    std::atomic<int> begun = 0, allowed = 0;
    std::atomic<bool> gave_up = false; // rather than wait for ever
  };
  std::shared_ptr<gate> at = std::make_shared<gate>();

  void encode(std::string_view bytes, std::vector<std::int32_t>& tokens) const {
    const int number = ++at->begun;
    wait([&] { return number <= at->allowed; });
    byte_tokenizer::encode(bytes, tokens);
  }
  template <class Condition>
  void wait(const Condition& holds) const {
    for (int i = 0; i < 10000 && !holds(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!holds()) at->gave_up = true;
  }
};
} // namespace

TEST_CASE("batches: the reading waits for nobody until it is ahead, and nobody waits for it then", "[train]") {
  const folder f("batches_ahead");
  std::string all;
  for (int i = 0; i < 5000; ++i) all += static_cast<char>('a' + i % 26);
  f.write("a", all);
  const gated_tokenizer tokens;
  auto& gate = *tokens.at;
  const train::example_maker<gated_tokenizer> maker(train::find_text({f.path("a")}), tokens, {.length = 32},
                                                    sy::seed{1}, 5);
  gate.allowed = 6;
  train::batches b(maker, train::batch_part::whole(2), 0, 2);
  tokens.wait([&] { return gate.begun == 6; }); // three batches of two, and nobody has asked for one
  // One is used, the fourth is begun, and does not get on: the second and the third are there all the same.
  CHECK(b.next().position == 0);
  CHECK(b.next().position == 2);
  tokens.wait([&] { return gate.begun == 7; });
  CHECK(b.next().position == 4);
  CHECK(b.waits() == 0);
  // The fourth is waited for, and that is counted.
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    gate.allowed = 1000;
  });
  CHECK(b.next().position == 6);
  later.join();
  CHECK(b.waits() == 1);
  CHECK(!gate.gave_up);
}

TEST_CASE("schedules: warm-up, peak, and what comes after", "[train]") {
  using kind = train::schedule_kind;
  const auto close = [](double a, double b) { return std::abs(a - b) < 1e-15; };
  const train::schedule t5{.rate = 0.01, .warm_up = 10000, .flat = true}; // 1 / sqrt(max(t, 10^4))
  CHECK(close(t5(1), 0.01));
  CHECK(close(t5(10000), 0.01));
  CHECK(close(t5(40000), 0.005));
  const train::schedule root{.rate = 1, .warm_up = 100};
  CHECK(close(root(1), 0.01));
  CHECK(close(root(100), 1));
  CHECK(close(root(400), 0.5));
  CHECK(close(train::schedule{.rate = 1}(4), 0.5));
  const train::schedule line{.kind = kind::linear, .rate = 1, .warm_up = 10, .steps = 110, .last = 0.1};
  CHECK(close(line(5), 0.5));
  CHECK(close(line(10), 1));
  CHECK(close(line(60), 0.55));
  CHECK(close(line(110), 0.1));
  CHECK(close(line(1000), 0.1));
  const train::schedule constant{.kind = kind::constant, .rate = 2, .warm_up = 4};
  CHECK(close(constant(1), 0.5));
  CHECK(close(constant(4), 2));
  CHECK(close(constant(999), 2));
  CHECK_THROWS_WITH(train::validate(train::schedule{.kind = kind::linear, .warm_up = 5, .steps = 5}),
                    ContainsSubstring("steps = 5"));
  CHECK_THROWS_AS(train::validate(train::schedule{.rate = -1}), sy::invalid_argument);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "checkpoint_support.hpp"
#include "thread_ranks.hpp"
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// Files that are not what they were: every bit, every length, and what people put in their place.

using namespace checkpoints;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using switchyard::file_error;
using switchyard::self;

namespace {

/// A small checkpoint of two ranks, so that it has whole tensors and parts.
class small_checkpoint {
 public:
  small_checkpoint() {
    const std::string thrown = thread_ranks::run_alike(
        2, [&](const auto& comm) { save(comm, here_.path(), 4, tensors_, cut::rows, {.block_bytes = 8}); });
    if (!thrown.empty()) throw std::runtime_error(thrown);
  }
  fs::path path() const { return here_ / "step_00000004"; }
  const fs::path& folder_path() const { return here_.path(); }

  /// What a load of it throws, "" where it loads what was saved.
  std::string load_it() const {
    try {
      require_step(self(), path(), 4, tensors_, cut::dealt);
      return "";
    } catch (const file_error& e) {
      return e.what();
    } // another exception, as that of other bytes, is a failure of the test
  }

 private:
  folder here_;
  std::vector<global_tensor> tensors_ = few();
};

void put_byte(const fs::path& path, std::size_t at, char byte) {
  const int file = ::open(path.c_str(), O_WRONLY);
  if (file < 0 || ::pwrite(file, &byte, 1, static_cast<off_t>(at)) != 1) throw std::runtime_error("pwrite");
  ::close(file);
}

} // namespace

TEST_CASE("every flipped bit of every file is found") {
  const small_checkpoint c;
  REQUIRE(c.load_it() == "");
  std::size_t bytes = 0, missed = 0;
  for (const std::string& name : names_in(c.path())) {
    const fs::path path = c.path() / name;
    const std::string good = load(path);
    for (std::size_t i = 0; i < good.size(); ++i, ++bytes) {
      for (int bit = 0; bit < 8; ++bit) {
        put_byte(path, i, static_cast<char>(good[i] ^ (1 << bit)));
        const std::string found = c.load_it();
        if (found.find(c.path().string()) != std::string::npos) continue; // an error that names the checkpoint
        UNSCOPED_INFO(name << ", byte " << i << ", bit " << bit << ": '" << found << "'");
        ++missed;
      }
      put_byte(path, i, good[i]);
    }
  }
  CHECK(missed == 0);
  CHECK(bytes > 1500);
  CHECK(c.load_it() == "");
}

TEST_CASE("every other length of every file is found, by a load and by newest_checkpoint") {
  const small_checkpoint c;
  std::size_t missed = 0;
  for (const std::string& name : names_in(c.path())) {
    const fs::path path = c.path() / name;
    const std::string good = load(path);
    for (std::size_t length = 0; length < good.size(); ++length) {
      REQUIRE(::truncate(path.c_str(), static_cast<off_t>(length)) == 0);
      if (c.load_it().empty()) ++missed;
      if (length % 16 == 0 && train::newest_checkpoint(c.folder_path())) ++missed;
      put_byte(path, length, good[length]); // grows by one
    }
    for (const std::string& more : {std::string("\n"), std::string(8, '\0'), good}) {
      store(path, good + more);
      if (c.load_it().empty() || train::newest_checkpoint(c.folder_path())) ++missed;
    }
    store(path, good);
  }
  CHECK(missed == 0);
  CHECK(c.load_it() == "");
}

TEST_CASE("LATEST decides nothing") {
  const small_checkpoint c;
  for (const char* text : {"", "step_00000099\n", "../../etc/passwd\n", "\xff"}) {
    store(c.folder_path() / "LATEST", text);
    CHECK(train::newest_checkpoint(c.folder_path()) == c.path());
  }
}

TEST_CASE("what stands in the place of a file is called what it is") {
  const small_checkpoint c;
  const fs::path shard = c.path() / "shard-00001-of-00002.safetensors";
  const std::string good = load(shard), marker = load(c.path() / "COMPLETE"), json = load(c.path() / "checkpoint.json");
  const auto says = [&](const std::string& part) {
    const std::string text = c.load_it();
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
    CHECK(text.find(c.path().string()) != std::string::npos);
    CHECK(text.find(';') != std::string::npos); // and what to do
    CHECK(train::newest_checkpoint(c.folder_path()) == std::nullopt);
  };
  store(shard, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n");
  says("it is a Git LFS pointer, not the data; run `git lfs pull`");
  store(shard, "\x80\x02}q\x01.");
  says("Python pickle");
  fs::remove(shard);
  says("the file is missing");
  fs::create_directory(shard);
  says("not a regular file");
  fs::remove(shard);
  REQUIRE(::mkfifo(shard.c_str(), 0600) == 0); // must not block
  says("not a regular file");
  fs::remove(shard);
  const folder elsewhere;
  store(elsewhere / "data", good);
  fs::create_symlink(elsewhere / "data", shard); // of the right bytes
  says("it is a symbolic link, which may lead out of the folder");
  fs::remove(shard);
  store(shard, good);
  CHECK(c.load_it() == "");

  // Files of another checkpoint of the same tensors and size.
  const small_checkpoint other;
  std::string changed = load(other.path() / "shard-00001-of-00002.safetensors");
  changed.back() = static_cast<char>(~changed.back());
  store(shard, changed);
  CHECK(c.load_it().find("have another checksum than what was saved") != std::string::npos);
  store(shard, load(c.path() / "shard-00000-of-00002.safetensors") + std::string(64, '\0'));
  CHECK(c.load_it() != "");
  store(shard, good);

  fs::remove(c.path() / "checkpoint.json");
  says("the file is missing");
  store(c.path() / "checkpoint.json", json);
  fs::remove(c.path() / "COMPLETE");
  says("COMPLETE is missing: the save was interrupted");
  store(c.path() / "COMPLETE", "switchyard-checkpoint 1 xxh64 0000000000000000\n");
  says("do not belong together");

  // A manifest that was edited and signed again is still held to its promises.
  const auto edit = [&](const std::string& from, const std::string& to, const std::string& part) {
    std::string text = json;
    REQUIRE(text.find(from) != std::string::npos);
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
    store(c.path() / "checkpoint.json", text);
    store(c.path() / "COMPLETE", train::detail::marker_text(text));
    const std::string found = c.load_it();
    INFO(found);
    CHECK(found.find(part) != std::string::npos);
  };
  edit("\"version\":1", "\"version\":2", "this library reads version 1; use the library that wrote it");
  edit("shard-00001-of-00002.safetensors", "../../../../etc/passwd", "leads out of the folder");
  edit("shard-00001-of-00002.safetensors", "/etc/passwd", "leads out of the folder");
  edit("\"b@0\"", "\"b@9\"", "\"b@9\" is not BF16 of shape [2] in it");
  edit("\"key\":\"w@0_0\"", "\"key\":\"w@1_0\"", "is not F32 of shape [1,4] in it");
  edit("\"BF16\"", "\"I16\"", "is I16 [5] in the checkpoint, BF16 [5] is wanted");
  store(c.path() / "checkpoint.json", json);
  store(c.path() / "COMPLETE", marker);
  CHECK(c.load_it() == "");
}

TEST_CASE("a path that is no checkpoint is called what it is") {
  const small_checkpoint c;
  const auto says = [&](const fs::path& path, const std::string& part) {
    CHECK_THROWS_MATCHES(train::load_checkpoint(self(), path, {}), file_error, MessageMatches(ContainsSubstring(part)));
    CHECK_THROWS_MATCHES(train::describe_checkpoint(path), file_error, MessageMatches(ContainsSubstring(part)));
    CHECK_THROWS_MATCHES(train::verify_checkpoint(path), file_error, MessageMatches(ContainsSubstring(part)));
  };
  says(c.folder_path(), "it is a folder of checkpoints; give one of them");
  says(c.path() / "nothing", "there is no such folder");
  says(c.path() / "COMPLETE", "it is a file, not the folder of a checkpoint");
  const folder here;
  says(here.path(), "no COMPLETE and no checkpoint.json");
  store(here / "pytorch_model.bin", "PK\x03\x04____________");
  says(here / "pytorch_model.bin", "likely a PyTorch checkpoint; convert it to safetensors");
  fs::create_directory_symlink(c.path(), here / "linked"); // the user may name the folder as he likes
  CHECK_NOTHROW(train::verify_checkpoint(here / "linked"));
}

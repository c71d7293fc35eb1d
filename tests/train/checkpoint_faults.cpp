// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "checkpoint_support.hpp"
#include "system_calls.hpp"
#include "thread_ranks.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <csignal>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// What happens when the system refuses, or the process ends: at every single call of a save, in every rank.

using namespace checkpoints;
using switchyard::self;
using system_calls::action;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Runs f in a child process. Its exit status: 0 where f returned true; 128 + n where signal n ended it; 3 where f
/// threw.
template <class F>
int in_child(const F& f) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 3;
    try {
      code = f() ? 0 : 1;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "in the child: %s\n", e.what());
    }
    ::_exit(code);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// A save of `step` in which the calls of one rank go as planned; returns what all ranks threw, and how many calls that
/// rank made.
std::string faulty_save(const fs::path& where, std::int64_t step, int ranks, int rank, const system_calls::plan& plan,
                        long* calls = nullptr) {
  return thread_ranks::run_alike(ranks, [&](const auto& comm) {
    if (comm.rank() == rank) system_calls::arm(plan);
    struct end {
      ~end() {
        const long made = system_calls::disarm();
        if (calls) *calls = made;
      }
      long* calls;
    } const at_end{comm.rank() == rank ? calls : nullptr};
    save(comm, where, step, few(), cut::rows, {.keep = 2, .block_bytes = 16});
  });
}

/// Throws where the newest checkpoint is not, to the byte, what was saved at its step; returns that step.
std::int64_t newest_step(const fs::path& where) {
  const auto path = train::newest_checkpoint(where);
  if (!path) throw std::runtime_error("no checkpoint");
  const std::int64_t step = train::describe_checkpoint(*path).step;
  require_step(self(), *path, step, few(), cut::columns);
  train::verify_checkpoint(*path);
  return step;
}

/// A folder with steps 1 and 2, of which a save of 3 removes the first.
struct two_steps : folder {
  two_steps() {
    for (const std::int64_t step : {1, 2}) save(self(), path(), step, few(), cut::dealt);
  }
};

} // namespace

TEST_CASE("killed before any call of a save, in any rank: the newest checkpoint is whole") {
  for (const int rank : {0, 1}) {
    bool old_seen = false, new_seen = false;
    for (long call = 0;; ++call) {
      const two_steps here;
      const int status = in_child([&] { return faulty_save(here.path(), 3, 2, rank, {action::kill, call}) == ""; });
      INFO("rank " << rank << ", call " << call);
      const std::int64_t step = newest_step(here.path());
      if (status == 0) { // there is no such call
        CHECK(step == 3);
        CHECK(call > (rank == 0 ? 20 : 2));
        break;
      }
      REQUIRE(status == 128 + SIGKILL);
      REQUIRE((step == 2 || step == 3));
      old_seen = old_seen || step == 2;
      new_seen = new_seen || step == 3;
      // What was left lying about does not hinder the next one.
      save(self(), here.path(), 4, few(), cut::dealt, {.keep = 2});
      REQUIRE(newest_step(here.path()) == 4);
    }
    CHECK(old_seen);
    CHECK(new_seen == (rank == 0)); // rank 1 has done its part before there is a new one
  }
}

TEST_CASE("killed while a step is replaced: the old one or the new one is there") {
  for (long call = 0;; ++call) {
    const two_steps here;
    const int status = in_child([&] {
      system_calls::arm({action::kill, call});
      save(self(), here.path(), 2, few(), cut::rows, {.replace = true});
      system_calls::disarm();
      return true;
    });
    REQUIRE(newest_step(here.path()) == 2); // exchanged at once
    if (status == 0) break;
    REQUIRE(status == 128 + SIGKILL);
  }
  // A file system that cannot exchange two names says EINVAL; then there are renames, one after the other.
  bool fell_back = false;
  for (long call = 0, calls = 1, usual = 0; call < calls; ++call) {
    const two_steps here;
    const auto replace = [&](const system_calls::plan& plan) {
      system_calls::arm(plan);
      try {
        save(self(), here.path(), 2, few(), cut::rows, {.replace = true});
      } catch (const switchyard::file_error&) {
      }
      return system_calls::disarm();
    };
    if (usual == 0) calls = usual = replace({});
    fell_back = replace({action::fail, call, EINVAL}) == usual + 3 || fell_back;
    REQUIRE(newest_step(here.path()) == 2);
  }
  CHECK(fell_back);
}

TEST_CASE("every call of a save fails once, in any rank: all are told, the older checkpoint stays, nothing is left") {
  for (const int code : {ENOSPC, EIO})
    for (const int rank : {0, 1}) {
      long calls = 0;
      {
        const two_steps here;
        REQUIRE(faulty_save(here.path(), 3, 2, rank, {}, &calls) == "");
      }
      REQUIRE(calls > (rank == 0 ? 20 : 2));
      int refused = 0, noted = 0;
      for (long call = 0; call < calls; ++call) {
        const two_steps here;
        const std::string text = faulty_save(here.path(), 3, 2, rank, {action::fail, call, code});
        INFO("rank " << rank << ", call " << call << ": " << text);
        const auto names = names_in(here.path());
        const bool is_new = std::ranges::count(names, "step_00000003") == 1;
        const std::int64_t step = newest_step(here.path());
        REQUIRE(step == (is_new ? 3 : 2));
        if (text.empty()) { // after the rename nothing but LATEST and the removal of step 1 is left to fail
          REQUIRE(is_new);
          ++noted;
          continue;
        }
        ++refused;
        REQUIRE(has(text, "switchyard: rank " + std::to_string(rank) + ": " + here.path().string()));
        REQUIRE(has(text, code == ENOSPC ? "No space left on device" : "Input/output error"));
        REQUIRE(has(text, "; "));
        if (is_new) continue; // the very last fsync
        REQUIRE(names == std::vector<std::string>{"LATEST", "step_00000001", "step_00000002"});
        save(self(), here.path(), 3, few(), cut::dealt); // and there is nothing in the way of the next
      }
      CHECK(refused >= (rank == 0 ? 15 : 3));
      CHECK((noted > 0) == (rank == 0));
    }
}

TEST_CASE("short and interrupted writes are continued") {
  const folder here;
  CHECK(faulty_save(here.path(), 1, 2, 1, {action::misbehave, 0}) == "");
  CHECK(faulty_save(here.path(), 2, 2, 0, {action::misbehave, 0}) == "");
  CHECK(newest_step(here.path()) == 2);
}

TEST_CASE("every call of a load fails once: an error on all ranks") {
  const two_steps here;
  const auto faulty_load = [&](int rank, const system_calls::plan& plan, long* calls) {
    return thread_ranks::run_alike(2, [&](const auto& comm) {
      if (comm.rank() == rank) system_calls::arm(plan);
      try {
        require_step(comm, here / "step_00000002", 2, few(), cut::rows);
      } catch (...) {
        system_calls::disarm();
        throw;
      }
      const long made = system_calls::disarm();
      if (comm.rank() == rank && calls) *calls = made;
    });
  };
  for (const int rank : {0, 1}) {
    long calls = 0;
    REQUIRE(faulty_load(rank, {}, &calls) == "");
    REQUIRE(calls > 0);
    for (long call = 0; call < calls; ++call) {
      const std::string text = faulty_load(rank, {action::fail, call, EIO}, nullptr);
      INFO("call " << call << ": " << text);
      CHECK(has(text, "rank " + std::to_string(rank) + ": " + here.path().string()));
      CHECK(has(text, "Input/output error"));
    }
  }
}

TEST_CASE("a limit on the size of files") {
  const two_steps here;
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100, 100};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text =
        thread_ranks::run_alike(2, [&](const auto& comm) { save(comm, here.path(), 3, few(), cut::rows); });
    return has(text, "cannot be written (write: File too large)");
  });
  CHECK(status == 0);
  CHECK(names_in(here.path()) == std::vector<std::string>{"LATEST", "step_00000001", "step_00000002"});
  CHECK(newest_step(here.path()) == 2);
}

TEST_CASE("a folder in which nothing can be made") {
  const folder here;
  store(here / "file", "");
  const std::string text =
      thread_ranks::run_alike(2, [&](const auto& comm) { save(comm, here / "file" / "run", 3, few(), cut::rows); });
  CHECK(has(text, "cannot be created"));
  CHECK(has(text, "Not a directory"));
}

TEST_CASE("a full disk and one that is read-only") { // a file system of 64 kB, where this machine lets one make it
  const folder here;
  const int status = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(77);
    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("none", here.path().c_str(), "tmpfs", 0, "size=64k") != 0) ::_exit(77);
    save(self(), here.path(), 1, few(), cut::dealt);
    const auto before = names_in(here.path());
    const std::vector<global_tensor> large = {{"x", io::dtype::f64, {64, 1024}}};
    const std::string full =
        thread_ranks::run_alike(3, [&](const auto& comm) { save(comm, here.path(), 2, large, cut::rows); });
    if (!has(
            full,
            "cannot be written (write: No space left on device); check the folder, its permissions and the free space"))
      return false;
    if (names_in(here.path()) != before || newest_step(here.path()) != 1) return false;
    save(self(), here.path(), 2, few(), cut::dealt); // there is room for a small one
    if (::mount("none", here.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) return false;
    const std::string refused =
        thread_ranks::run_alike(2, [&](const auto& comm) { save(comm, here.path(), 3, few(), cut::rows); });
    return has(refused, "cannot be created (mkdir: Read-only file system)") && newest_step(here.path()) == 2;
  });
  if (status == 77) SKIP("this machine lets nobody mount a file system");
  CHECK(status == 0);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "checkpoint_support.hpp"
#include "thread_ranks.hpp"
#include <Kokkos_Core.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <switchyard/io/safetensors.hpp>
#include <switchyard/train/background_save.hpp>
#include <switchyard/train/checkpoint_views.hpp>

// What is saved is loaded, on any number of ranks and cut in any way; what cannot be is refused on all ranks alike.

using namespace checkpoints;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using switchyard::file_error;
using switchyard::self;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> paths(const std::vector<fs::path>& all) {
  std::vector<std::string> names;
  for (const fs::path& path : all) names.push_back(path.filename().string());
  return names;
}

} // namespace

TEST_CASE("saved on 1 to 4 ranks in five cuts, loaded on 1 to 4 in five others, every dtype") {
  const auto tensors = every_kind();
  for (int from = 1; from <= 4; ++from)
    for (const cut how : every_cut) {
      const folder here;
      INFO("saved by " << from << " ranks, cut " << static_cast<int>(how));
      const std::int64_t step = 10 * from + static_cast<int>(how);
      // Blocks of 1 and 16 bytes cut rows anywhere; 4096 holds a tensor.
      const train::save_options options{.block_bytes = how == cut::rows ? 1u : how == cut::columns ? 16u : 4096u};
      REQUIRE(thread_ranks::run_alike(
                  from, [&](const auto& comm) { save(comm, here.path(), step, tensors, how, options); }) == "");
      const auto path = train::newest_checkpoint(here.path());
      REQUIRE(path == here / train::detail::step_name(step));
      for (int to = 1; to <= 4; ++to)
        for (const cut other : every_cut)
          REQUIRE(thread_ranks::run_alike(
                      to, [&](const auto& comm) { require_step(comm, *path, step, tensors, other); }) == "");
      train::verify_checkpoint(*path);
    }
}

TEST_CASE("a checkpoint of the same slices is the same bytes") {
  const folder a, b;
  for (const folder* here : {&a, &b})
    CHECK(thread_ranks::run_alike(3, [&](const auto& comm) { save(comm, here->path(), 5, every_kind(), cut::rows); }) ==
          "");
  const auto names = names_in(a / "step_00000005");
  CHECK(names == names_in(b / "step_00000005"));
  CHECK(names.size() == 6); // three files of data, the index, checkpoint.json, COMPLETE
  for (const std::string& name : names) CHECK(load(a / "step_00000005" / name) == load(b / "step_00000005" / name));
  CHECK(load(a / "LATEST") == "step_00000005\n");
  CHECK(names_in(a.path()) == std::vector<std::string>{"LATEST", "step_00000005"});
}

TEST_CASE("the checkpoint of one rank is a safetensors file that others read") {
  const folder here;
  const auto saved = save(self(), here.path(), 1200, few(), cut::dealt);
  CHECK(saved.path == here / "step_00001200");
  const auto file = io::read_safetensors(saved.path / "shard-00000-of-00001.safetensors");
  CHECK(file.names() == std::vector<std::string>{"b", "n", "w"});
  CHECK(file.tensor("w").shape == extents{3, 4});
  CHECK(file.metadata().at("format") == "pt");
  CHECK(saved.bytes == fs::file_size(saved.path / "shard-00000-of-00001.safetensors"));
  CHECK(load(saved.path / "model.safetensors.index.json") ==
        "{\"metadata\":{\"total_size\":66},\n\"weight_map\":{\n\"b\":\"shard-00000-of-00001.safetensors\",\n"
        "\"n\":\"shard-00000-of-00001.safetensors\",\n\"w\":\"shard-00000-of-00001.safetensors\"}}\n");
  const io::manifest m = train::describe_checkpoint(saved.path);
  CHECK(m.step == 1200);
  CHECK(m.state == state_of(1200));
  CHECK(m.library == "0.1.0");
  CHECK(m.tensors.size() == 3);
}

TEST_CASE("parts of tensors are loaded alone where extra is allowed, and only what is needed is read") {
  const folder here;
  CHECK(thread_ranks::run_alike(3, [&](const auto& comm) {
          save(comm, here.path(), 1, every_kind(), cut::rows, {.block_bytes = 8});
        }) == "");
  const fs::path path = here / "step_00000001";
  // Damage in the data of rank 2, the end of the file: rows 0 to 2 do not need them.
  const fs::path last = path / "shard-00002-of-00003.safetensors";
  std::string bytes = load(last);
  bytes.back() = static_cast<char>(~bytes.back());
  store(last, bytes);
  std::vector<double> rows(2 * 7);
  const auto slice = train::make_slice<double>("of.F64", {5, 7}, {1, 0}, {2, 7}, rows);
  const auto loaded = train::load_checkpoint(self(), path, {slice}, {.allow_extra = true});
  CHECK(loaded.step == 1);
  bool same = true;
  for (std::size_t i = 0; i < rows.size() * 8; ++i)
    same = same && std::as_bytes(std::span(rows))[i] == byte_of("of.F64", 1, 7 * 8 + i);
  CHECK(same);
  CHECK_THROWS_MATCHES(train::load_checkpoint(self(), path, {slice}), file_error,
                       MessageMatches(ContainsSubstring("wanted by no rank")));
  CHECK_THROWS_AS(train::verify_checkpoint(path), file_error);
}

TEST_CASE("keep removes older complete checkpoints and nothing else") {
  const folder here;
  const auto put = [&](std::int64_t step, std::int64_t keep) {
    return save(self(), here.path(), step, few(), cut::dealt, {.keep = keep});
  };
  for (const std::int64_t step : {1, 2, 3, 4}) CHECK(put(step, 0).removed.empty());
  fs::remove(here / "step_00000002" / "COMPLETE");                   // unfinished
  fs::create_directory(here / "step_00000003.tmp-0123456789abcdef"); // another's save
  fs::create_directory(here / "step_best");                          // not ours
  store(here / "step_00000001" / "notes.txt", "mine");
  store(here / "metrics.jsonl", "{}");
  CHECK(put(9, 0).removed.empty());
  auto saved = put(8, 2); // 9 is newer and does not count
  CHECK(paths(saved.removed) == std::vector<std::string>{"step_00000003"});
  REQUIRE(saved.notes.size() == 1);
  CHECK(has(saved.notes[0], "step_00000001 holds notes.txt, which is not part of it, and stays"));
  CHECK(names_in(here.path()) == std::vector<std::string>{"LATEST", "metrics.jsonl", "step_00000001", "step_00000002",
                                                          "step_00000003.tmp-0123456789abcdef", "step_00000004",
                                                          "step_00000008", "step_00000009", "step_best"});
  const auto found = train::list_checkpoints(here.path());
  REQUIRE(found.size() == 6);
  using enum train::checkpoint_status;
  const auto is = [&](std::size_t i, std::int64_t step, train::checkpoint_status status, const std::string& why) {
    INFO(i << ": " << found[i].why);
    CHECK(found[i].step == step);
    CHECK(found[i].status == status);
    CHECK(has(found[i].why, why));
  };
  is(0, 9, complete, "");
  is(1, 8, complete, "");
  is(2, 4, complete, "");
  is(3, 3, unfinished, "interrupted, or is under way");
  is(4, 2, unfinished, "COMPLETE is missing");
  is(5, 1, complete, "");
  CHECK(train::newest_checkpoint(here.path()) == here / "step_00000009");
  CHECK(train::newest_checkpoint(here / "nothing") == std::nullopt);
  CHECK(thread_ranks::run_alike(3, [&](const auto& comm) {
          if (train::newest_checkpoint(comm, here.path()) != here / "step_00000009")
            throw std::runtime_error("another");
          if (train::newest_checkpoint(comm, here / "nothing")) throw std::runtime_error("one");
        }) == "");
  fs::rename(here / "step_00000008", here / "step_00000088");
  CHECK(train::newest_checkpoint(here.path()) == here / "step_00000009");
  CHECK(has(train::list_checkpoints(here.path())[0].why, "it is the checkpoint of step 8; rename it back"));
}

TEST_CASE("a step that is there already is refused, or replaced where that is asked for") {
  const folder here;
  const auto put = [&](std::int64_t value, bool replace) {
    return thread_ranks::run_alike(2, [&](const auto& comm) {
      std::vector<std::int64_t> x = {value};
      train::save_checkpoint(comm, here.path(), 7, {train::make_slice<std::int64_t>("x", {1}, x, comm.rank() == 1)}, {},
                             {.replace = replace});
    });
  };
  const auto value = [&] {
    std::vector<std::int64_t> x = {0};
    train::load_checkpoint(self(), here / "step_00000007", {train::make_slice<std::int64_t>("x", {1}, x)});
    return x[0];
  };
  CHECK(put(1, true) == "");
  CHECK(has(put(2, false), "step_00000007: there is a checkpoint of this step already"));
  CHECK(value() == 1);
  CHECK(put(3, true) == "");
  CHECK(value() == 3);
  CHECK(names_in(here.path()) == std::vector<std::string>{"LATEST", "step_00000007"});
  // One that is damaged is replaced too, but stays beside: it may be all that somebody has.
  fs::resize_file(here / "step_00000007" / "checkpoint.json", 10);
  CHECK(train::newest_checkpoint(here.path()) == std::nullopt);
  CHECK(put(4, true) == "");
  CHECK(value() == 4);
  CHECK(names_in(here.path()).size() == 3);
}

TEST_CASE("two savers of one step: the first one's is whole, the other is told") {
  const folder here;
  std::vector<std::string> told;
  // Rank 0 and rank 1 are two jobs of one rank each. Both begin before one commits.
  const auto both = thread_ranks::run(2, [&](const auto& comm) {
    std::vector<std::int64_t> x = {comm.rank()};
    const std::vector<train::tensor_slice> slices = {train::make_slice<std::int64_t>("x", {1}, x)};
    train::detail::saving mine(self(), here.path(), 3, slices, {}, {});
    mine.write();
    switchyard::agree(comm, ""); // both have begun
    if (comm.rank() == 0) mine.commit();
    switchyard::agree(comm, ""); // one has finished
    if (comm.rank() == 1) mine.commit();
  });
  CHECK(both[0] == "");
  CHECK(has(both[1], "step_00000003: there is a checkpoint of this step already, perhaps of another job"));
  std::vector<std::int64_t> x = {5};
  train::load_checkpoint(self(), here / "step_00000003", {train::make_slice<std::int64_t>("x", {1}, x)});
  CHECK(x[0] == 0);
  CHECK(names_in(here.path()) == std::vector<std::string>{"LATEST", "step_00000003"});
}

TEST_CASE("arguments that make no sense are refused on every rank alike, and nothing is written") {
  const folder here;
  std::vector<float> x(12);
  const auto refused = [&](const std::string& part, const auto& slices_of, std::int64_t step = 1,
                           const io::state_map& state = {}, const train::save_options& options = {}) {
    const std::string text = thread_ranks::run_alike(2, [&](const auto& comm) {
      train::save_checkpoint(comm, here / "run", step, slices_of(comm.rank()), state, options);
    });
    INFO(text);
    CHECK(has(text, part));
    CHECK_FALSE(fs::exists(here / "run"));
  };
  using slices = std::vector<train::tensor_slice>;
  const auto rows = [&](std::int64_t first, std::int64_t n, bool owned = true) {
    return train::make_slice<float>("x", {4, 3}, {first, 0}, {n, 3},
                                    std::span(x).first(static_cast<std::size_t>(3 * n)), owned);
  };
  const auto good = [&](int r) { return slices{rows(2 * r, 2)}; };
  refused("step = -1", good, -1);
  refused("keep = -2", good, 1, {}, {.keep = -2});
  refused("block_bytes = 0", good, 1, {}, {.block_bytes = 0});
  refused("rank 1: tensor \"x\": offset [4,0] and extent [2,3] are no box of shape [4,3]",
          [&](int r) { return slices{rows(4 * r, 2)}; });
  refused("the elements from [3,0], extent [1,3], are owned by no rank",
          [&](int r) { return slices{rows(2 * r, 2 - r)}; });
  refused("the slices at [0,0] of rank 0 and at [1,0] of rank 1 have elements in common",
          [&](int r) { return slices{rows(r, 3)}; });
  refused("of rank 0 and at [0,0] of rank 1 have elements in common",
          [&](int) { return slices{rows(0, 4)}; }); // two owners
  refused("are owned by no rank", [&](int) { return slices{rows(0, 4, false)}; });
  refused("\"x\" is I32 [4,3] on rank 1, but F32 [4,3] on rank 0", [&](int r) {
    slices s = good(r);
    if (r == 1) s[0].type = io::dtype::i32;
    return s;
  });
  refused("\"x\" is F32 [5,3] on rank 1, but F32 [4,3] on rank 0", [&](int r) {
    slices s = good(r);
    if (r == 1) s[0].shape[0] = 5;
    return s;
  });
  refused("rank 1: tensor \"x\": 20 bytes given", [&](int r) {
    slices s = good(r);
    if (r == 1) s[0].bytes = s[0].bytes.first(20);
    return s;
  });
  refused("not have an '@'", [&](int) { return slices{train::make_slice<float>("a@b", {12}, x)}; });
  refused("must be UTF-8", [&](int) { return slices{train::make_slice<float>("\xff", {12}, x)}; });
  refused("more bytes than 2^63", [&](int) {
    return slices{{"x", io::dtype::f32, {std::int64_t{1} << 40, std::int64_t{1} << 40, 0}, {0, 0, 0}, {0, 0, 0}, {}}};
  });

  const auto disagree = [&](const std::string& part, const auto& call) {
    const std::string text = thread_ranks::run_alike(3, call);
    INFO(text);
    CHECK(has(text, part));
    CHECK_FALSE(fs::exists(here / "run"));
  };
  disagree("step = 1 on rank 1, but step = 0 on rank 0",
           [&](const auto& comm) { train::save_checkpoint(comm, here / "run", comm.rank(), {}, {}); });
  disagree("state: position = 1 on rank 1, but position = 0 on rank 0", [&](const auto& comm) {
    io::state_map state;
    state.set("a", 1);
    state.set("position", comm.rank());
    train::save_checkpoint(comm, here / "run", 1, {}, state);
  });
  disagree("folder = ", [&](const auto& comm) {
    train::save_checkpoint(comm, comm.rank() == 1 ? here / "run2" : here / "run", 1, {}, {});
  });
}

TEST_CASE("a name that safetensors reserves is found while writing: all ranks are told, and nothing stays") {
  const folder here;
  std::vector<float> x(12);
  const std::string text = thread_ranks::run_alike(3, [&](const auto& comm) {
    std::vector<train::tensor_slice> slices = {train::make_slice<float>("x" + std::to_string(comm.rank()), {12}, x)};
    if (comm.rank() == 2) slices[0].name = "__metadata__";
    train::save_checkpoint(comm, here.path(), 1, slices, {});
  });
  CHECK(has(text, "rank 2: tensor \"__metadata__\": the name is reserved"));
  CHECK(names_in(here.path()).empty());
}

TEST_CASE("a load wants what is there: names, dtypes, shapes, on every rank alike") {
  const folder here;
  const auto tensors = few();
  save(self(), here.path(), 1, tensors, cut::dealt);
  const fs::path path = here / "step_00000001";
  const auto refused = [&](const std::string& part, const std::vector<global_tensor>& wanted,
                           const train::load_options& options = {}) {
    const std::string text = thread_ranks::run_alike(3, [&](const auto& comm) {
      holding mine(comm.rank() == 1 ? wanted : tensors, comm.rank(), comm.size(), cut::replicated);
      train::load_checkpoint(comm, path, mine.slices(), options);
    });
    INFO(text);
    CHECK(has(text, part));
    CHECK(has(text, "checkpoint.json: tensor"));
  };
  refused("rank 1: " + (path / "checkpoint.json").string() + ": tensor \"v\" is not in the checkpoint, which has 3",
          {{"v", io::dtype::f32, {3, 4}}});
  refused("tensor \"w\" is F32 [3,4] in the checkpoint, BF16 [3,4] is wanted", {{"w", io::dtype::bf16, {3, 4}}});
  refused("tensor \"w\" is F32 [3,4] in the checkpoint, F32 [4,3] is wanted", {{"w", io::dtype::f32, {4, 3}}},
          {.allow_extra = true});

  const auto extra = [&](const std::vector<global_tensor>& wanted, const train::load_options& options) {
    return thread_ranks::run_alike(2, [&](const auto& comm) {
      holding mine(wanted, comm.rank(), comm.size(), cut::rows);
      train::load_checkpoint(comm, path, mine.slices(), options);
    });
  };
  CHECK(has(extra({tensors[0], tensors[1]}, {}), "tensor \"n\" is wanted by no rank"));
  CHECK(extra({tensors[0], tensors[1]}, {.allow_extra = true}) == "");
  CHECK(extra(tensors, {}) == "");

  // Some rank must want each element: ranks that both load the first half notice.
  const std::string half = thread_ranks::run_alike(2, [&](const auto& comm) {
    holding mine(tensors, 0, 2, cut::columns);
    train::load_checkpoint(comm, path, mine.slices());
  });
  CHECK(has(half, "tensor \"b\" of shape [5]: the elements from [2], extent [3], are wanted by no rank"));
  const std::string elsewhere = thread_ranks::run_alike(
      2, [&](const auto& comm) { train::load_checkpoint(comm, comm.rank() == 0 ? path : here.path(), {}); });
  CHECK(has(elsewhere, "path = "));
}

TEST_CASE("views are saved and loaded where they are, or by way of a mirror") {
  const folder here;
  using space = Kokkos::DefaultExecutionSpace::memory_space;
  const Kokkos::View<switchyard::bfloat16**, Kokkos::LayoutRight, space> w("w", 3, 5);
  const Kokkos::View<double*, space> v("v", 4);
  Kokkos::deep_copy(w, switchyard::bfloat16(1.5f));
  Kokkos::deep_copy(v, 0.1);
  train::views_to_save views;
  views.add("w", w);
  views.add("v", {8}, {4}, v);
  views.add("v", {8}, {0}, v);
  views.to_host();
  train::save_checkpoint(self(), here.path(), 1, views.slices(), {});
  Kokkos::deep_copy(w, switchyard::bfloat16(0.f));
  Kokkos::deep_copy(v, 0);
  train::load_checkpoint(self(), here / "step_00000001", views.slices());
  views.from_host();
  const auto host_w = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), w);
  const auto host_v = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), v);
  CHECK(static_cast<float>(host_w(2, 4)) == 1.5f);
  CHECK(static_cast<float>(host_w(0, 0)) == 1.5f);
  CHECK(host_v(3) == 0.1);
  CHECK_THROWS_AS(views.add("u", {8, 1}, {0, 0}, v), switchyard::invalid_argument);
}

TEST_CASE("a save in the background writes what was there when it began") {
  const folder here;
  const std::string thrown = thread_ranks::run_alike(3, [&](const auto& comm) {
    holding mine(few(), comm.rank(), comm.size(), cut::replicated);
    mine.fill(6);
    train::background_save save(comm, here.path(), 6, mine.slices(), state_of(6));
    mine.fill(7);
    if (train::newest_checkpoint(here.path())) throw std::runtime_error("a checkpoint before finish()");
    while (!save.ready()) std::this_thread::yield();
    if (save.finish().path != here / "step_00000006") throw std::runtime_error("another path");
  });
  CHECK(thrown == "");
  require_step(self(), here / "step_00000006", 6, few(), cut::dealt);

  // The folder is gone meanwhile: all are told when they finish.
  const std::string gone = thread_ranks::run_alike(2, [&](const auto& comm) {
    holding mine(few(), comm.rank(), comm.size(), cut::dealt);
    train::background_save save(comm, here / "gone", 1, mine.slices(), {});
    while (!save.ready()) std::this_thread::yield();
    switchyard::agree(comm, "");
    if (comm.rank() == 0) fs::remove_all(here / "gone");
    switchyard::agree(comm, "");
    save.finish();
  });
  INFO(gone);
  CHECK(has(gone, "the file is missing"));

  // Never finished: no checkpoint, and the folder of the save stays.
  {
    holding mine(few(), 0, 1, cut::dealt);
    const train::background_save save(self(), here / "dropped", 1, mine.slices(), {});
  }
  CHECK(train::newest_checkpoint(here / "dropped") == std::nullopt);
  CHECK(train::list_checkpoints(here / "dropped").size() == 1);
}

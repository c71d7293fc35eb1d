// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../train/checkpoint_support.hpp"
#include <catch2/catch_test_macros.hpp>
#include <switchyard/mpi.hpp>

// Checkpoints of real ranks: saved on the first 1, 2, ... of them and loaded on the first 1, 2, ..., in every cut.

using namespace checkpoints;
namespace sy = switchyard;

namespace {

bool everywhere(bool here) {
  int all = here ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

/// A folder that all ranks know, made and removed by rank 0.
class shared_folder {
 public:
  explicit shared_folder(const sy::communicator& comm) {
    if (comm.rank() == 0) here_ = std::make_unique<folder>();
    path_ = train::detail::tell(comm, here_ ? here_->path().string() : "");
  }
  const fs::path& path() const { return path_; }

 private:
  std::unique_ptr<folder> here_;
  fs::path path_;
};

/// what() of whatever f throws, "" where it throws nothing.
template <class F>
std::string thrown_by(const F& f) {
  try {
    f();
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

} // namespace

TEST_CASE("checkpoints of some ranks are loaded on others", "[mpi]") {
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const shared_folder here(world);
  const auto tensors = every_kind();
  std::vector<sy::communicator> first; // of 1, 2, ... ranks
  for (int n = 1; n <= world.size(); ++n) first.push_back(world.split(world.rank() < n ? 0 : 1));
  const auto of = [&](int n) { return first[static_cast<std::size_t>(n - 1)]; };
  std::int64_t step = 0;
  for (int from = 1; from <= world.size(); ++from)
    for (const cut how : every_cut) {
      ++step;
      const std::string saved = thrown_by([&] {
        if (world.rank() < from) save(of(from), here.path(), step, tensors, how, {.keep = 1, .block_bytes = 32});
      });
      INFO("saved by " << from << " ranks: " << saved);
      REQUIRE(everywhere(saved.empty()));
      for (int to = 1; to <= world.size(); ++to) {
        const std::string loaded = thrown_by([&] {
          if (world.rank() >= to) return;
          const auto path = train::newest_checkpoint(of(to), here.path());
          require_step(of(to), path.value(), step, tensors, every_cut[(step + to) % 5]);
        });
        INFO("loaded by " << to << ": " << loaded);
        REQUIRE(everywhere(loaded.empty()));
      }
    }
  const bool one_is_kept = world.rank() != 0 || names_in(here.path()).size() == 2; // it and LATEST
  CHECK(everywhere(one_is_kept));
}

TEST_CASE("an error of one rank is thrown by all", "[mpi]") {
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const shared_folder here(world);
  const int last = world.size() - 1;
  save(world, here.path(), 1, few(), cut::rows);
  const auto told = [&](const auto& f, const std::string& part) {
    const std::string text = thrown_by(f);
    INFO(text);
    CHECK(everywhere(text.find(part) != std::string::npos));
  };
  std::vector<float> x(3);
  told(
      [&] {
        auto slice = train::make_slice<float>("x", {3}, x, world.rank() == 0);
        if (world.rank() == last) slice.extent[0] = 4;
        train::save_checkpoint(world, here.path(), 2, {slice}, {});
      },
      "tensor \"x\": offset [0] and extent [4] are no box of shape [3]");
  told([&] { save(world, here.path(), 1, few(), cut::rows); }, "there is a checkpoint of this step already");
  const fs::path path = here.path() / "step_00000001";
  if (world.rank() == 0) {
    const fs::path shard =
        path / ("shard-0000" + std::to_string(last) + "-of-0000" + std::to_string(world.size()) + ".safetensors");
    std::string bytes = load(shard);
    bytes.back() = static_cast<char>(~bytes.back());
    store(shard, bytes);
  }
  sy::agree(world, "");
  told([&] { require_step(world, path, 1, few(), cut::rows); }, "have another checksum than what was saved");
  told([&] { require_step(world, here.path(), 1, few(), cut::rows); }, "it is a folder of checkpoints");
}

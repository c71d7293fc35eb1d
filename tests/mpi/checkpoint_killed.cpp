// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../train/checkpoint_support.hpp"
#include "../train/system_calls.hpp"
#include <chrono>
#include <csignal>
#include <cstdio>
#include <random>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mpi.hpp>
#include <thread>
#include <unistd.h>

// A job that saves and saves until a rank of it is killed, and the look at what it left: see checkpoint_killed.cmake.
//
//   checkpoint_killed FOLDER save RANK call N       before its N-th system call in a save
//   checkpoint_killed FOLDER save RANK exchange N   before its N-th collective
//   checkpoint_killed FOLDER save RANK after N      after N microseconds
//   checkpoint_killed FOLDER look                   the newest checkpoint is whole; prints its step

using namespace checkpoints;
namespace sy = switchyard;

namespace {

std::vector<global_tensor> tensors() {
  std::vector<global_tensor> all = few();
  all.push_back({"large", io::dtype::u8, {64, 4096}});
  return all;
}

int look(const fs::path& where) {
  const auto path = train::newest_checkpoint(where);
  if (!path) return std::puts("no checkpoint"), 1;
  const std::int64_t step = train::describe_checkpoint(*path).step;
  require_step(sy::self(), *path, step, tensors(), cut::columns);
  std::printf("whole: step %ld of %zu folders\n", static_cast<long>(step), train::list_checkpoints(where).size());
  return 0;
}

void save_until_killed(const fs::path& where, int rank, const std::string& how, long n) {
  auto world = sy::mpi(MPI_COMM_WORLD);
  const auto found = train::newest_checkpoint(world, where);
  std::int64_t step = found ? train::describe_checkpoint(*found).step : 0;
  save(world, where, ++step, tensors(), cut::rows, {.keep = 2}); // so that there is an older one
  if (how == "exchange") world = sy::faulting(world, {.rank = rank, .call = n, .what = sy::fault::action::kill});
  if (world.rank() == rank && how == "call") system_calls::arm({system_calls::action::kill, n});
  std::thread killer;
  if (world.rank() == rank && how == "after")
    killer = std::thread([n] {
      std::this_thread::sleep_for(std::chrono::microseconds(n));
      ::kill(::getpid(), SIGKILL);
    });
  for (int i = 0; i < 100000; ++i) save(world, where, ++step, tensors(), cut::rows, {.keep = 2});
  if (killer.joinable()) killer.join();
}

} // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  const fs::path where = arguments[1];
  try {
    if (arguments[2] == std::string("look")) return look(where);
    if (count < 6) return 2;
    MPI_Init(&count, &arguments);
    save_until_killed(where, std::atoi(arguments[3]), arguments[4], std::atol(arguments[5]));
    MPI_Finalize();
  } catch (const std::exception& e) {
    std::printf("FAILED: %s\n", e.what());
    return 1;
  }
  return 0;
}

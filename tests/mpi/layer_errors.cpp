// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "layer_on_mesh.hpp"

using namespace layer_test;

// What is wrong for one rank is an error of all, before anything is exchanged.

namespace {

using mesh_type = sy::mesh<sy::axis<data>, sy::axis<model>>;
using rules_type = sy::rules<group_rule, expert_rule, d_ff_rule>;
using layer = sy::switch_layer<Kokkos::DefaultExecutionSpace, sy::uniform<double>, mesh_type, rules_type>;

/// The message of the error that every rank throws; "" where one of them does not, or throws another one.
template <class Error, class Body>
std::string thrown(const Body& body) {
  std::string text;
  try {
    body();
  } catch (const Error& e) {
    text = e.what();
  }
  return everywhere(!text.empty()) ? text : "";
}
bool mentions(const std::string& text, const std::string& part) {
  return everywhere(text.find(part) != std::string::npos);
}

const sy::switch_config good{.d_model = 48, .d_ff = 96, .experts = 4};

} // namespace

TEST_CASE("a mesh that does not fit its communicator says so on every rank", "[errors]") {
  const int n = ranks();
  const auto text = thrown<sy::communicator_error>([&] { const mesh_type wrong(sy::mpi(MPI_COMM_WORLD), {n, 2}); });
  CHECK(mentions(text, "needs " + std::to_string(2 * n) + " ranks, communicator has " + std::to_string(n)));
  CHECK_THROWS_AS(sy::mpi(MPI_COMM_NULL), sy::communicator_error);
}

TEST_CASE("ranks that disagree", "[errors]") {
  const int n = ranks();
  if (n == 1) return;
  const auto world = sy::mpi(MPI_COMM_WORLD);
  const mesh_type mesh(world, {n, 1});
  const bool odd = world.rank() == n - 1;
  const auto with = [&](auto change) {
    sy::switch_config c = good;
    if (odd) change(c);
    return thrown<sy::disagreement>([&] { const layer made(mesh, c); });
  };
  const std::string last = " on rank " + std::to_string(n - 1);
  CHECK(mentions(with([](auto& c) { c.d_model = 64; }), "d_model = 64" + last + ", but d_model = 48 on rank 0"));
  CHECK(mentions(with([](auto& c) { c.d_model = 0; }), "d_model = 0" + last)); // wrong on one rank alone
  CHECK(mentions(with([](auto& c) { c.seed = 7; }), "seed = 7" + last));
  CHECK(mentions(with([](auto& c) { c.capacity_factor = 1.5; }), "capacity_factor = 1.5" + last));
  CHECK(mentions(with([](auto& c) { c.dropless = true; }), "dropless = true" + last));
  CHECK(mentions(with([](auto& c) { c.routing = sy::routing_policy::top_k; }), "routing = 1" + last));

  const layer agreed(mesh, good);
  const Kokkos::DefaultExecutionSpace exec;
  CHECK(mentions(thrown<sy::disagreement>([&] { (void)agreed.make_tape(exec, odd ? 3 : 2, 5); }), "groups = 3" + last));
  CHECK(mentions(thrown<sy::disagreement>([&] { (void)agreed.make_tape(exec, 2, odd ? 6 : 5); }), "tokens = 6" + last));
  CHECK(
      mentions(thrown<sy::disagreement>([&] { (void)agreed.init(exec, sy::seed{odd ? 1u : 2u}); }), "seed = 1" + last));
}

#ifndef __SANITIZE_ADDRESS__ // which ends the program where memory is refused
TEST_CASE("memory that one rank lacks for a tape", "[errors]") {
  const int n = ranks();
  const mesh_type mesh(sy::mpi(MPI_COMM_WORLD), {n, 1});
  sy::switch_config c = good;
  c.experts = 1 << 16;
  c.capacity_factor = 1e-9;
  c.min_capacity = 0;
  const layer made(mesh, c);
  const Kokkos::DefaultExecutionSpace exec;
  const auto text = thrown<sy::error>([&] { (void)made.make_tape(exec, 1, 1 << 30); }); // 2^46 logits on rank 0
  CHECK(mentions(text, "tokens = 1073741824: no memory for the tape"));
  if (n > 1) CHECK(mentions(text, "rank 0: groups = 1"));
  (void)made.make_tape(exec, 1, 8); // nobody is left in another call
}
#endif

TEST_CASE("a product of extents that leaves 64 bits", "[errors]") {
  const mesh_type mesh(sy::mpi(MPI_COMM_WORLD), {ranks(), 1});
  const layer made(mesh, good);
  const Kokkos::DefaultExecutionSpace exec;
  CHECK(mentions(thrown<sy::invalid_argument>([&] { (void)made.make_tape(exec, 1LL << 40, 1 << 30); }),
                 "more than 64 bits can address"));
}

TEST_CASE("what the mesh cannot cut", "[errors]") {
  const int n = ranks();
  const mesh_type mesh(sy::mpi(MPI_COMM_WORLD), {1, n});
  const auto with = [&](auto change) {
    sy::switch_config c = good;
    change(c);
    return thrown<sy::invalid_argument>([&] { const layer made(mesh, c); });
  };
  CHECK(mentions(with([](auto& c) { c.experts = 0; }), "experts = 0: must be at least 1"));
  if (n == 1) return;
  CHECK(mentions(with([](auto& c) { c.d_ff = 97; }), "d_ff = 97: cannot be split over axis model of size"));
  CHECK(mentions(with([](auto& c) { c.d_model = 49; }), "d_model = 49: cannot be split over axis model of size"));
}

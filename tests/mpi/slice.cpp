// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <random>
#include <switchyard/mpi.hpp>
#include <switchyard/switchyard.hpp>

// The seam between the layer of one process and the layer of a mesh: the same bytes from both.

namespace sy = switchyard;

namespace {

struct data : sy::name<"data"> {};
using mesh_type = sy::mesh<sy::axis<data>>;
using data_parallel = sy::rules<sy::split<sy::dims::group, data>>;
using expert_parallel = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, data>>;

/// True on every rank iff it is true on every rank: assertions are made together or not at all.
bool everywhere(bool here) {
  int all = here ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

template <class View>
void fill(const View& v, unsigned seed) {
  using T = typename View::value_type;
  std::mt19937 bits(seed);
  std::normal_distribution<double> normal;
  auto host = Kokkos::create_mirror_view(v);
  for (std::size_t i = 0; i < host.size(); ++i) host.data()[i] = T(normal(bits));
  Kokkos::deep_copy(v, host);
}

/// Rows [begin, begin + count) of the first dimension of `whole` are the bytes of `mine`.
template <class View>
bool same_bytes(const View& mine, const View& whole, sy::part where) {
  const auto a = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), mine);
  const auto b = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), whole);
  if (static_cast<std::int64_t>(a.extent(0)) != where.count) return false;
  if (a.size() == 0) return true;
  const std::size_t row = b.size() / b.extent(0);
  return std::memcmp(a.data(), b.data() + static_cast<std::size_t>(where.begin) * row,
                     a.size() * sizeof(typename View::value_type)) == 0;
}

template <class View>
double distance(const View& mine, const View& other) {
  const auto a = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), mine);
  const auto b = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), other);
  double worst = 0, size = 1e-300;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(double(a.data()[i]) - double(b.data()[i])));
    size = std::max(size, std::abs(double(b.data()[i])));
  }
  return worst / size;
}

template <class Precision, class Rules>
void compare(const sy::switch_config& config, std::int64_t groups, std::int64_t tokens) {
  using exec_type = Kokkos::DefaultExecutionSpace;
  using whole_layer = sy::switch_layer<exec_type, Precision>;
  using part_layer = sy::switch_layer<exec_type, Precision, mesh_type, Rules>;
  using T = typename whole_layer::value;
  const exec_type exec;
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);

  const whole_layer whole(config);
  const part_layer part(mesh_type(sy::mpi(MPI_COMM_WORLD), {ranks}), config);
  const auto here = part.groups_here(groups);
  const auto experts = part.experts_here();

  const auto g = static_cast<std::size_t>(groups), s = static_cast<std::size_t>(tokens);
  const auto m = static_cast<std::size_t>(config.d_model);
  using view = Kokkos::View<T***, Kokkos::LayoutRight, typename whole_layer::space>;
  view x("x", g, s, m), dy("dy", g, s, m), y("y", g, s, m), dx("dx", g, s, m);
  fill(x, 1);
  fill(dy, 2);
  const auto slice = [&](const view& from) {
    const auto h = static_cast<std::size_t>(here.count);
    view to("part", h, s, m);
    if (h > 0)
      Kokkos::deep_copy(
          to, Kokkos::subview(from,
                              Kokkos::pair<std::size_t, std::size_t>(static_cast<std::size_t>(here.begin),
                                                                     static_cast<std::size_t>(here.begin) + h),
                              Kokkos::ALL, Kokkos::ALL));
    return to;
  };
  const view xp = slice(x), dyp = slice(dy), yp = slice(y), dxp = slice(dx);

  const auto w = whole.init(exec, sy::seed{5});
  const auto wp = part.init(exec, sy::seed{5});
  CHECK(everywhere(same_bytes(wp.wi, w.wi, experts)));
  CHECK(everywhere(same_bytes(wp.wo, w.wo, experts)));

  const auto packed = whole.pack(exec, w);
  const auto packedp = part.pack(exec, wp);
  auto tape = whole.make_tape(exec, groups, tokens);
  auto tapep = part.make_tape(exec, groups, tokens);
  const auto grad = whole.zeros(exec);
  const auto gradp = part.zeros(exec);
  for (int step = 0; step < 2; ++step) { // the second one accumulates
    sy::forward_options<typename whole_layer::space> options;
    options.step = static_cast<std::uint32_t>(step);
    whole.forward(exec, packed, x, y, tape, options);
    part.forward(exec, packedp, xp, yp, tapep, options);
    whole.backward(exec, packed, dy, dx, tape, grad, {.accumulate = step > 0});
    part.backward(exec, packedp, dyp, dxp, tapep, gradp, {.accumulate = step > 0});
    exec.fence("test: results are read");

    CHECK(everywhere(same_bytes(yp, y, here)));
    CHECK(everywhere(same_bytes(dxp, dx, here)));
    const auto a = whole.summary(exec, tape), b = part.summary(exec, tapep);
    CHECK(everywhere(a.load_balance == b.load_balance && a.router_z == b.router_z && a.importance == b.importance &&
                     a.load == b.load && a.dropped_fraction == b.dropped_fraction && a.tokens == b.tokens));
    const double eps = std::is_same_v<T, double> ? 1e-14 : 1e-6;
    if constexpr (part_layer::layout::experts_split) { // an expert's rows meet on one rank, in the same order
      CHECK(everywhere(same_bytes(gradp.wi, grad.wi, experts)));
      CHECK(everywhere(same_bytes(gradp.wo, grad.wo, experts)));
      if (config.gated) CHECK(everywhere(same_bytes(gradp.wi_gate, grad.wi_gate, experts)));
    } else {
      CHECK(everywhere(distance(gradp.wi, grad.wi) < 100 * eps));
      CHECK(everywhere(distance(gradp.wo, grad.wo) < 100 * eps));
    }
    CHECK(everywhere(distance(gradp.router, grad.router) < 100 * eps)); // a sum over ranks: equal but for its order
  }
}

template <class Precision>
void compare_all(const sy::switch_config& config, std::int64_t groups, std::int64_t tokens) {
  compare<Precision, data_parallel>(config, groups, tokens);
  compare<Precision, expert_parallel>(config, groups, tokens);
}

} // namespace

TEMPLATE_TEST_CASE("a mesh computes what one process computes", "[mpi]", sy::uniform<double>,
                   sy::selective<sy::bfloat16>) {
  SECTION("top-1, experts and groups that do not divide") {
    compare_all<TestType>({.d_model = 24, .d_ff = 40, .experts = 5, .load_balance = 0.5, .jitter = 0.1}, 7, 33);
  }
  SECTION("fewer experts and groups than ranks") {
    compare_all<TestType>({.d_model = 8, .d_ff = 12, .experts = 1}, 1, 9);
  }
  SECTION("no tokens at all") {
    compare_all<TestType>({.d_model = 8, .d_ff = 12, .experts = 4}, 0, 9);
  }
  SECTION("top-2, gated, every loss, dropout") {
    sy::switch_config c{.d_model = 16, .d_ff = 24, .experts = 6, .routing = sy::routing_policy::top_k};
    c.activation = sy::activation_kind::silu;
    c.gated = true;
    c.expert_dropout = 0.3;
    c.router_z = 0.1;
    c.importance = 0.2;
    c.load = 0.3;
    compare_all<TestType>(c, 4, 40);
  }
  SECTION("expert choice") {
    compare_all<TestType>({.d_model = 16, .d_ff = 24, .experts = 3, .routing = sy::routing_policy::expert_choice}, 4,
                          21);
  }
}

TEST_CASE("a mesh that does not fit its communicator says so on every rank", "[mpi]") {
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  std::string text;
  try {
    const mesh_type wrong(sy::mpi(MPI_COMM_WORLD), {ranks + 1});
  } catch (const sy::communicator_error& e) {
    text = e.what();
  }
  CHECK_THROWS_AS(sy::mpi(MPI_COMM_NULL), sy::communicator_error);
  CHECK(everywhere(text.find("needs " + std::to_string(ranks + 1) + " ranks, communicator has " +
                             std::to_string(ranks)) != std::string::npos));
}

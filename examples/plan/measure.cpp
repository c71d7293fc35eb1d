// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "measure.hpp"
#include "show.hpp"
#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <switchyard/layer/dense_layer.hpp>
#include <switchyard/switchyard.hpp>
#if SWITCHYARD_HAS_MPI
#include <switchyard/mpi.hpp>
#endif

namespace plan {
namespace {

namespace sy = switchyard;
using exec_space = Kokkos::DefaultExecutionSpace;
using space = exec_space::memory_space;
using precision = sy::selective<sy::bfloat16>;
using number = std::int64_t;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Random numbers in [-1, 1): products of zeros are faster than others.
template <class View>
void fill(const View& view, std::uint64_t seed) {
  const auto host = Kokkos::create_mirror_view(view);
  std::uint64_t state = seed;
  for (std::size_t i = 0; i < view.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    host.data()[i] =
        typename View::value_type(static_cast<float>(state >> 40) / static_cast<float>(std::uint64_t{1} << 23) - 1);
  }
  Kokkos::deep_copy(view, host);
}

/// Everybody starts together, and the slowest counts: the median over `rounds`.
double median_seconds(const sy::communicator& world, int rounds, const std::function<void()>& call) {
  const auto slowest = [&](double mine) {
    std::vector<double> all(static_cast<std::size_t>(world.size()), 0.0);
    all[static_cast<std::size_t>(world.rank())] = mine;
    world.all_gather(all.data(), std::vector<number>(all.size(), 1), sizeof(double));
    return *std::max_element(all.begin(), all.end());
  };
  call();
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    slowest(0);
    const double start = now();
    call();
    seconds.push_back(slowest(now() - start));
  }
  std::nth_element(seconds.begin(), seconds.begin() + rounds / 2, seconds.end());
  return seconds[static_cast<std::size_t>(rounds / 2)];
}

double measure_products(const sy::communicator& world) {
  const number rows = 1024, m = 512, f = 2048;
  const exec_space exec;
  const sy::dense_layer<exec_space, precision> layer({.d_model = m, .d_ff = f});
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  auto tape = layer.make_tape(exec, rows);
  const auto gradients = layer.zeros(exec);
  using matrix = Kokkos::View<sy::bfloat16**, Kokkos::LayoutRight, space>;
  const matrix x("x", rows, m), y("y", rows, m);
  fill(x, 1);
  const double seconds = median_seconds(world, 15, [&] {
    layer.forward(exec, packed, x, y, tape);
    layer.backward(exec, packed, x, y, tape, gradients);
    exec.fence("plan: a measurement ends");
  });
  return 12.0 * static_cast<double>(rows) * static_cast<double>(m) * static_cast<double>(f) / seconds;
}

double measure_memory(const sy::communicator& world) {
  const std::size_t n = std::size_t{32} << 20; // 128 MiB
  const Kokkos::View<float*, space> from("from", n), to("to", n);
  fill(from, 2);
  const exec_space exec;
  const double seconds = median_seconds(world, 9, [&] {
    Kokkos::deep_copy(exec, to, from);
    exec.fence("plan: a measurement ends");
  });
  return 2.0 * sizeof(float) * static_cast<double>(n) / seconds;
}

/// Seconds of an all-to-all in which every rank sends `bytes` to each other one.
double measure_exchange(const sy::communicator& world, number bytes) {
  const auto ranks = static_cast<std::size_t>(world.size());
  const std::vector<number> counts(ranks, bytes);
  std::vector<char> from(ranks * static_cast<std::size_t>(bytes), 1), to(from.size());
  return median_seconds(world, 31, [&] { world.all_to_all(from.data(), counts, to.data(), counts, 1); });
}

struct data : sy::name<"data"> {};
using mesh = sy::mesh<sy::axis<data>>;
using rules = sy::rules<sy::split<sy::dims::group, data>, sy::split<sy::dims::experts, data>>;

} // namespace

struct session::state {
  std::optional<Kokkos::ScopeGuard> kokkos;
  std::optional<sy::communicator> world;
};

session::session() : state_(std::make_unique<state>()) {}
session::~session() {
  if (!state_->world) return;
  state_->kokkos.reset();
  state_->world.reset();
#if SWITCHYARD_HAS_MPI
  MPI_Finalize();
#endif
}

void session::start() {
#if SWITCHYARD_HAS_MPI
  MPI_Init(nullptr, nullptr);
  state_->world = sy::mpi(MPI_COMM_WORLD);
#else
  state_->world = sy::self();
#endif
  state_->kokkos.emplace(Kokkos::InitializationSettings().set_disable_warnings(true));
}

std::int64_t session::ranks() const {
  return state_->world->size();
}
bool session::speaks() const {
  return state_->world->rank() == 0;
}

machine session::calibrate() const {
  const sy::communicator& world = *state_->world;
  machine m;
  m.ranks = world.size();
  m.peak = measure_products(world);
  m.memory_bandwidth = measure_memory(world);
  if (world.size() == 1) return m;
  // bytes / bandwidth + latency, through two points
  const double peers = static_cast<double>(world.size() - 1);
  const number large = 4 << 20;
  const double alone = measure_exchange(world, 8), loaded = measure_exchange(world, large);
  m.latency.fill(alone / peers);
  m.bandwidth.fill(peers * static_cast<double>(large) / std::max(loaded - alone, 1e-9));
  return m;
}

void session::check(const machine& m, std::ostream& out) const {
  const sy::communicator& world = *state_->world;
  task t;
  t.model = {.d_model = 512, .d_ff = 2048, .heads = 8, .encoder_layers = 2, .decoder_layers = 1};
  t.model.routing.experts = 8;
  t.batch = 4 * world.size();
  t.source_length = 512;
  t.groups = t.batch;
  const estimate predicted =
      evaluate_layer(t, m, {world.size() > 1 ? layout::expert_data : layout::data, 1, world.size(), 1});
  if (!predicted.illegal.empty()) throw sy::error("--check: " + predicted.illegal);

  const exec_space exec;
  const sy::switch_layer<exec_space, precision, mesh, rules> layer(mesh(world, {world.size()}),
                                                                   t.model.switch_layers());
  const auto packed = layer.pack(exec, layer.init(exec, sy::seed{1}));
  auto tape = layer.make_tape(exec, t.groups, t.source_length);
  const auto gradients = layer.zeros(exec);
  const Kokkos::View<sy::bfloat16***, Kokkos::LayoutRight, space> x(
      "x", static_cast<std::size_t>(layer.groups_here(t.groups).count), static_cast<std::size_t>(t.source_length),
      static_cast<std::size_t>(t.model.d_model)),
      y("y", x.extent(0), x.extent(1), x.extent(2));
  fill(x, 3 + static_cast<std::uint64_t>(world.rank()));
  const double seconds = median_seconds(world, 15, [&] {
    layer.forward(exec, packed, x, y, tape);
    layer.backward(exec, packed, x, y, tape, gradients);
    exec.fence("plan: a measurement ends");
  });
  std::int64_t sent = 0;
  const auto traffic = layer.traffic(tape);
  for (const auto& pass : {traffic.forward, traffic.backward}) sent += traffic.total(pass);
  std::int64_t expected = 0;
  for (const auto& s : predicted.traffic) expected += s.bytes;
  if (sent != expected) // the same on every rank: all compare rank 0's prediction with their own bytes
    throw sy::error("--check: predicted " + std::to_string(expected) + " bytes, the layer sends " +
                    std::to_string(sent));
  if (!speaks()) return;
  const double links = predicted.communication[0], whole = predicted.compute + links;
  out << "a Switch layer, " << t.model.routing.experts << " experts of 512 x 2048 over " << world.size() << " ranks, "
      << t.batch * t.source_length << " tokens, forward and backward\n"
      << "sends     predicted " << expected << " bytes, layer " << sent << " bytes (rank 0)\n"
      << "time      predicted " << seconds_text(whole) << " (products " << seconds_text(predicted.compute) << ", links "
      << seconds_text(links) << "), measured " << seconds_text(seconds) << ", ratio " << seconds / whole << '\n';
}

std::string options_text(const machine& m, bool links) {
  char line[256];
  int n =
      std::snprintf(line, sizeof line, "--peak %.4g --memory-bandwidth %.4g", m.peak / 1e12, m.memory_bandwidth / 1e9);
  if (links)
    std::snprintf(line + n, sizeof line - static_cast<std::size_t>(n), " --bandwidth %.4g %.4g --latency %.4g %.4g",
                  m.bandwidth[0] / 1e9, m.bandwidth[1] / 1e9, m.latency[0] * 1e6, m.latency[1] * 1e6);
  return line;
}

} // namespace plan

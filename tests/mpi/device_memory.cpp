// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/mesh/mesh.hpp>
#include <switchyard/mesh/staged.hpp>

// In this file all views pass for views on a device, though the host reads them: what transports are told of them, and
// what mesh/nccl.hpp makes of it over a pretended CUDA and NCCL. That is no test of either.
template <>
inline constexpr switchyard::buffer_memory switchyard::buffer_memory_of<Kokkos::DefaultExecutionSpace::memory_space> =
    switchyard::buffer_memory::device;

#include "together.hpp"
#include <catch2/catch_test_macros.hpp>
#include <switchyard/dispatch/columns.hpp>
#include <switchyard/mesh/checking.hpp>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mesh/nccl.hpp>
#include <switchyard/mesh/phase.hpp>

namespace sy = switchyard;
using mpi_test::everywhere;

namespace {

using counts = std::vector<std::int64_t>;
using space = Kokkos::DefaultExecutionSpace::memory_space;
using view = Kokkos::View<float*, space>;
using row_view = sy::staged<view>;

Kokkos::DefaultExecutionSpace exec() {
  return {};
}
std::size_t at(int rank) {
  return static_cast<std::size_t>(rank);
}
bool same_on_all_ranks(const std::string& text) {
  const auto all = sy::detail::gather_text(sy::mpi(MPI_COMM_WORLD), text);
  return std::all_of(all.begin(), all.end(), [&](const std::string& other) { return other == all[0]; });
}
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const sy::error& e) {
    return e.what();
  }
  return "";
}

/// Takes device memory, if it `takes_devices`, and writes down what it is told, as text.
struct notes {
  std::string text;
  int on_device = 0, on_host = 0;
};
class noting_backend final : public sy::detail::forwarding_backend {
 public:
  noting_backend(std::shared_ptr<sy::communicator_backend> inner, notes& to, bool takes_devices)
      : forwarding_backend(std::move(inner)), to_(to), takes_devices_(takes_devices) {}
  bool takes(sy::buffer_memory where) const override { return where == sy::buffer_memory::host || takes_devices_; }
  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<noting_backend>(inner().split(color, name), to_, takes_devices_);
  }
  void all_to_all(const sy::all_to_all_call& call) override {
    note("all_to_all", call.memory);
    inner().all_to_all(call);
  }
  std::unique_ptr<sy::exchange_in_flight> start(const sy::all_to_all_call& call) override {
    note("start", call.memory);
    return inner().start(call);
  }
  void all_gather(const sy::all_gather_call& call) override {
    note("all_gather", call.memory);
    inner().all_gather(call);
  }

 private:
  void note(const char* what, sy::buffer_memory memory) {
    const bool device = memory == sy::buffer_memory::device;
    ++(device ? to_.on_device : to_.on_host);
    to_.text += std::string(what) + (device ? " device\n" : " host\n");
  }
  notes& to_;
  bool takes_devices_;
};
sy::communicator noting(const sy::communicator& comm, notes& to, bool takes_devices) {
  return sy::communicator(std::make_shared<noting_backend>(comm.backend(), to, takes_devices));
}

float number(int from, int to, std::int64_t i) {
  return static_cast<float>(1000 * from + 100 * to + i);
}
/// Rows from one to another: the last rank has none at all, where there are others.
std::int64_t rows(int ranks, int from, int to) {
  if (ranks > 1 && (from == ranks - 1 || to == ranks - 1)) return 0;
  return (1 + from + 2 * to) % 3;
}

/// Every kind of exchange once. What arrives is right.
bool exchanges(const sy::communicator& comm) {
  const int p = comm.size(), me = comm.rank();
  bool right = true;
  for (const bool started : {false, true}) { // rows of two, from the end of the buffer to its beginning
    sy::some_rows out{counts(at(p)), counts(at(p))}, in = out;
    std::int64_t leaving = 0, arriving = 0;
    for (int r = p; r-- > 0;) {
      out.counts[at(r)] = rows(p, me, r), in.counts[at(r)] = rows(p, r, me);
      out.begins[at(r)] = leaving, in.begins[at(r)] = arriving;
      leaving += out.counts[at(r)], arriving += in.counts[at(r)];
    }
    const row_view send(view("send", static_cast<std::size_t>(2 * leaving)), comm);
    const row_view receive(view("receive", static_cast<std::size_t>(2 * arriving)), comm);
    for (int r = 0; r < p; ++r)
      for (std::int64_t i = 0; i < 2 * out.counts[at(r)]; ++i)
        send.view()(2 * out.begins[at(r)] + i) = number(me, r, i);
    if (started) {
      auto handle = sy::start_all_to_all(exec(), comm, send, out, receive, in, 2);
      while (!handle.ready()) {
      }
      handle.wait(exec());
    } else {
      sy::all_to_all(exec(), comm, send, out, receive, in, 2);
    }
    exec().fence("test: rows are read");
    for (int r = 0; r < p; ++r)
      for (std::int64_t i = 0; i < 2 * in.counts[at(r)]; ++i)
        right = right && receive.view()(2 * in.begins[at(r)] + i) == number(r, me, i);
  }

  { // in rank order
    counts out, in;
    for (int r = 0; r < p; ++r) out.push_back(rows(p, me, r)), in.push_back(rows(p, r, me));
    const row_view send(view("send", static_cast<std::size_t>(sy::detail::sum_of(out))), comm);
    const row_view receive(view("receive", static_cast<std::size_t>(sy::detail::sum_of(in))), comm);
    std::int64_t next = 0;
    for (int r = 0; r < p; ++r)
      for (std::int64_t i = 0; i < out[at(r)]; ++i) send.view()(next++) = number(me, r, i);
    sy::all_to_all(exec(), comm, send, out, receive, in, 1);
    exec().fence("test: rows are read");
    next = 0;
    for (int r = 0; r < p; ++r)
      for (std::int64_t i = 0; i < in[at(r)]; ++i) right = right && receive.view()(next++) == number(r, me, i);
  }

  for (const bool started : {false, true}) { // the last rank, and only it where there are others, gives nothing
    counts each;
    for (int r = 0; r < p; ++r) each.push_back(p > 1 && r == p - 1 ? 0 : 2 + r);
    const row_view all(view("all", static_cast<std::size_t>(sy::detail::sum_of(each))), comm);
    const std::int64_t first = sy::detail::first_unit(each, nullptr, me);
    for (std::int64_t i = 0; i < each[at(me)]; ++i) all.view()(first + i) = number(me, 0, i);
    if (started)
      sy::start_all_gather(exec(), comm, all, each, 1).wait(exec());
    else
      sy::all_gather(exec(), comm, all, each, 1);
    exec().fence("test: rows are read");
    std::int64_t next = 0;
    for (int r = 0; r < p; ++r)
      for (std::int64_t i = 0; i < each[at(r)]; ++i) right = right && all.view()(next++) == number(r, 0, i);
  }

  const row_view sum(view("sum", 2), comm), scratch(view("scratch", at(2 + p)), comm); // fewer numbers than ranks
  sum.view()(0) = 1, sum.view()(1) = static_cast<float>(me);
  sy::all_reduce_sum(exec(), comm, sum, scratch);
  exec().fence("test: sums are read");
  return right && sum.view()(0) == static_cast<float>(p) && sum.view()(1) == static_cast<float>(p * (p - 1) / 2);
}
constexpr int exchange_calls = 7;

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

} // namespace

TEST_CASE("a transport is told where buffers lie, the same on all ranks, also on those without rows", "[mpi]") {
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  const int p = plain.size(), me = plain.rank();
  for (const bool takes : {true, false}) {
    notes told;
    const auto below = noting(plain, told, takes);
    sy::traffic sent;
    const auto watched = [&](const sy::communicator& comm, bool devices) {
      INFO("takes devices: " << takes);
      told = {};
      CHECK(everywhere(comm.takes(sy::buffer_memory::device) == devices));
      CHECK(everywhere(exchanges(comm)));
      CHECK(everywhere(same_on_all_ranks(told.text)));
      CHECK(everywhere(told.on_device == (devices ? exchange_calls : 0)));
      CHECK(everywhere(devices || told.on_host >= exchange_calls));
    };
    watched(below, takes);
    watched(sy::counting(below, sent), takes);
    watched(sy::checking(below), takes);
    watched(sy::faulting(below, {.rank = 0, .phase = "never"}), takes);
    watched(sy::on_failure(below, [](const sy::failure&) {}), takes);
    watched(sy::two_level(below, me), takes);               // a node for each
    watched(sy::two_level(below, me / 2), takes && p <= 2); // porters are on the host
    watched(sy::counting(sy::checking(sy::two_level(below, me / 2)), sent), takes && p <= 2);
  }
  // What lies on a device never goes by way of porters.
  notes told;
  const auto levels = sy::two_level(noting(plain, told, true), me / 2);
  counts one(at(p), 1);
  std::vector<int> out(at(p), me), in(at(p), -1);
  told = {};
  levels.all_to_all({sy::collective::all_to_all, out.data(), one, in.data(), one, sizeof(int), nullptr, nullptr,
                     sy::buffer_memory::device});
  CHECK(everywhere(told.text == "all_to_all device\n" && in[at(p - 1)] == p - 1));
}

TEST_CASE("ranks that say different things of their buffers are all told which", "[mpi]") {
  const auto comm = sy::checking(sy::mpi(MPI_COMM_WORLD));
  const int p = comm.size(), me = comm.rank();
  if (p == 1) return;
  const auto memory = me == p - 1 ? sy::buffer_memory::device : sy::buffer_memory::host;
  const counts one(at(p), 1);
  std::vector<int> out(at(p)), in(at(p));
  const std::string gather = error_of([&] {
    comm.all_gather({sy::collective::all_gather, in.data(), one, sizeof(int), memory});
  });
  const std::string exchange = error_of([&] {
    comm.all_to_all(
        {sy::collective::all_to_all, out.data(), one, in.data(), one, sizeof(int), nullptr, nullptr, memory});
  });
  for (const std::string& text : {gather, exchange})
    CHECK(everywhere(text.find("rank " + std::to_string(p - 1)) != std::string::npos &&
                     text.find("bytes in device memory on 'world'") != std::string::npos));
}

TEST_CASE("columns without rows are exchanged as all others are", "[mpi]") {
  for (const bool takes : {true, false}) {
    notes told;
    const auto comm = noting(sy::mpi(MPI_COMM_WORLD), told, takes);
    sy::dispatch::columns<float, space> some(comm, 2 * comm.size());
    const Kokkos::View<float**, Kokkos::LayoutRight, space> whole("whole", 0, at(2 * comm.size()));
    const std::string text = error_of([&] {
      some.reserve(0);
      if (!some.cut()) return;
      some.gather(exec(), 0, whole);
      some.scatter_sum(exec(), 0, whole);
    });
    CHECK(everywhere(text.empty()));
    CHECK(everywhere(told.on_device == (takes && comm.size() > 1 ? 2 : 0)));
  }
}

TEST_CASE("NCCL, pretended, moves what lies on devices, and the host's communicator all else", "[mpi]") {
  int p = 0, me = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &p);
  MPI_Comm_rank(MPI_COMM_WORLD, &me);
  pretend::here.gpu = 10 + me;
  const int streams = pretend::here.streams, events = pretend::here.events, made = pretend::nccl.made;
  {
    sy::traffic over_host, over_both;
    notes told;
    const auto host = sy::counting(noting(sy::mpi(MPI_COMM_WORLD), told, false), over_host);
    const auto comm = sy::counting(sy::nccl(host), over_both);
    CHECK(everywhere(comm.takes(sy::buffer_memory::device)));
    over_host.reset(), told = {};
    CHECK(everywhere(exchanges(comm)));
    CHECK(everywhere(told.text.empty() && over_host.bytes() == 0));
    CHECK(everywhere(pretend::here.last == cudaSuccess)); // a question too early is nobody's error

    // Axes are parts of the same NCCL communicator, and one that is under way does not disturb the other.
    const int columns = p % 2 == 0 ? 2 : 1;
    const sy::mesh<sy::axis<data>, sy::axis<model>> mesh(comm, {p / columns, columns});
    for (std::size_t a = 0; a < 2; ++a) CHECK(everywhere(exchanges(mesh.along(a))));
    const row_view send(view("send", at(p)), comm), late(view("late", at(p)), comm), soon(view("soon", at(p)), comm);
    for (int r = 0; r < p; ++r) send.view()(at(r)) = number(me, r, 0);
    const counts far(at(mesh.along(0).size()), 1), near(at(mesh.along(1).size()), 1);
    auto handle = sy::start_all_to_all(exec(), mesh.along(0), send, far, late, far, 1);
    sy::all_to_all(exec(), mesh.along(1), send, near, soon, near, 1);
    handle.wait(exec());
    bool right = true;
    for (int r = 0; r < mesh.along(0).size(); ++r)
      right = right && late.view()(at(r)) == number(r * columns + me % columns, me / columns, 0);
    for (int r = 0; r < columns; ++r)
      right = right && soon.view()(at(r)) == number(me / columns * columns + r, me % columns, 0);
    CHECK(everywhere(right));
    CHECK(everywhere(told.text.find("device") == std::string::npos));

    // What the host has goes its old way.
    told = {};
    sy::agree(comm, "");
    CHECK(everywhere(told.on_host == 2));
    CHECK(everywhere(exchanges(sy::checking(sy::two_level(comm, me / 2)))));
    CHECK(everywhere(pretend::nccl.made == made + (p > 1 ? 1 : 0)));
    CHECK(everywhere(exchanges(sy::nccl(sy::self())))); // one process needs none
  }
  CHECK(everywhere(pretend::here.streams == streams && pretend::here.events == events));
  // One rank that is wrong about what it sends itself.
  const auto comm = sy::nccl(sy::mpi(MPI_COMM_WORLD));
  counts out(at(p), 1), in(at(p), 1);
  in[at(me)] = 2;
  std::vector<int> memory(at(p + 1));
  const std::string text = error_of([&] {
    comm.all_to_all({sy::collective::all_to_all, memory.data(), out, memory.data(), in, sizeof(int), nullptr, nullptr,
                     sy::buffer_memory::device});
  });
  CHECK(everywhere(text.find("this rank sends itself 1 units") != std::string::npos));
}

TEST_CASE("errors of NCCL, pretended, end what waits for it", "[mpi]") {
  int p = 0, me = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &p);
  MPI_Comm_rank(MPI_COMM_WORLD, &me);
  if (p == 1) return;
  pretend::here.gpu = me == p - 1 ? 0 : me;
  const std::string twice = error_of([] { static_cast<void>(sy::nccl(sy::mpi(MPI_COMM_WORLD))); });
  CHECK(everywhere(twice.find("ranks 0 and " + std::to_string(p - 1) + " are on the same GPU") != std::string::npos));

  pretend::here.gpu = me;
  counts none(at(p), 0), one(at(p), 1);
  std::vector<int> memory(at(2 * p));
  const auto call = [&](const counts& n) {
    return sy::all_to_all_call{
        sy::collective::all_to_all, memory.data(), n, memory.data() + p, n, sizeof(int), nullptr, nullptr,
        sy::buffer_memory::device};
  };
  { // found while it is waited for; whatever comes next says the same at once
    const auto comm = sy::nccl(sy::mpi(MPI_COMM_WORLD));
    auto handle = comm.start_all_to_all(call(none));
    pretend::nccl.state = ncclRemoteError;
    const std::string waiting = error_of([&] { handle.wait(); });
    pretend::nccl.state = ncclSuccess;
    CHECK(everywhere(waiting == "switchyard: an exchange over NCCL failed: remote error; a cable is out"));
    CHECK(everywhere(error_of([&] { comm.all_to_all(call(one)); }) == waiting));
    CHECK(everywhere(error_of([&] { sy::agree(comm, ""); }).empty())); // by the host
  }
  { // found when a message is given to it: the group is closed
    const auto comm = sy::nccl(sy::mpi(MPI_COMM_WORLD));
    pretend::nccl.next_send = ncclSystemError;
    const std::string sending = error_of([&] { comm.all_to_all(call(one)); });
    CHECK(everywhere(sending == "switchyard: an exchange over NCCL failed: system error; a cable is out"));
    CHECK(everywhere(!pretend::nccl.open));
  }
  { // of CUDA
    const auto comm = sy::nccl(sy::mpi(MPI_COMM_WORLD));
    pretend::here.next_query = cudaErrorUnknown;
    const std::string asking = error_of([&] { comm.all_to_all(call(none)); });
    pretend::here.next_query = cudaSuccess;
    static_cast<void>(cudaGetLastError());
    CHECK(everywhere(asking == "switchyard: cudaEventQuery failed: a pretended error"));
  }
}

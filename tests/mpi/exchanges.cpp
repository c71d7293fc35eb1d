// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/tensor_oracle.hpp"
#include "together.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <switchyard/mesh/checking.hpp>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/mesh/reshard.hpp>

// How bytes travel changes nothing: staged or not, in one level or in two, at once or under way.

namespace sy = switchyard;
namespace dims = sy::dims;
using mpi_test::everywhere;

namespace {

using counts = std::vector<std::int64_t>;
using space = Kokkos::DefaultExecutionSpace::memory_space;
template <class T>
using vector = Kokkos::View<T*, space>;

Kokkos::DefaultExecutionSpace exec() {
  return {};
}
std::size_t at(int rank) {
  return static_cast<std::size_t>(rank);
}

/// What a transport is given, seen from below.
struct seen {
  std::int64_t messages = 0, bytes = 0; // to ranks that are not near
  std::vector<const void*> buffers;
  int on_device = 0; // calls
};
class watching_backend final : public sy::detail::forwarding_backend {
 public:
  watching_backend(std::shared_ptr<sy::communicator_backend> inner, seen& to, std::vector<bool> near)
      : forwarding_backend(std::move(inner)), to_(to), near_(std::move(near)) {}
  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return inner().split(color, name);
  }
  void all_to_all(const sy::all_to_all_call& call) override {
    note(call);
    inner().all_to_all(call);
  }
  std::unique_ptr<sy::exchange_in_flight> start(const sy::all_to_all_call& call) override {
    note(call);
    return inner().start(call);
  }
  void all_gather(const sy::all_gather_call& call) override {
    to_.buffers.push_back(call.data);
    to_.on_device += call.memory == sy::buffer_memory::device ? 1 : 0;
    inner().all_gather(call);
  }

 private:
  void note(const sy::all_to_all_call& call) {
    to_.buffers.push_back(call.send);
    to_.buffers.push_back(call.receive);
    to_.on_device += call.memory == sy::buffer_memory::device ? 1 : 0;
    for (std::size_t r = 0; r < near_.size(); ++r) {
      if (near_[r] || call.send_counts[r] == 0) continue;
      ++to_.messages;
      to_.bytes += call.send_counts[r] * static_cast<std::int64_t>(call.unit);
    }
  }
  seen& to_;
  std::vector<bool> near_;
};
sy::communicator watching(const sy::communicator& comm, seen& to, std::vector<bool> near = {}) {
  near.resize(at(comm.size()));
  return sy::communicator(std::make_shared<watching_backend>(comm.backend(), to, std::move(near)));
}

/// An exchange whose every byte says from where it comes, with rows that leave gaps, in falling order of ranks if
/// `scattered`. Rank s sends `of(s, r)` units to rank r.
template <class Of>
struct trial {
  trial(const sy::communicator& ranks, std::size_t bytes, bool scattered, const Of& of)
      : comm(ranks), unit(bytes), begins(scattered) {
    const auto fill = [&](counts& n, counts& begin, std::vector<unsigned char>& memory, bool sending) {
      for (int r = 0; r < comm.size(); ++r) n.push_back(sending ? of(comm.rank(), r) : of(r, comm.rank()));
      begin.resize(n.size());
      std::int64_t next = 0;
      for (std::size_t i = 0; i < n.size(); ++i) {
        const std::size_t r = begins ? n.size() - 1 - i : i;
        begin[r] = next;
        next += n[r] + (begins ? 2 : 0);
      }
      memory.assign(static_cast<std::size_t>(next) * unit, sending ? 0 : untouched);
    };
    fill(out, out_begins, send, true);
    fill(in, in_begins, receive, false);
    expected = receive;
    for (int r = 0; r < comm.size(); ++r) {
      write(send, out_begins[at(r)], out[at(r)], comm.rank(), r);
      write(expected, in_begins[at(r)], in[at(r)], r, comm.rank());
    }
  }
  sy::all_to_all_call call(sy::collective kind = sy::collective::all_to_all) const {
    return {kind,
            send.data(),
            out,
            const_cast<unsigned char*>(receive.data()),
            in,
            unit,
            begins ? &out_begins : nullptr,
            begins ? &in_begins : nullptr};
  }
  bool arrived() const { return receive == expected; }
  std::int64_t addressed() const {
    std::int64_t units = 0;
    for (int r = 0; r < comm.size(); ++r) units += r == comm.rank() ? 0 : out[at(r)];
    return units * static_cast<std::int64_t>(unit);
  }

  static constexpr unsigned char untouched = 251;
  sy::communicator comm;
  std::size_t unit;
  bool begins;
  counts out, in, out_begins, in_begins;
  std::vector<unsigned char> send, receive, expected;

 private:
  void write(std::vector<unsigned char>& to, std::int64_t begin, std::int64_t n, int from_rank, int to_rank) const {
    for (std::size_t i = 0; i < static_cast<std::size_t>(n) * unit; ++i)
      to[static_cast<std::size_t>(begin) * unit + i] =
          static_cast<unsigned char>((static_cast<std::size_t>(41 * from_rank + 7 * to_rank) + 3 * i) % 250);
  }
};
std::int64_t mostly_some(int from, int to) {
  return (from * 5 + to * 3) % 4;
}
std::int64_t at_least_one(int from, int to) {
  return 1 + (from + 2 * to) % 3;
}

/// Ways to lay p ranks over nodes.
std::vector<counts> machines(int p) {
  std::vector<counts> all(7);
  for (std::int64_t r = 0; r < p; ++r) {
    all[0].push_back(0);                         // one node
    all[1].push_back(r);                         // a node for each
    all[2].push_back(r / 2);                     // pairs
    all[3].push_back(r / 3);                     // threes
    all[4].push_back(r % 2);                     // two nodes, by turns
    all[5].push_back(r == p - 1 ? 77 : -5);      // one rank apart
    all[6].push_back(r < 1 ? 9 : r < 3 ? 4 : 1); // of 1, 2 and the rest
  }
  return all;
}

} // namespace

TEST_CASE("every communicator puts rows where the begins say", "[mpi]") {
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  sy::traffic sent;
  const std::vector<sy::communicator> all{
      sy::self(),
      plain,
      sy::mpi(MPI_COMM_WORLD, {.largest_message = 5, .buffers = sy::mpi_buffers::staged}),
      sy::counting(plain, sent),
      sy::checking(plain),
      sy::faulting(plain, {.rank = 0, .phase = "never"}),
      sy::on_failure(plain, [](const sy::failure&) {}),
      sy::two_level(plain, plain.rank() / 2)};
  for (std::size_t c = 0; c < all.size(); ++c)
    for (const bool scattered : {false, true}) {
      INFO("communicator " << c << ", scattered " << scattered);
      trial now(all[c], 3, scattered, mostly_some), later(all[c], 8, scattered, at_least_one);
      auto handle = all[c].start_all_to_all(later.call());
      all[c].all_to_all(now.call());
      handle.wait();
      CHECK(everywhere(now.arrived()));
      CHECK(everywhere(later.arrived()));
    }
}

TEST_CASE("two levels deliver what one does, with one message per pair of nodes", "[mpi]") {
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  const int p = plain.size();
  for (const counts& node_of : machines(p)) {
    INFO("nodes " << Catch::StringMaker<counts>::convert(node_of));
    std::vector<bool> near;
    for (const std::int64_t node : node_of) near.push_back(node == node_of[at(plain.rank())]);
    std::int64_t far_ranks = 0, nodes = 0;
    for (std::size_t r = 0; r < node_of.size(); ++r) {
      far_ranks += near[r] ? 0 : 1;
      nodes += std::find(node_of.begin(), node_of.begin() + static_cast<std::ptrdiff_t>(r), node_of[r]) ==
                       node_of.begin() + static_cast<std::ptrdiff_t>(r)
                   ? 1
                   : 0;
    }
    seen below;
    sy::traffic sent;
    const auto comm = sy::counting(sy::two_level(watching(plain, below, near), node_of[at(plain.rank())]), sent);
    for (const bool scattered : {false, true})
      for (const std::size_t unit : {std::size_t{1}, std::size_t{24}}) {
        trial some(comm, unit, scattered, mostly_some);
        comm.all_to_all(some.call());
        CHECK(everywhere(some.arrived()));

        below = {};
        sent.reset();
        trial each(comm, unit, scattered, at_least_one);
        comm.all_to_all(each.call());
        CHECK(everywhere(each.arrived()));
        CHECK(everywhere(sent.bytes() == each.addressed())); // as a plan says, whatever the levels do
        std::int64_t leaving = 0;                            // of this node to others
        for (int r = 0; r < p; ++r)
          if (!near[at(r)]) leaving += each.out[at(r)] * static_cast<std::int64_t>(unit);
        std::array<std::int64_t, 4> sums{below.messages, below.bytes, leaving, far_ranks};
        MPI_Allreduce(MPI_IN_PLACE, sums.data(), 4, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
        CHECK(everywhere(sums[0] == (nodes > 1 && nodes < p ? nodes * (nodes - 1) : sums[3])));
        CHECK(everywhere(sums[1] == sums[2]));

        below = {}; // sums, and what is started, go directly
        trial sum(comm, unit, scattered, at_least_one), started(comm, unit, scattered, at_least_one);
        comm.all_to_all(sum.call(sy::collective::reduce_scatter));
        comm.start_all_to_all(started.call()).wait();
        CHECK(everywhere(sum.arrived() && started.arrived() && below.messages == 2 * far_ranks));
      }
  }
}

struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

TEST_CASE("two levels of every axis of a mesh, over nodes that the user names or that share memory", "[mpi]") {
  const int p = mpi_test::ranks(), columns = p % 2 == 0 ? 2 : 1;
  const auto on_node = [](int rank) -> std::int64_t { return rank % 3 == 0 ? 1 : 2; };
  for (const auto& options :
       {sy::mpi_options{.two_level = true, .node_of = on_node}, sy::mpi_options{.two_level = true, .node_of = {}}}) {
    sy::traffic sent;
    const sy::mesh<sy::axis<data>, sy::axis<model>> mesh(sy::counting(sy::mpi(MPI_COMM_WORLD, options), sent),
                                                         {p / columns, columns});
    for (std::size_t axis = 0; axis < 2; ++axis) {
      trial each(mesh.along(axis), 4, true, at_least_one);
      sent.reset();
      mesh.along(axis).all_to_all(each.call());
      CHECK(everywhere(each.arrived()));
      CHECK(everywhere(sent.bytes(axis == 0 ? "data" : "model", sy::collective::all_to_all) == each.addressed()));
    }
  }
  // Seen from below, an axis has levels of its own.
  sy::traffic below;
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  const sy::mesh<sy::axis<data>, sy::axis<model>> line(sy::two_level(sy::counting(plain, below), on_node(plain.rank())),
                                                       {p, 1});
  below.reset();
  trial each(line.along(0), 4, false, at_least_one);
  line.along(0).all_to_all(each.call());
  std::int64_t far = 0;
  for (int r = 0; r < p; ++r) far += on_node(r) == on_node(plain.rank()) ? 0 : 4 * each.out[at(r)];
  std::array<std::int64_t, 3> sums{far, below.bytes("data", sy::collective::all_to_all),
                                   below.bytes("data, inside a node", sy::collective::all_to_all)};
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), 3, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  CHECK(everywhere(each.arrived() && sums[1] == sums[0] && (sums[2] > 0) == (p > 2)));

  const auto text = [&](const sy::mpi_options& o) -> std::string {
    try {
      static_cast<void>(sy::mpi(MPI_COMM_WORLD, o));
    } catch (const sy::disagreement& e) {
      return e.what();
    }
    return "";
  };
  int here = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &here);
  const auto refuses = [&](int rank) -> std::int64_t {
    if (rank == p - 1) throw std::runtime_error("no such host");
    return 0;
  };
  const std::string told = "rank " + std::to_string(p - 1) + ": node_of(" + std::to_string(p - 1) + "): no such host";
  CHECK(everywhere(text({.two_level = true, .node_of = refuses}).find(told) != std::string::npos));
  if (p > 1)
    CHECK(everywhere(text({.two_level = here == p - 1}).find("two_level = true on rank") != std::string::npos));
}

TEST_CASE("views that a communicator does not take are staged, what travels and nothing else", "[mpi]") {
  const auto p = static_cast<std::size_t>(mpi_test::ranks());
  for (const auto how : {sy::mpi_buffers::direct, sy::mpi_buffers::automatic, sy::mpi_buffers::staged}) {
    INFO("buffers " << static_cast<int>(how));
    seen below;
    sy::traffic sent;
    const auto comm = sy::counting(watching(sy::mpi(MPI_COMM_WORLD, {.buffers = how}), below), sent);
    const auto me = static_cast<std::size_t>(comm.rank());
    const bool staging =
        how == sy::mpi_buffers::staged ||
        (how == sy::mpi_buffers::automatic && sy::staged<vector<float>>::memory == sy::buffer_memory::device);
    const auto made = [&](std::size_t n, float first) {
      const sy::staged<vector<float>> v(vector<float>("v", n), comm);
      const auto host = Kokkos::create_mirror_view(v.view());
      for (std::size_t i = 0; i < n; ++i) host(i) = first + static_cast<float>(i);
      Kokkos::deep_copy(v.view(), host);
      if (staging) // what nobody wrote there must not come out
        for (std::size_t i = 0; i < n; ++i) v.wire()[i] = -7;
      return v;
    };
    const auto values = [&](const sy::staged<vector<float>>& v) {
      exec().fence("test: values are read");
      const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), v.view());
      return std::vector<float>(host.data(), host.data() + host.size());
    };
    const auto number = [](std::size_t rank, std::size_t i) {
      return 1000 * static_cast<float>(rank) + static_cast<float>(i);
    };
    const auto given = [&](std::initializer_list<sy::staged<vector<float>>> buffers) {
      bool right = true;
      for (const auto& b : buffers) {
        right = right && b.has_twin() == staging && (b.wire() == b.view().data()) == !staging;
        right = right && std::find(below.buffers.begin(), below.buffers.end(), b.wire()) != below.buffers.end();
        if (staging)
          right =
              right && std::find(below.buffers.begin(), below.buffers.end(), b.view().data()) == below.buffers.end();
      }
      below.buffers.clear();
      return right;
    };

    // Two rows of three numbers to each; five numbers more that stay.
    const auto send = made(6 * p + 5, number(me, 0)), receive = made(6 * p + 5, -1000);
    std::vector<float> expected = values(receive);
    for (std::size_t r = 0; r < p; ++r)
      for (std::size_t i = 0; i < 6; ++i) expected[6 * r + i] = number(r, 6 * me + i);
    sent.reset();
    sy::all_to_all(exec(), comm, send, counts(p, 2), receive, counts(p, 2), 3);
    CHECK(everywhere(values(receive) == expected));
    CHECK(everywhere(sent.bytes(sy::collective::all_to_all) == static_cast<std::int64_t>(24 * (p - 1))));
    CHECK(everywhere(given({send, receive})));

    // The second row alone, under way.
    const auto later = made(6 * p + 5, -1000);
    sy::some_rows second{counts(p, 1), {}};
    for (std::size_t r = 0; r < p; ++r) second.begins.push_back(static_cast<std::int64_t>(2 * r + 1));
    expected = values(later);
    for (std::size_t r = 0; r < p; ++r)
      for (std::size_t i = 3; i < 6; ++i) expected[6 * r + i] = number(r, 6 * me + i);
    auto handle = sy::start_all_to_all(exec(), comm, send, second, later, second, 3);
    handle.wait(exec());
    CHECK(everywhere(values(later) == expected));
    CHECK(everywhere(given({send, later})));

    // Gathered, at once and under way: rank r has r + 1 rows of two numbers.
    counts each;
    for (std::size_t r = 0; r < p; ++r) each.push_back(static_cast<std::int64_t>(r + 1));
    for (const bool at_once : {true, false}) {
      const auto all = made(p * (p + 1) + 5, number(me, 0));
      expected = values(all);
      for (std::size_t r = 0, next = 0; r < p; ++r)
        for (std::size_t i = 0; i < 2 * (r + 1); ++i, ++next) expected[next] = number(r, next);
      sent.reset();
      if (at_once)
        sy::all_gather(exec(), comm, all, each, 2);
      else
        sy::start_all_gather(exec(), comm, all, each, 2).wait(exec());
      CHECK(everywhere(values(all) == expected));
      CHECK(everywhere(sent.bytes(sy::collective::all_gather) == 8 * each[me] * static_cast<std::int64_t>(p - 1)));
      CHECK(everywhere(given({all})));
    }

    // Sums: small whole numbers, so that any order would do; orders are tested elsewhere.
    const std::size_t n = 4 * p + 1;
    const auto total = made(n, number(me, 0)), scratch = made(n + p, -1000);
    sy::all_reduce_sum(exec(), comm, total, scratch);
    std::vector<float> sums(n, 0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t r = 0; r < p; ++r) sums[i] += number(r, i);
    CHECK(everywhere(values(total) == sums));
    CHECK(everywhere(p == 1 || given({total, scratch})));
    below.buffers.clear();

    const auto terms = made(2 * p, number(me, 0)), room = made(2 * p, -1000);
    const vector<float> mine("mine", 2);
    sy::reduce_scatter_sum(exec(), comm, terms, counts(p, 2), room, mine);
    sums.assign(2, 0);
    for (std::size_t i = 0; i < 2; ++i)
      for (std::size_t r = 0; r < p; ++r) sums[i] += number(r, 2 * me + i);
    CHECK(everywhere(values(sy::staged<vector<float>>(mine)) == sums));
    CHECK(everywhere(given({terms, room})));
    CHECK(everywhere((below.on_device > 0) == (!staging && terms.memory == sy::buffer_memory::device)));
  }
}

TEST_CASE("the environment says what MPI is given, where the program does not", "[mpi]") {
  const int p = mpi_test::ranks();
  int here = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &here);
  const auto takes_host = [](const sy::mpi_options& o = {}) {
    return sy::mpi(MPI_COMM_WORLD, o).takes(sy::buffer_memory::host);
  };
  constexpr const char* variable = "SWITCHYARD_MPI_BUFFERS";
  const char* const before = std::getenv(variable);
  const std::string kept = before == nullptr ? "" : before;
  ::unsetenv(variable);
  CHECK(everywhere(takes_host()));
  ::setenv(variable, "staged", 1);
  CHECK(everywhere(!takes_host()));
  CHECK(everywhere(takes_host({.buffers = sy::mpi_buffers::direct})));
  ::setenv(variable, "direct", 1);
  CHECK(everywhere(takes_host() && sy::mpi(MPI_COMM_WORLD).takes(sy::buffer_memory::device)));
  ::setenv(variable, "automatic", 1);
  CHECK(everywhere(takes_host()));
  ::setenv(variable, here == p - 1 ? "pinned" : "staged", 1); // a mistake on one rank is told to all
  std::string text;
  try {
    static_cast<void>(takes_host());
  } catch (const sy::disagreement& e) {
    text = e.what();
  }
  CHECK(everywhere(text == "switchyard: rank " + std::to_string(p - 1) +
                               ": SWITCHYARD_MPI_BUFFERS = pinned: must be automatic, direct or staged"));
  if (kept.empty())
    ::unsetenv(variable);
  else
    ::setenv(variable, kept.c_str(), 1);
}

namespace {
struct columns : sy::name<"columns"> {};
using plane = sy::mesh<sy::axis<data>, sy::axis<model>>;
template <class A, class B>
using tensor = sy::tensor<double, plane, sy::dimensions<dims::group, dims::experts, columns>, sy::placements<A, B>>;

/// Two of them, waited for the other way round, beside the blocking one.
template <class From, class To>
void check_started(const plane& mesh, sy::traffic sent) {
  const std::map<char, std::int64_t> extents{{'g', 5}, {'e', 7}, {'c', 12}};
  const auto values = oracle::draw("gec", extents, 6), more = oracle::draw("gec", extents, 7);
  const auto bytes = sy::bytes_sent<From, To>({5, 7, 12}, mesh.extents(), mesh.coordinates());
  const auto placed = [&](const auto& whole) { return oracle::placed<From>(mesh, whole); };
  const auto flat = [](const auto& t) {
    exec().fence("test: values are read");
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), t.flat());
    return std::vector<double>(host.data(), host.data() + host.size());
  };
  auto x = placed(values), z = placed(more);
  const auto now = sy::reshard<To>(exec(), placed(values)), then = sy::reshard<To>(exec(), placed(more));
  sent.reset();
  auto first = sy::start_reshard<To>(exec(), std::move(x));
  auto second = sy::start_reshard<To>(exec(), std::move(z));
  Kokkos::deep_copy(x.flat(), -1.0); // it is free
  Kokkos::deep_copy(z.flat(), -1.0);
  const auto there = std::move(second).wait(exec());
  while (!first.ready()) {
  }
  const auto here = std::move(first).wait(exec());
  CHECK(everywhere(flat(here) == flat(now)));
  CHECK(everywhere(flat(there) == flat(then)));
  CHECK(everywhere(sent.bytes() == 2 * (bytes[0] + bytes[1])));
}
} // namespace

TEST_CASE("a started reshard gives what a reshard gives", "[mpi]") {
  using group = sy::S<dims::group>;
  using experts = sy::S<dims::experts>;
  using column = sy::S<columns>;
  const int p = mpi_test::ranks(), m = p % 2 == 0 ? 2 : 1;
  for (const auto how : {sy::mpi_buffers::automatic, sy::mpi_buffers::staged}) {
    sy::traffic sent;
    const plane mesh(sy::counting(sy::mpi(MPI_COMM_WORLD, {.buffers = how}), sent), {p / m, m});
    check_started<tensor<group, sy::R>, tensor<experts, sy::R>>(mesh, sent);  // all_to_all
    check_started<tensor<group, column>, tensor<experts, sy::R>>(mesh, sent); // and an all_gather behind it
    check_started<tensor<sy::R, sy::R>, tensor<experts, column>>(mesh, sent); // slices alone
    check_started<tensor<sy::P, sy::R>, tensor<group, column>>(mesh, sent);   // a slice, a reduce_scatter
    check_started<tensor<group, sy::P>, tensor<experts, sy::R>>(mesh, sent);  // all_to_all, all_reduce
    check_started<tensor<sy::R, group>, tensor<group, sy::R>>(mesh, sent);    // an all_gather, then a slice
    check_started<tensor<group, sy::R>, tensor<group, sy::R>>(mesh, sent);    // nothing
  }
}

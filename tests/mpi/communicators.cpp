// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <numeric>
#include <switchyard/mesh/checking.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/detail/forwarding.hpp>
#include <switchyard/mesh/faulting.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/mpi.hpp>

// Communicators: what arrives, what is counted, what is noticed.

namespace sy = switchyard;

namespace {

using counts = std::vector<std::int64_t>;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};

bool everywhere(bool here) {
  int all = here ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

/// The message of the Error that f throws, "" where it throws none.
template <class Error, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Rank s sends (s + r) % 4 units to rank r, each unit a number that says from where to where.
struct uneven {
  explicit uneven(const sy::communicator& ranks, std::int64_t scale = 1) : comm(ranks) {
    for (int r = 0; r < comm.size(); ++r) {
      out.push_back(scale * ((comm.rank() + r) % 4));
      for (std::int64_t i = 0; i < out.back(); ++i) send.push_back(number(comm.rank(), r, i));
    }
    in = out; // symmetric
    receive.assign(send.size(), -1);
  }
  static std::int64_t number(int from, int to, std::int64_t i) { return from * 1000000 + to * 10000 + i; }
  bool arrived() const {
    std::size_t next = 0;
    for (int r = 0; r < comm.size(); ++r)
      for (std::int64_t i = 0; i < in[static_cast<std::size_t>(r)]; ++i)
        if (receive[next++] != number(r, comm.rank(), i)) return false;
    return true;
  }
  void exchange() { comm.all_to_all(send.data(), out, receive.data(), in, sizeof(std::int64_t)); }
  sy::pending start() { return comm.start_all_to_all(send.data(), out, receive.data(), in, sizeof(std::int64_t)); }

  sy::communicator comm;
  counts out, in, send, receive;
};

template <class T>
using vector = Kokkos::View<T*, Kokkos::DefaultExecutionSpace::memory_space>;

/// Numbers that do not add exactly, so that the order and the type of a sum show.
double term(int rank, std::size_t i) {
  return 1.0 / (3 + rank) + static_cast<double>(i) * (rank + 1) * 0.37;
}
template <class T>
T sum_in_rank_order(int ranks, std::size_t i) {
  auto total = static_cast<sy::accumulate_t<T>>(T(term(0, i)));
  for (int r = 1; r < ranks; ++r) total += static_cast<sy::accumulate_t<T>>(T(term(r, i)));
  return static_cast<T>(total);
}
template <class T>
sy::staged<vector<T>> terms(int rank, std::size_t n) {
  const vector<T> v("terms", n);
  const auto host = Kokkos::create_mirror_view(v);
  for (std::size_t i = 0; i < n; ++i) host(i) = T(term(rank, i));
  Kokkos::deep_copy(v, host);
  return sy::staged<vector<T>>(v);
}
template <class T>
bool same(const vector<T>& v, const std::vector<T>& expected) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), v);
  return host.size() >= expected.size() &&
         (expected.empty() || std::memcmp(host.data(), expected.data(), expected.size() * sizeof(T)) == 0);
}

} // namespace

TEST_CASE("exchanges arrive, in one message or in many", "[mpi]") {
  for (const std::int64_t largest : {std::int64_t{1} << 30, std::int64_t{1}, std::int64_t{24}}) {
    INFO("messages of at most " << largest << " bytes");
    const auto comm = sy::mpi(MPI_COMM_WORLD, {.largest_message = largest});
    uneven e(comm, 11);
    e.exchange();
    CHECK(everywhere(e.arrived()));

    const auto ranks = static_cast<std::size_t>(comm.size());
    counts each(ranks), all;
    for (std::size_t r = 0; r < ranks; ++r) each[r] = static_cast<std::int64_t>(r % 3) * 7;
    counts gathered(static_cast<std::size_t>(std::accumulate(each.begin(), each.end(), std::int64_t{0})), -1);
    std::size_t next = 0;
    for (std::size_t r = 0; r < ranks; ++r)
      for (std::int64_t i = 0; i < each[r]; ++i, ++next) {
        all.push_back(uneven::number(static_cast<int>(r), 0, i));
        if (static_cast<int>(r) == comm.rank()) gathered[next] = all.back();
      }
    comm.all_gather(gathered.data(), each, sizeof(std::int64_t));
    CHECK(everywhere(gathered == all));
  }
}

TEST_CASE("exchanges under way arrive, in any order of waiting", "[mpi]") {
  for (const std::int64_t largest : {std::int64_t{1} << 30, std::int64_t{40}}) {
    const auto comm = sy::mpi(MPI_COMM_WORLD, {.largest_message = largest});
    uneven a(comm, 3), b(comm, 50), c(comm, 1);
    auto first = a.start(), second = b.start();
    c.exchange(); // a blocking one between them
    second.wait();
    while (!first.ready()) {
    }
    first.wait();
    first.wait(); // nothing happens
    CHECK(everywhere(a.arrived() && b.arrived() && c.arrived()));

    const auto n = static_cast<std::size_t>(comm.size());
    const Kokkos::DefaultExecutionSpace exec;
    const auto send = terms<float>(comm.rank(), n);
    const sy::staged<vector<float>> receive(vector<float>("receive", n));
    auto views = sy::start_all_to_all(exec, comm, send, counts(n, 1), receive, counts(n, 1), 1);
    views.wait(exec);
    std::vector<float> expected;
    for (int r = 0; r < comm.size(); ++r) expected.push_back(float(term(r, static_cast<std::size_t>(comm.rank()))));
    CHECK(everywhere(same(receive.view(), expected)));
  }
}

TEST_CASE("exchanges under way share their buffers, each with rows of its own", "[mpi]") {
  const auto comm = GENERATE(sy::mpi(MPI_COMM_WORLD), sy::self());
  const Kokkos::DefaultExecutionSpace exec;
  const auto ranks = static_cast<std::size_t>(comm.size());
  const auto number = [](std::size_t from, std::size_t to, std::size_t i) {
    return static_cast<float>(100 * from + 10 * to + i);
  };
  const auto here = static_cast<std::size_t>(comm.rank()), rows = 3 * ranks;
  const sy::staged<vector<float>> send(vector<float>("send", 2 * rows)), receive(vector<float>("receive", 2 * rows));
  const auto sent = Kokkos::create_mirror_view(send.view());
  for (std::size_t i = 0; i < rows; ++i) // rows of two numbers, three for each rank
    for (std::size_t j = 0; j < 2; ++j) sent(2 * i + j) = number(here, i / 3, i % 3) + static_cast<float>(j) / 2;
  Kokkos::deep_copy(send.view(), sent);
  sy::some_rows one{counts(ranks, 1), {}}, two{counts(ranks, 2), {}};
  for (std::size_t r = 0; r < ranks; ++r) {
    one.begins.push_back(static_cast<std::int64_t>(3 * r));
    two.begins.push_back(static_cast<std::int64_t>(3 * r + 1));
  }
  {
    auto last = sy::start_all_to_all(exec, comm, send, two, receive, two, 2);
    auto first = sy::start_all_to_all(exec, comm, send, one, receive, one, 2);
    first.wait(exec);
    last.wait(exec);
  }
  exec.fence("test: what has arrived is read");
  const auto received = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), receive.view());
  bool right = true;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < 2; ++j)
      right = right && received(2 * i + j) == number(i / 3, here, i % 3) + static_cast<float>(j) / 2;
  CHECK(everywhere(right));
}

TEMPLATE_TEST_CASE("sums over ranks are in rank order, in float for 16-bit types", "[mpi]", double, float, sy::bfloat16,
                   sy::half) {
  sy::traffic sent;
  const auto comm = sy::counting(sy::mpi(MPI_COMM_WORLD), sent);
  const Kokkos::DefaultExecutionSpace exec;
  const int ranks = comm.size();
  const auto p = static_cast<std::size_t>(ranks);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{1000}, std::size_t{20000}}) {
    std::vector<TestType> expected;
    for (std::size_t i = 0; i < n; ++i) expected.push_back(sum_in_rank_order<TestType>(ranks, i));

    const auto all = terms<TestType>(comm.rank(), n);
    const sy::staged<vector<TestType>> scratch(vector<TestType>("scratch", n + p));
    sent.reset();
    sy::all_reduce_sum(exec, comm, all, scratch);
    exec.fence("test: sums are read");
    CHECK(everywhere(same(all.view(), expected)));
    const std::int64_t total = static_cast<std::int64_t>(n), mine = sy::part_of(total, ranks, comm.rank()).count;
    CHECK(everywhere(sent.bytes() == sent.bytes("world", sy::collective::all_reduce) &&
                     sent.bytes() == (total - mine + (ranks - 1) * mine) * std::int64_t{sizeof(TestType)}));

    counts each(p);
    for (int r = 0; r < ranks; ++r) each[static_cast<std::size_t>(r)] = sy::part_of(total, ranks, r).count;
    const vector<TestType> part("part", static_cast<std::size_t>(mine));
    sent.reset();
    sy::reduce_scatter_sum(exec, comm, terms<TestType>(comm.rank(), n), each, scratch, part);
    exec.fence("test: sums are read");
    const auto first = expected.begin() + sy::part_of(total, ranks, comm.rank()).begin;
    CHECK(everywhere(same(part, std::vector<TestType>(first, first + mine))));
    CHECK(everywhere(sent.bytes(sy::collective::reduce_scatter) == (total - mine) * std::int64_t{sizeof(TestType)}));
  }
}

/// A transport whose messages arrive the moment they are sent.
class instant_backend final : public sy::detail::forwarding_backend {
 public:
  explicit instant_backend(const sy::communicator& comm) : forwarding_backend(comm.backend()) {}
  std::shared_ptr<sy::communicator_backend> split(int color, std::string_view name) override {
    return inner().split(color, name);
  }
  std::unique_ptr<sy::exchange_in_flight> start(const sy::all_to_all_call& call) override {
    inner().all_to_all(call);
    return nullptr;
  }
};

TEST_CASE("large sums go in pieces, of parts as uneven as can be", "[mpi]") {
  sy::traffic sent;
  const auto comm = GENERATE_REF(sy::counting(sy::mpi(MPI_COMM_WORLD), sent),
                                 sy::communicator(std::make_shared<instant_backend>(sy::mpi(MPI_COMM_WORLD))));
  const Kokkos::DefaultExecutionSpace exec;
  const int ranks = comm.size();
  const std::int64_t large = 3 * (std::int64_t{1} << 18) + 7; // floats: 3 MiB and some
  counts each;
  for (int r = 0; r < ranks; ++r) each.push_back(r == 1 ? 1 : r == 2 ? 0 : large - r);
  const std::int64_t total = std::accumulate(each.begin(), each.end(), std::int64_t{0});
  const auto n = static_cast<std::size_t>(total), mine = static_cast<std::size_t>(each[std::size_t(comm.rank())]);
  std::vector<float> expected(n);
  for (std::size_t i = 0; i < n; ++i) expected[i] = sum_in_rank_order<float>(ranks, i);

  const auto p = static_cast<std::size_t>(ranks);
  const sy::staged<vector<float>> scratch(vector<float>("scratch", std::max(n, p * mine) + p));
  const vector<float> own("own", mine);
  sy::reduce_scatter_sum(exec, comm, terms<float>(comm.rank(), n), each, scratch, own);
  exec.fence("test: sums are read");
  const auto first = expected.begin() + std::accumulate(each.begin(), each.begin() + comm.rank(), std::int64_t{0});
  CHECK(everywhere(same(own, std::vector<float>(first, first + static_cast<std::int64_t>(mine)))));

  const auto all = terms<float>(comm.rank(), n);
  sy::all_reduce_sum(exec, comm, all, scratch);
  exec.fence("test: sums are read");
  CHECK(everywhere(same(all.view(), expected)));
  if (ranks > 1 && std::is_same_v<vector<float>::memory_space, Kokkos::HostSpace> && !sent.entries().empty())
    CHECK(everywhere(sent.calls("world", sy::collective::reduce_scatter) == 3));
}

TEST_CASE("what is sent is counted per axis and collective", "[mpi]") {
  sy::traffic sent;
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int columns = ranks % 2 == 0 ? 2 : 1;
  const sy::mesh<sy::axis<data>, sy::axis<model>> mesh(sy::counting(sy::mpi(MPI_COMM_WORLD), sent),
                                                       {ranks / columns, columns});
  CHECK(sent.entries().empty());
  uneven along(mesh.along(0));
  along.exchange();
  along.start().wait();
  std::int64_t units = 0;
  for (int r = 0; r < along.comm.size(); ++r)
    if (r != along.comm.rank()) units += along.out[static_cast<std::size_t>(r)];
  counts each(static_cast<std::size_t>(columns), 3);
  std::vector<char> bytes(static_cast<std::size_t>(3 * columns));
  mesh.along(1).all_gather(bytes.data(), each, 1);
  CHECK(everywhere(sent.bytes("data", sy::collective::all_to_all) == 2 * 8 * units));
  CHECK(everywhere(sent.calls("data", sy::collective::all_to_all) == 2));
  CHECK(everywhere(sent.bytes("model", sy::collective::all_gather) == 3 * (columns - 1)));
  CHECK(everywhere(sent.bytes() == 16 * units + 3 * (columns - 1)));
  sent.reset();
  CHECK(sent.bytes() == 0);
}

TEST_CASE("ranks that make different calls are all told which", "[mpi]") {
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  if (plain.size() < 2) return;
  const auto comm = sy::checking(plain);
  const auto p = static_cast<std::size_t>(comm.size());
  const int last = comm.size() - 1;
  const bool odd = comm.rank() == last;
  const auto told = [&](const auto& f, const std::string& what) {
    const std::string text = message_of<sy::disagreement>(f);
    INFO(text);
    CHECK(everywhere(has(text, what)));
  };
  counts a(p, 1), b(p, 1);
  std::vector<std::int64_t> send(2 * p), receive(2 * p);
  comm.all_to_all(send.data(), a, receive.data(), b, 8); // call 0 is fine
  const std::string who = "rank " + std::to_string(last);
  told(
      [&] {
        if (odd)
          comm.all_gather(send.data(), a, 8);
        else
          comm.all_to_all(send.data(), a, receive.data(), b, 8);
      },
      "call 1: " + who +
          " calls all_gather (gather) in units of 8 bytes on 'world', phase '', but rank 0 calls all_to_all");
  told([&] { comm.all_to_all(send.data(), a, receive.data(), b, odd ? 4 : 8); },
       "call 2: " + who + " calls all_to_all in units of 4 bytes");
  counts wrong = b;
  if (odd) wrong[0] = 2;
  told([&] { comm.all_to_all(send.data(), a, receive.data(), wrong, 8); },
       who + ": call 3: expects 2 units from rank 0 of 'world', which sends 1");
  told([&] { comm.all_gather(send.data(), wrong, 8); }, "call 4: gathers counts");
  told([&] { sy::run_phase(comm, odd ? "experts" : "combine", [&] { comm.all_gather(send.data(), a, 8); }); },
       "phase 'experts', but rank 0 calls");
  const auto x = comm.split(0, "x"), y = comm.split(0, "y"); // calls 6 and 7
  told([&] { (odd ? x : y).all_gather(send.data(), a, 8); }, "call 8: " + who);
  told([&] { x.start_all_to_all(send.data(), a, receive.data(), wrong, 8).wait(); }, who + ": call 9");
  x.all_to_all(send.data(), a, receive.data(), b, 8); // and it goes on
}

TEST_CASE("ranks that disagree on a value are all told which", "[mpi]") {
  const auto comm = sy::mpi(MPI_COMM_WORLD);
  const int last = comm.size() - 1;
  sy::agree(comm, "");
  sy::agree_on(comm, {{"d_model", 768}, {"experts", 64}});
  const std::string complaint = message_of<sy::disagreement>([&] { sy::agree(comm, comm.rank() == last ? "no" : ""); });
  CHECK(everywhere(complaint == "switchyard: rank " + std::to_string(last) + ": no"));
  if (comm.size() < 2) return;
  const std::string text = message_of<sy::disagreement>([&] {
    sy::agree_on(comm, {{"d_model", 768}, {"experts", comm.rank() == last ? 32 : 64}});
  });
  CHECK(everywhere(text == "switchyard: experts = 32 on rank " + std::to_string(last) +
                               ", but experts = 64 on rank 0: all ranks must agree; give all ranks the same"));
}

TEST_CASE("counts that do not match are noticed where they arrive", "[mpi]") {
  const auto comm = sy::mpi(MPI_COMM_WORLD);
  if (comm.size() < 2) return;
  const auto p = static_cast<std::size_t>(comm.size());
  counts send(p, 0), receive(p, 0), values(8);
  if (comm.rank() == 0) send[1] = 2;
  if (comm.rank() == 1) receive[0] = 3;
  const std::string text =
      message_of<sy::communicator_error>([&] { comm.all_to_all(values.data(), send, values.data() + 4, receive, 8); });
  CHECK(
      everywhere(comm.rank() == 1 ? has(text, "rank 0 sent 2 units of 8 bytes where 3 were expected") : text.empty()));
}

TEST_CASE("a rank that fails in a phase says which, and the user may choose", "[mpi]") {
  const auto plain = sy::mpi(MPI_COMM_WORLD);
  const int last = plain.size() - 1;
  std::vector<sy::failure> failures;
  const auto comm = sy::on_failure(
      sy::faulting(plain, {.rank = last, .phase = "experts", .call = 1, .what = sy::fault::action::throw_error}),
      [&](const sy::failure& f) { failures.push_back(f); });
  counts one(static_cast<std::size_t>(comm.size()), 1);
  std::vector<char> bytes(one.size());
  const auto gather = [&] { comm.all_gather(bytes.data(), one, 1); };
  sy::run_phase(comm, "dispatch", [&] { gather(), gather(); });
  const std::string text = message_of<sy::communicator_error>([&] {
    sy::run_phase(comm, "experts", [&] {
      gather();
      if (comm.rank() == last) gather(); // the others would wait for it: the reason why the default is to abort
    });
  });
  CHECK(everywhere(has(text, "planned fault: rank " + std::to_string(last) + ", phase 'experts', call 1, all_gather") ==
                   (comm.rank() == last)));
  CHECK(everywhere(failures.size() == (comm.rank() == last ? 1u : 0u)));
  if (comm.rank() == last) {
    CHECK(failures[0].rank == last);
    CHECK(failures[0].phase == "experts");
    CHECK(has(describe(failures[0]), "failed in phase 'experts': switchyard: planned fault"));
  }
  CHECK_THROWS_AS(sy::run_phase(comm, "x", [] { throw sy::disagreement("all alike"); }), sy::disagreement);
  CHECK(failures.size() == (comm.rank() == last ? 1u : 0u)); // that one was no failure of one rank
  CHECK_THROWS_AS(sy::faulting(plain, {.rank = plain.size()}), sy::invalid_argument);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/ranks.hpp"
#include "support/routed.hpp"
#include "support/stage_times.hpp"
#include <cstring>
#include <memory>
#include <optional>
#include <switchyard/switchyard.hpp>

// The mesh: collectives against the MPI calls that move the same bytes, the packing of a reshard, and a layer with its
// groups and experts split over the ranks against the same work on one of them. Run under mpirun, with as many threads
// per process as there are ranks: a rank works on one of them, and on all of them when it is alone.

namespace {

using namespace bench;
namespace sy = switchyard;
namespace dims = switchyard::dims;

struct data : sy::name<"data"> {};
using mesh_type = sy::mesh<sy::axis<data>>;

void spread(benchmark::State& state, const std::string& name, const quartiles& q, double scale = 1) {
  state.counters[name] = scale * q.median;
  state.counters[name + "_q1"] = scale * q.lower;
  state.counters[name + "_q3"] = scale * q.upper;
}
void report_time(benchmark::State& state, const series& ours) {
  for (auto _ : state) state.SetIterationTime(ours.median());
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  state.counters["ranks"] = ranks;
  state.counters["rounds"] = static_cast<double>(ours.seconds.size());
  spread(state, "time_ms", quartiles_of(ours.seconds), 1e3);
}

/// Is an entry over before it is timed: wrong, or a control?
bool over(benchmark::State& state, const std::string& why) {
  if (!why.empty())
    fail(state, why);
  else if (chosen().control)
    state.SkipWithMessage("not noticed");
  return !why.empty() || chosen().control;
}

// ---- collectives ---------------------------------------------------------------------------------

/// What each rank holds: a part for every rank, drawn from a stream of its own.
template <class T>
struct values {
  using flat = Kokkos::View<T*, space>;
  static constexpr std::int64_t row = 256; // elements

  exec_space exec = one_thread();
  sy::communicator comm = sy::mpi(MPI_COMM_WORLD);
  std::int64_t ranks = comm.size(), here = comm.rank(), part, all;
  std::vector<std::int64_t> rows, elements; // to and from each rank
  float deviation;

  values(std::int64_t bytes, float spread_of_values)
      : part(bytes / static_cast<std::int64_t>(sizeof(T)) / ranks / row * row), all(part * ranks),
        rows(size(ranks), part / row), elements(size(ranks), part), deviation(spread_of_values) {}

  sy::staged<flat> make(const char* label, std::int64_t n) const {
    return sy::staged<flat>(flat(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), size(n)));
  }
  T drawn(std::int64_t rank, std::int64_t i) const {
    return T(random_number(100 + static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(i), deviation));
  }
  /// All that this rank holds; a control changes one value on the last rank.
  sy::staged<flat> filled(const char* label) const {
    const auto made = make(label, all);
    fill_random(made.view(), 100 + static_cast<std::uint64_t>(here), deviation);
    if (chosen().control && here == ranks - 1) made.view()(0) = T(2 * deviation);
    return made;
  }
  int bytes_of_part() const { return static_cast<int>(part * static_cast<std::int64_t>(sizeof(T))); }
  double bytes_to_others() const { return static_cast<double>(ranks - 1) * bytes_of_part(); }

  /// Does `got` hold want(i), bit for bit?
  template <class Want>
  std::string compare(const char* what, const flat& got, std::int64_t n, const Want& want) const {
    for (std::int64_t i = 0; i < n; ++i) {
      const T expected = want(i);
      if (std::memcmp(&got(size(i)), &expected, sizeof(T)) != 0)
        return sy::detail::message(what, ": element ", i, " is ", number_of_value(got(size(i))), ", not ",
                                   number_of_value(expected));
    }
    return {};
  }
  /// Sum over the ranks of their element i, in their order, rounded once.
  T sum(std::int64_t i) const {
    float total = 0;
    for (std::int64_t r = 0; r < ranks; ++r) {
      const volatile float term = static_cast<float>(drawn(r, i)); // stored, or its last product is fused with the sum
      total += term;
    }
    return T(total);
  }
};

/// Ours, the raw calls, and, where there is one, MPI's own collective, by turns; `moved` bytes go to other ranks.
template <class T>
void time_calls(benchmark::State& state, const values<T>& v, double moved,
                const std::vector<std::function<void()>>& calls) {
  const bool large = v.all * static_cast<std::int64_t>(sizeof(T)) >= std::int64_t{4} << 20;
  std::vector<contender> all;
  for (const auto& call : calls) all.push_back({call, 1, large ? 1 : 4});
  const auto times = interleave(all, all_ranks(false));
  report_time(state, times[0]);
  state.counters["bytes"] = static_cast<double>(v.all) * sizeof(T);
  state.counters["GB/s"] = 1e-9 * moved / times[0].median();
  state.counters["raw_ms"] = 1e3 * times[1].median();
  spread(state, "vs_raw", ratio(times[0], times[1]));
  if (times.size() > 2) spread(state, "vs_mpi", ratio(times[0], times[2]));
}

template <class T>
void exchange(benchmark::State& state, std::int64_t bytes) {
  const values<T> v(bytes, 1);
  const auto send = v.filled("bench::send"), ours = v.make("bench::ours", v.all), raw = v.make("bench::raw", v.all);
  const int n = v.bytes_of_part();
  const auto call = [&] { sy::all_to_all(v.exec, v.comm, send, v.rows, ours, v.rows, v.row); };
  const auto plain = [&] {
    MPI_Alltoall(send.view().data(), n, MPI_BYTE, raw.view().data(), n, MPI_BYTE, MPI_COMM_WORLD);
  };
  call();
  plain();
  const auto want = [&](std::int64_t i) { return v.drawn(i / v.part, v.here * v.part + i % v.part); };
  std::string why = v.compare("all_to_all", ours.view(), v.all, want);
  if (why.empty()) why = v.compare("MPI_Alltoall", raw.view(), v.all, want);
  if (!over(state, agreed(v.comm, why))) time_calls(state, v, v.bytes_to_others(), {call, plain});
}

template <class T>
void gather(benchmark::State& state, std::int64_t bytes) {
  const values<T> v(bytes, 1);
  const int n = v.bytes_of_part();
  const auto ours = v.make("bench::ours", v.all), raw = v.make("bench::raw", v.all), mine = v.filled("bench::mine");
  for (const auto& to : {ours, raw}) {
    Kokkos::deep_copy(to.view(), T(0.0f));
    Kokkos::deep_copy(to.part(v.here * v.part, v.part).view(), mine.part(0, v.part).view());
  }
  const auto call = [&] { sy::all_gather(v.exec, v.comm, ours, v.rows, v.row); };
  const auto plain = [&] {
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, raw.view().data(), n, MPI_BYTE, MPI_COMM_WORLD);
  };
  call();
  plain();
  const auto want = [&](std::int64_t i) { return v.drawn(i / v.part, i % v.part); };
  std::string why = v.compare("all_gather", ours.view(), v.all, want);
  if (why.empty()) why = v.compare("MPI_Allgather", raw.view(), v.all, want);
  if (!over(state, agreed(v.comm, why))) time_calls(state, v, v.bytes_to_others(), {call, plain});
}

/// Sums in place grow with every call, by the number of ranks: values begin small enough for all the rounds.
constexpr float small_values = 0x1p-100f;

template <class T>
void all_reduce(benchmark::State& state, std::int64_t bytes) {
  const values<T> v(bytes, small_values);
  const int n = v.bytes_of_part();
  const auto ours = v.filled("bench::ours"), raw = v.filled("bench::raw");
  const auto scratch = v.make("bench::scratch", v.all + v.ranks), arrived = v.make("bench::arrived", v.all);
  const auto call = [&] { sy::all_reduce_sum(v.exec, v.comm, ours, scratch); };
  const auto plain = [&] { // the same bytes without the sum
    MPI_Alltoall(raw.view().data(), n, MPI_BYTE, arrived.view().data(), n, MPI_BYTE, MPI_COMM_WORLD);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, raw.view().data(), n, MPI_BYTE, MPI_COMM_WORLD);
  };
  std::vector<std::function<void()>> calls{call, plain};
  if constexpr (std::is_same_v<T, float>)
    calls.push_back([own = v.filled("bench::own"), &v] {
      MPI_Allreduce(MPI_IN_PLACE, own.view().data(), static_cast<int>(v.all), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
  call();
  const std::string why = v.compare("all_reduce", ours.view(), v.all, [&](std::int64_t i) { return v.sum(i); });
  if (!over(state, agreed(v.comm, why))) time_calls(state, v, 2 * v.bytes_to_others(), calls);
}

template <class T>
void reduce_scatter(benchmark::State& state, std::int64_t bytes) {
  const values<T> v(bytes, 1);
  const int n = v.bytes_of_part();
  const auto send = v.filled("bench::send"), sum = v.make("bench::sum", v.part);
  const auto scratch = v.make("bench::scratch", v.all), arrived = v.make("bench::arrived", v.all);
  const auto call = [&] { sy::reduce_scatter_sum(v.exec, v.comm, send, v.elements, scratch, sum.view()); };
  const auto plain = [&] {
    MPI_Alltoall(send.view().data(), n, MPI_BYTE, arrived.view().data(), n, MPI_BYTE, MPI_COMM_WORLD);
  };
  std::vector<std::function<void()>> calls{call, plain};
  if constexpr (std::is_same_v<T, float>)
    calls.push_back([&, own = v.make("bench::own", v.part)] {
      MPI_Reduce_scatter_block(send.view().data(), own.view().data(), static_cast<int>(v.part), MPI_FLOAT, MPI_SUM,
                               MPI_COMM_WORLD);
    });
  call();
  const std::string why =
      v.compare("reduce_scatter", sum.view(), v.part, [&](std::int64_t i) { return v.sum(v.here * v.part + i); });
  if (!over(state, agreed(v.comm, why))) time_calls(state, v, v.bytes_to_others(), calls);
}

// ---- a reshard and its packing -------------------------------------------------------------------

/// Slots [experts, groups, capacity, d_model] from those who hold the groups to those who hold the experts.
template <class T>
void reshard(benchmark::State& state, std::int64_t experts_per_rank, std::int64_t capacity, std::int64_t d_model) {
  using slots = sy::dimensions<dims::experts, dims::group, dims::capacity, dims::d_model>;
  using before = sy::tensor<T, mesh_type, slots, sy::placements<sy::S<dims::group>>, space>;
  using after = sy::tensor<T, mesh_type, slots, sy::placements<sy::S<dims::experts>>, space>;
  const exec_space exec = one_thread();
  const sy::communicator comm = sy::mpi(MPI_COMM_WORLD);
  const std::int64_t ranks = comm.size(), experts = experts_per_rank * ranks, block = capacity * d_model;
  const mesh_type mesh(comm, {ranks});
  const typename before::shape extents{experts, ranks, capacity, d_model};
  const sy::resharder<before, after> move(mesh, extents);
  before x(mesh, extents);
  after y(mesh, extents);
  const auto number = [&](std::int64_t e, std::int64_t g, std::int64_t i) { // element i of block [e, g]
    return T(random_number(7, static_cast<std::uint64_t>((e * ranks + g) * block + i), 1));
  };
  for (std::int64_t e = 0; e < experts; ++e)
    for (std::int64_t i = 0; i < block; ++i) x.view().data()[e * block + i] = number(e, comm.rank(), i);
  if (chosen().control) x.view().data()[0] = T(2.0f);
  const auto call = [&] { move(exec, x, y); };
  call();
  std::string why;
  for (std::int64_t b = 0; b < experts_per_rank * ranks && why.empty(); ++b) {
    const std::int64_t e = comm.rank() * experts_per_rank + b / ranks, g = b % ranks;
    for (std::int64_t i = 0; i < block && why.empty(); ++i) {
      const T want = number(e, g, i);
      if (std::memcmp(&y.view().data()[b * block + i], &want, sizeof(T)) != 0)
        why = "reshard: slot of expert " + std::to_string(e) + ", group " + std::to_string(g);
    }
  }
  if (over(state, agreed(comm, why))) return;

  const std::size_t bytes = x.view().size() * sizeof(T);
  const vector<T> copy("bench::copy", x.view().size()), raw("bench::raw", x.view().size());
  const int n = static_cast<int>(bytes / size(ranks));
  const auto times =
      interleave({{call},
                  {[&] { MPI_Alltoall(copy.data(), n, MPI_BYTE, raw.data(), n, MPI_BYTE, MPI_COMM_WORLD); }},
                  {[&] { std::memcpy(copy.data(), x.view().data(), bytes); }}},
                 all_ranks(false));
  report_time(state, times[0]);
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["raw_ms"] = 1e3 * times[1].median();
  spread(state, "vs_raw", ratio(times[0], times[1]));
  const auto stage = [](const std::string& label, const std::string&) { return label.substr(label.rfind(':') + 1); };
  for (const auto& [name, seconds] : stage_times(call, chosen().quick ? 5 : 21, stage)) {
    state.counters[name + "_ms"] = 1e3 * seconds; // pack, unpack, and the exchange as what is left
    if (name != "rest") state.counters[name + "_of_copy"] = times[2].median() / seconds;
  }
}

// ---- the layer -----------------------------------------------------------------------------------

using policy = sy::selective<sy::bfloat16>;
using value = sy::bfloat16;
using on_one = sy::switch_layer<exec_space, policy>;
using on_ranks = sy::switch_layer<exec_space, policy, mesh_type,
                                  sy::rules<sy::split<dims::group, data>, sy::split<dims::experts, data>>>;

/// The tokens of all groups, one group per rank, and what the router must decide about them. The same on every rank.
struct batch {
  bench::entry entry;
  std::int64_t groups, tokens; ///< tokens of a group
  matrix<float> router;        // [M, E]
  matrix<value> x, dy;         // [groups tokens, M]
  std::vector<std::int32_t> expert, slot;

  batch(const bench::entry& e, std::int64_t ranks)
      : entry(e), groups(ranks), tokens(e.shape.tokens / ranks),
        router("bench::router", size(e.shape.d_model), size(e.shape.experts)),
        x("bench::x", size(groups * tokens), size(e.shape.d_model)),
        dy(random_matrix<value>("bench::dy", groups * tokens, e.shape.d_model, 5)) {
    fill_router(router);
    const intention meant(e, groups * tokens);
    fill_tokens(x, router, meant);
    expert = meant.expert;
    bench::entry group = e;
    group.shape.tokens = tokens;
    for (std::int64_t g = 0; g < groups; ++g) { // slots are those of a group
      std::vector<std::int32_t> of_group;
      std::vector<std::int64_t> offset;
      slots_of(group, config_of(e).capacity(tokens), {expert.begin() + g * tokens, expert.begin() + (g + 1) * tokens},
               of_group, offset);
      slot.insert(slot.end(), of_group.begin(), of_group.end());
    }
  }

  float up() const { return 1 / std::sqrt(static_cast<float>(entry.shape.d_model)); }
  float down() const { return 1 / std::sqrt(static_cast<float>(entry.shape.d_ff)); }
  double wi(std::int64_t e, std::int64_t m, std::int64_t f) const {
    const std::int64_t i = (e * entry.shape.d_model + m) * entry.shape.d_ff + f;
    return number_of_value(value(random_number(2, static_cast<std::uint64_t>(i), up())));
  }
  double wo(std::int64_t e, std::int64_t f, std::int64_t m) const {
    const std::int64_t i = (e * entry.shape.d_ff + f) * entry.shape.d_model + m;
    return number_of_value(value(random_number(3, static_cast<std::uint64_t>(i), down())));
  }
};

/// A layer and the part of the batch that it has here.
template <class Layer>
struct job {
  using part_view = Kokkos::View<value***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>;
  const batch& all;
  exec_space exec;
  Layer layer;
  sy::part experts, groups;
  typename Layer::weights_type weights;
  typename Layer::packed_type packed;
  typename Layer::tape_type tape;
  typename Layer::gradients_type gradients;
  part_view x, dy;
  stack<value> y, dx;

  job(const batch& b, const exec_space& on, const Layer& made, bool spoiled = false)
      : all(b), exec(on), layer(made), experts(layer.experts_here()), groups(layer.groups_here(b.groups)),
        weights(layer.config(), experts), tape(layer.make_tape(exec, b.groups, b.tokens)), gradients(layer.zeros(exec)),
        x(here(b.x)), dy(here(b.dy)),
        y(allocate<stack<value>>("bench::y", groups.count, b.tokens, b.entry.shape.d_model)),
        dx(allocate<stack<value>>("bench::dx", groups.count, b.tokens, b.entry.shape.d_model)) {
    Kokkos::deep_copy(weights.router, b.router);
    const std::int64_t first = experts.begin * b.entry.shape.d_model * b.entry.shape.d_ff;
    fill(weights.wi, 2, first, b.up());
    fill(weights.wo, 3, first, b.down());
    for (std::int64_t e = 0; spoiled && e < experts.count; ++e) // other weights than the reference knows
      for (std::int64_t f = 0; f < 4; ++f) weights.wi(e, 0, f) += 8;
    packed = layer.pack(exec, weights);
  }

  void run(pass p) {
    layer.forward(exec, packed, x, y, tape);
    if (p != pass::forward) layer.backward(exec, packed, dy, dx, tape, gradients);
    exec.fence("bench: the pass is done");
  }

 private:
  part_view here(const matrix<value>& tokens) const {
    return part_view(tokens.data() + groups.begin * all.tokens * static_cast<std::int64_t>(tokens.extent(1)),
                     size(groups.count), size(all.tokens), tokens.extent(1));
  }
  template <class View>
  static void fill(const View& view, std::uint64_t seed, std::int64_t first, float deviation) {
    float* const to = view.data();
    Kokkos::parallel_for("bench::fill", range(0, static_cast<std::int64_t>(view.size())), [=](std::int64_t i) {
      to[i] = random_number(seed, static_cast<std::uint64_t>(first + i), deviation);
    });
    Kokkos::fence("bench: the weights are there");
  }
};

/// Outputs of some tokens of this rank, in double, by loops that know nothing of ranks.
std::string wrong_outputs(const job<on_ranks>& j) {
  const batch& b = j.all;
  const auto& s = b.entry.shape;
  const std::int64_t here = j.groups.count * b.tokens, samples = std::min<std::int64_t>(here, 4);
  closeness all;
  for (std::int64_t n = 0; n < samples; ++n) {
    const std::int64_t at = n * here / samples, t = j.groups.begin * b.tokens + at;
    std::vector<double> h(size(s.experts)), a(size(s.d_ff)), o(size(s.d_model));
    const auto x = [&](std::int64_t m) { return number_of_value(b.x(size(t), size(m))); };
    for (std::int64_t m = 0; m < s.d_model; ++m)
      for (std::int64_t e = 0; e < s.experts; ++e) h[size(e)] += x(m) * static_cast<double>(b.router(size(m), size(e)));
    const std::int64_t e = b.expert[size(t)];
    double sum = 0;
    for (const double v : h) sum += std::exp(v - h[size(e)]);
    if (b.slot[size(t)] >= 0) {
      for (std::int64_t m = 0; m < s.d_model; ++m)
        for (std::int64_t f = 0; f < s.d_ff; ++f) a[size(f)] += x(m) * b.wi(e, m, f);
      for (std::int64_t f = 0; f < s.d_ff; ++f)
        for (std::int64_t m = 0; m < s.d_model && a[size(f)] > 0; ++m) o[size(m)] += a[size(f)] * b.wo(e, f, m);
    }
    for (std::int64_t m = 0; m < s.d_model; ++m)
      all.add(number_of_value(j.y.data()[at * s.d_model + m]), o[size(m)] / sum);
  }
  return all.verdict("y", allowed_error<value>);
}

/// What the first rank has at `where(its job)`, on every rank. Collective.
template <class Number, class Where>
vector<Number> from_first(const std::optional<job<on_one>>& one, const Where& where, std::int64_t elements) {
  const vector<Number> all(Kokkos::view_alloc(Kokkos::WithoutInitializing, "bench::whole"), size(elements));
  const std::size_t bytes = all.size() * sizeof(Number);
  if (one) std::memcpy(all.data(), where(*one).data(), bytes);
  MPI_Bcast(all.data(), static_cast<int>(bytes), MPI_BYTE, 0, MPI_COMM_WORLD);
  return all;
}

/// Is what the ranks computed, byte for byte, what one process computes? The router's gradient is a sum over ranks, in
/// another order. Collective; says what differs here.
std::string differs_from_one(const job<on_ranks>& j, const std::optional<job<on_one>>& one, pass p) {
  const auto& s = j.all.entry.shape;
  std::string why;
  const auto complain = [&](const std::string& what) { why += (why.empty() ? "" : ", ") + what; };
  const auto same = [&](const char* what, const auto& mine, std::int64_t first, std::int64_t elements,
                        const auto& where) {
    using number = typename std::remove_cvref_t<decltype(mine)>::value_type;
    const auto whole = from_first<number>(one, where, elements);
    if (std::memcmp(mine.data(), whole.data() + first, mine.size() * sizeof(number)) != 0)
      complain(std::string(what) + " is not that of one process");
  };
  const std::int64_t row = j.all.tokens * s.d_model, weights = s.d_model * s.d_ff;
  same("y", j.y, j.groups.begin * row, j.all.groups * row, [](const auto& o) { return o.y; });
  if (p == pass::forward) return why;
  same("dx", j.dx, j.groups.begin * row, j.all.groups * row, [](const auto& o) { return o.dx; });
  same("dW1", j.gradients.wi, j.experts.begin * weights, s.experts * weights,
       [](const auto& o) { return o.gradients.wi; });
  same("dW2", j.gradients.wo, j.experts.begin * weights, s.experts * weights,
       [](const auto& o) { return o.gradients.wo; });
  const auto router = from_first<float>(
      one, [](const auto& o) { return o.gradients.router; }, s.d_model * s.experts);
  closeness sum;
  for (std::size_t i = 0; i < router.size(); ++i)
    sum.add(static_cast<double>(j.gradients.router.data()[i]), static_cast<double>(router(i)));
  if (const std::string wrong = sum.verdict("dW_r", 1e-5); !wrong.empty()) complain(wrong);
  return why;
}

/// (whole - without) / unit, round by round.
quartiles part_left(const series& whole, const series& without, const series& unit) {
  std::vector<double> all;
  for (std::size_t i = 0; i < whole.seconds.size(); ++i)
    all.push_back((whole.seconds[i] - without.seconds[i]) / unit.seconds[i]);
  return quartiles_of(all);
}

/// By turns: the layer on all ranks, one thread each; the same work on the first rank with all threads, while the
/// others sleep; the layer when nothing moves; its exchanges with nothing between them; the layer in four chunks.
void layer(benchmark::State& state, const entry& e) {
  const auto plan = std::make_shared<script>();
  const sy::communicator world = sy::mpi(MPI_COMM_WORLD);
  const std::int64_t ranks = world.size();
  const batch all(e, ranks);
  job<on_ranks> spread_out(all, one_thread(), on_ranks(mesh_type(scripted(world, plan), {ranks}), config_of(e)),
                           chosen().control);
  sy::switch_config chunked = config_of(e);
  chunked.exchange_chunks = 4;
  job<on_ranks> in_chunks(all, one_thread(), on_ranks(mesh_type(world, {ranks}), chunked), chosen().control);
  std::optional<job<on_one>> alone;
  if (world.rank() == 0) alone.emplace(all, exec_space(), on_one(config_of(e)));

  plan->recording = true;
  spread_out.run(e.pass);
  plan->recording = false;
  in_chunks.run(e.pass);
  if (alone) alone->run(e.pass);
  const std::string wrong = agreed(world, wrong_outputs(spread_out));
  const std::string differs = agreed(world, differs_from_one(spread_out, alone, e.pass));
  const std::string pieces = agreed(world, differs_from_one(in_chunks, alone, e.pass));
  if (chosen().control && (wrong.empty() || differs.empty() || pieces.empty()))
    return state.SkipWithMessage("not noticed");
  std::string why;
  for (const auto& complaint : {wrong, differs, pieces.empty() ? pieces : "in chunks: " + pieces})
    why += (why.empty() || complaint.empty() ? "" : "; ") + complaint;
  if (over(state, why)) return;

  const auto times = interleave({{[&] { spread_out.run(e.pass); }},
                                 {[&] {
                                   if (alone) alone->run(e.pass);
                                 }},
                                 {[&] {
                                   plan->silent = true;
                                   spread_out.run(e.pass);
                                   plan->silent = false;
                                 }},
                                 {[&] { plan->replay(); }},
                                 {[&] { in_chunks.run(e.pass); }}},
                                all_ranks(true));
  const series &ours = times[0], &one = times[1], &computing = times[2], &exchanging = times[3];
  report_time(state, ours);
  auto& c = state.counters;
  c["tokens"] = static_cast<double>(e.shape.tokens);
  c["threads"] = static_cast<double>(exec_space().concurrency());
  c["tokens/s"] = static_cast<double>(e.shape.tokens) / ours.median();
  c["one_rank_ms"] = 1e3 * one.median();
  c["computing_ms"] = 1e3 * computing.median();
  c["exchange_ms"] = 1e3 * exchanging.median();
  c["exchanges"] = static_cast<double>(plan->exchanges.size());
  const auto sent = spread_out.layer.traffic(spread_out.tape);
  c["sent_MB"] =
      1e-6 * static_cast<double>(sent.total(sent.forward) + (e.pass == pass::forward ? 0 : sent.total(sent.backward)));
  spread(state, "exchange_share", ratio(exchanging, ours));
  spread(state, "exposed", part_left(ours, computing, exchanging));
  spread(state, "exposed_in_chunks", part_left(times[4], computing, exchanging));
  spread(state, "in_chunks", ratio(ours, times[4]));
  if (exec_space().concurrency() == ranks) spread(state, "weak_scaling", ratio(one, ours));
}

// ---- entries -------------------------------------------------------------------------------------

void add(const std::string& name, const std::function<void(benchmark::State&)>& entry_of) {
  benchmark::RegisterBenchmark(name, entry_of)->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

void add_sized(const std::string& room, const char* numbers, std::int64_t kib,
               void (*call)(benchmark::State&, std::int64_t)) {
  const std::string bytes = kib < 1024 ? std::to_string(kib) + "KiB" : std::to_string(kib / 1024) + "MiB";
  add(room + "/" + numbers + "/" + bytes, [=](benchmark::State& state) { call(state, kib * 1024); });
}

void entries() {
  using sy::bfloat16;
  const bool quick = chosen().quick;
  using list = std::vector<std::int64_t>;
  for (const std::int64_t kib : quick ? list{4096} : list{64, 1024, 4096, 16384, 65536}) {
    add_sized("mesh_all_to_all", "fp32", kib, exchange<float>);
    add_sized("mesh_all_gather", "fp32", kib, gather<float>);
  }
  for (const std::int64_t kib : quick ? list{4096} : list{1024, 4096, 16384, 65536}) {
    add_sized("mesh_all_reduce", "fp32", kib, all_reduce<float>);
    add_sized("mesh_all_reduce", "bf16", kib, all_reduce<bfloat16>);
    add_sized("mesh_reduce_scatter", "fp32", kib, reduce_scatter<float>);
    add_sized("mesh_reduce_scatter", "bf16", kib, reduce_scatter<bfloat16>);
  }
  add("mesh_reshard/bf16/slots/M256", [](benchmark::State& state) { reshard<bfloat16>(state, 4, 80, 256); });
  if (!quick) {
    add("mesh_reshard/bf16/slots/M768", [](benchmark::State& state) { reshard<bfloat16>(state, 4, 320, 768); });
    add("mesh_reshard/fp32/slots/M768", [](benchmark::State& state) { reshard<float>(state, 4, 320, 768); });
  }
  for (const auto& s : quick ? std::vector{small} : std::vector{small, switch_base_8})
    for (const pass p : {pass::forward, pass::forward_backward}) {
      const entry e{.shape = s, .pass = p};
      add(name_of("mesh_layer", e), [e](benchmark::State& state) { layer(state, e); });
    }
}

} // namespace

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const int result = run(count, arguments, entries, rank == 0);
  MPI_Finalize();
  return result;
}

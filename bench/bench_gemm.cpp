// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <algorithm>
#include <benchmark/benchmark.h>
#include <random>
#include <switchyard/gemm/grouped_product.hpp>
#if SWITCHYARD_HAS_BLAS
#include <switchyard/gemm/blas.hpp>
#endif

// Grouped products and weight gradients of every engine, against a dense product of the same size (one group). Each
// row goes to a group drawn at random; 2 K N operations per row. CPU time is of all threads together.

namespace {

namespace gemm = switchyard::gemm;
using switchyard::accumulate_t, switchyard::bfloat16;
using exec_space = Kokkos::DefaultHostExecutionSpace;
using space = Kokkos::HostSpace;

template <class T>
struct store {
  static constexpr bool paired = false;
  Kokkos::View<T**, Kokkos::LayoutRight, space> to;
  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  const accumulate_t<T>* sum) const {
    T* out = &to(row, column);
    for (int j = 0; j < n; ++j) out[j] = T(sum[j]);
  }
};

template <class View>
View random(const char* label, std::mt19937& bits, std::size_t a, std::size_t b, std::size_t c = KOKKOS_INVALID_INDEX) {
  View view(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), a, b, c);
  for (std::size_t i = 0; i < view.size(); ++i)
    view.data()[i] = typename View::value_type(static_cast<float>(bits() >> 8) * 0x1p-23f - 1.0f);
  return view;
}

template <class T>
struct problem {
  exec_space exec;
  std::mt19937 bits{1};
  std::int64_t groups, rows;
  std::size_t k, n;
  Kokkos::View<std::int64_t*, space> offset, index;
  Kokkos::View<T**, Kokkos::LayoutRight, space> x, y;

  explicit problem(const benchmark::State& state)
      : groups(state.range(0)), rows(state.range(1)), k(static_cast<std::size_t>(state.range(2))),
        n(static_cast<std::size_t>(state.range(3))), offset("offset", groups + 1), index("index", rows),
        x(random<decltype(x)>("x", bits, static_cast<std::size_t>(rows), k)),
        y(random<decltype(y)>("y", bits, static_cast<std::size_t>(rows), n)) {
    for (std::int64_t r = 0; r < rows; ++r) ++offset(1 + bits() % static_cast<std::uint64_t>(groups));
    for (std::int64_t g = 0; g < groups; ++g) offset(g + 1) += offset(g);
    for (std::int64_t r = 0; r < rows; ++r) index(r) = r;
    std::shuffle(index.data(), index.data() + rows, bits);
  }
  gemm::row_groups<space> list() const { return {offset, rows}; }
  gemm::rows<T, space> left() const { return {x, index}; }
  void count(benchmark::State& state) const {
    const double work = 2.0 * static_cast<double>(rows) * static_cast<double>(k * n);
    state.counters["FLOP/s"] = benchmark::Counter(work, benchmark::Counter::kIsIterationInvariantRate);
  }
};

template <class Engine, class T>
void product(benchmark::State& state) {
  problem<T> p(state);
  const auto packed = Engine::template allocate<exec_space, T>(p.exec, p.groups, state.range(2), state.range(3));
  Engine::template pack<exec_space, T>(p.exec, packed,
                                       random<Kokkos::View<accumulate_t<T>***, Kokkos::LayoutRight, space>>(
                                           "w", p.bits, static_cast<std::size_t>(p.groups), p.k, p.n),
                                       gemm::orientation::forward);
  for (auto _ : state) {
    gemm::grouped_product<Engine>(p.exec, p.list(), p.left(), packed, store<T>{p.y});
    p.exec.fence("bench: the product is done");
  }
  p.count(state);
}

template <class Engine, class T>
void weight_gradient(benchmark::State& state) {
  problem<T> p(state);
  const auto packed =
      Engine::template allocate<exec_space, T>(p.exec, 1, state.range(2), state.range(3)); // for kernels
  const Kokkos::View<accumulate_t<T>***, Kokkos::LayoutRight, space> gradient("gradient", p.groups, p.k, p.n);
  for (auto _ : state) {
    gemm::grouped_weight_gradient<Engine>(p.exec, p.list(), p.left(), gemm::rows<T, space>(p.y), packed, gradient,
                                          false);
    p.exec.fence("bench: the gradient is done");
  }
  p.count(state);
}

template <class Engine, class T>
void pack(benchmark::State& state) {
  std::mt19937 bits(1);
  const exec_space exec;
  const auto packed = Engine::template allocate<exec_space, T>(exec, state.range(0), state.range(2), state.range(3));
  const auto turned = Engine::template allocate<exec_space, T>(exec, state.range(0), state.range(3), state.range(2));
  const auto w = random<Kokkos::View<accumulate_t<T>***, Kokkos::LayoutRight, space>>(
      "w", bits, static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(2)),
      static_cast<std::size_t>(state.range(3)));
  for (auto _ : state) {
    Engine::template pack<exec_space, T>(exec, packed, w, gemm::orientation::forward);
    Engine::template pack<exec_space, T>(exec, turned, w, gemm::orientation::transposed);
    exec.fence("bench: the weights are packed");
  }
}

#if SWITCHYARD_HAS_ONEDNN
/// The ceiling: one kernel, one thread, all operands in the first-level cache.
template <class T>
void micro_kernel(benchmark::State& state) {
  constexpr std::int64_t depth = 64, size = 64 * depth;
  const auto kernels = gemm::detail::make_onednn_kernels<T>(depth, 64);
  if (!kernels) return state.SkipWithError("this CPU has no such kernel");
  std::mt19937 bits(1);
  const auto left = random<Kokkos::View<T**, Kokkos::LayoutRight, space>>("left", bits, 64, depth);
  const auto panel = random<Kokkos::View<T**, Kokkos::LayoutRight, space>>("panel", bits, depth, 64);
  std::vector<float> sum(size);
  std::vector<char> own(kernels->scratch);
  for (auto _ : state) kernels->multiply(left.data(), 64, panel.data(), sum.data(), own.data());
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * 64 * size, benchmark::Counter::kIsIterationInvariantRate);
}
#endif

template <class Engine, class T>
void all(const std::string& type) {
  const auto add = [&](const char* what, void (*function)(benchmark::State&)) {
    auto* b = benchmark::RegisterBenchmark(std::string(Engine::name) + "/" + type + "/" + what, function);
    b->ArgNames({"groups", "rows", "K", "N"})->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
    for (const std::int64_t groups : {1, 8, 32, 128}) {
      b->Args({groups, 4096, 768, 3072});
      b->Args({groups, 4096, 3072, 768});
    }
    b->ComputeStatistics("best", [](const std::vector<double>& v) { return *std::min_element(v.begin(), v.end()); });
  };
  add("product", product<Engine, T>);
  add("weight_gradient", weight_gradient<Engine, T>);
  add("pack", pack<Engine, T>);
}

} // namespace

int main(int count, char** arguments) {
  Kokkos::ScopeGuard kokkos(count, arguments);
  benchmark::Initialize(&count, arguments);
  all<gemm::portable_engine, double>("double");
  all<gemm::portable_engine, float>("float");
  all<gemm::portable_engine, bfloat16>("bfloat16");
#if SWITCHYARD_HAS_BLAS
  all<gemm::blas_engine, double>("double");
  all<gemm::blas_engine, float>("float");
#endif
#if SWITCHYARD_HAS_ONEDNN
  benchmark::RegisterBenchmark("onednn/float/micro_kernel", micro_kernel<float>);
  benchmark::RegisterBenchmark("onednn/bfloat16/micro_kernel", micro_kernel<bfloat16>);
  all<gemm::onednn_engine, float>("float");
  all<gemm::onednn_engine, bfloat16>("bfloat16");
#endif
  benchmark::RunSpecifiedBenchmarks();
}

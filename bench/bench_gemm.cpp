// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/closeness.hpp"
#include "support/decided.hpp"
#include "support/figures.hpp"
#include "support/matmul_loop.hpp"
#include <memory>
#include <switchyard/gemm/grouped_product.hpp>
#if SWITCHYARD_HAS_BLAS
#include <switchyard/gemm/blas.hpp>
#endif

// Grouped products (forward) and weight gradients (backward) of every engine, against the same with one group and a
// loop of library calls. Groups stand for experts: the rows of a group are those of the tokens that drew it, d_model is
// K and d_ff is N. Checked on some rows, or some elements, in double.

namespace {

namespace gemm = switchyard::gemm;
using namespace bench;
using switchyard::accumulate_t, switchyard::bfloat16;

template <class T>
struct store {
  static constexpr bool paired = false;
  matrix<T> to;
  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n,
                                  const accumulate_t<T>* sum) const {
    T* out = &to(row, column);
    for (int j = 0; j < n; ++j) out[j] = T(sum[j]);
  }
};

/// Rows of x, taken through an index in the order of their experts, times W of their group; or x^T y of each group.
template <class Engine, class T>
struct problem : decided {
  std::int64_t K = entry.shape.d_model, N = entry.shape.d_ff, groups = entry.shape.experts;
  matrix<T> x = random_matrix<T>("bench::x", entry.shape.tokens, K, 11);
  matrix<T> y = random_matrix<T>("bench::y", rows(), N, 12);
  stack<float> w = random_stack<float>("bench::w", groups, K, N, 13, 1 / std::sqrt(static_cast<float>(K)));
  stack<float> dw{"bench::dw", size(groups), size(K), size(N)};
  typename Engine::template packed<exec_space, T> packed = Engine::template allocate<exec_space, T>(exec, groups, K, N);

  explicit problem(const bench::entry& e) : decided(e) {
    Engine::template pack<exec_space, T>(exec, packed, w, gemm::orientation::forward);
    exec.fence("bench: the weights are packed");
  }
  void run() const {
    const gemm::rows<T, space> left(x, assignment.row_token);
    if (entry.pass == pass::forward)
      gemm::grouped_product<Engine>(exec, assignment.groups(), left, packed, store<T>{y});
    else
      gemm::grouped_weight_gradient<Engine>(exec, assignment.groups(), left, gemm::rows<T, space>(y), packed, dw,
                                            false);
    exec.fence("bench: the product is done");
  }
  double left(std::int64_t r, std::int64_t k) const { return number_of_value(x(assignment.row_token(r), k)); }
  std::string wrong() const {
    closeness all;
    for (std::int64_t i = 0; i < 16; ++i) {
      if (entry.pass == pass::forward) {
        const std::int64_t r = i * rows() / 16;
        const std::int64_t g = std::upper_bound(offset.begin(), offset.end(), r) - offset.begin() - 1;
        for (std::int64_t n = 0; n < N; n += 5) {
          double sum = 0;
          for (std::int64_t k = 0; k < K; ++k) sum += left(r, k) * number_of_value(T(w(g, k, n)));
          all.add(number_of_value(y(r, n)), sum);
        }
      } else {
        const std::int64_t g = i * groups / 16, k = i * K / 16;
        for (std::int64_t n = 0; n < N; n += 101) {
          double sum = 0;
          for (std::int64_t r = offset[size(g)]; r < offset[size(g + 1)]; ++r)
            sum += left(r, k) * number_of_value(y(r, n));
          all.add(static_cast<double>(dw(g, k, n)), sum);
        }
      }
    }
    return all.verdict(entry.pass == pass::forward ? "product" : "gradient", allowed_error<T>);
  }
};

template <class Engine, class T>
void product(benchmark::State& state, const entry& e) {
  const auto p = std::make_shared<problem<Engine, T>>(e);
  p->run();
  if (chosen().control) fill_random(p->x, 95, 1); // the check believes another x
  const auto why = p->wrong();
  if (!why.empty()) return fail(state, why);
  if (chosen().control) return state.SkipWithMessage("not noticed");

  const bool back = e.pass == pass::backward;
  const workload w = p->work();
  subject s{.entry = e, .rows = w.R, .active = w.active, .useful = 2 * w.R * w.M * w.F};
  s.costs = {{"product", s.useful,
              w.b * (w.T * w.M + w.R * w.F + (back ? 0 : w.weights())) + (back ? 4 * w.E * w.M * w.F : 0)}};
  s.call = [p] { p->run(); };
  entry one = e;
  one.shape.experts = 1;
  one.routing = routing::one; // no capacity: all rows
  const auto dense = std::make_shared<problem<gemm::default_engine<exec_space, T>, T>>(one);
  s.dense = [dense] { dense->run(); };
  s.dense_flop = 2 * w.T * w.M * w.F;
  if (matmul_loop::available(e.number) && std::is_same_v<Engine, gemm::default_engine<exec_space, T>>) {
    const auto rows = random_matrix<T>("bench::rows", p->rows(), p->K, 14);
    const auto y = random_matrix<T>("bench::loop_y", p->rows(), p->N, 15);
    const auto loop = std::make_shared<matmul_loop>(e.number, p->K, p->N, p->offset, p->w.data());
    const auto gather = [p, rows] {
      Kokkos::parallel_for("bench::loop_gather", range(p->exec, 0, p->rows()),
                           [from = p->assignment.row_token, x = p->x, rows](std::int64_t r) {
                             for (std::size_t c = 0; c < x.extent(1); ++c) rows(r, c) = x(from(r), c);
                           });
    };
    gather();
    const auto dw = back ? stack<float>("bench::loop_dw", size(p->groups), size(p->K), size(p->N)) : stack<float>();
    if (back)
      s.loop = [=] {
        gather();
        loop->gradient(rows.data(), p->y.data(), dw.data());
      };
    else
      s.loop = [=] {
        gather();
        loop->product(rows.data(), y.data());
      };
    s.loop();
    closeness same;
    for (std::int64_t r = 0; r < p->rows() && !back; ++r)
      for (std::int64_t n = 0; n < p->N; n += 7) same.add(number_of_value(y(r, n)), number_of_value(p->y(r, n)));
    for (std::size_t i = 0; i < dw.size(); i += 7)
      same.add(static_cast<double>(dw.data()[i]), static_cast<double>(p->dw.data()[i]));
    const auto different = same.verdict("loop", allowed_error<T>);
    if (!different.empty()) return fail(state, different);
  }
  measure(state, s);
}

/// Both orientations, once per update.
template <class Engine, class T>
void pack(benchmark::State& state) {
  const exec_space exec;
  const std::int64_t groups = state.range(0), k = state.range(1), n = state.range(2);
  const auto packed = Engine::template allocate<exec_space, T>(exec, groups, k, n);
  const auto turned = Engine::template allocate<exec_space, T>(exec, groups, n, k);
  const auto w = random_stack<float>("bench::w", groups, k, n, 16, 1);
  for (auto _ : state) {
    Engine::template pack<exec_space, T>(exec, packed, w, gemm::orientation::forward);
    Engine::template pack<exec_space, T>(exec, turned, w, gemm::orientation::transposed);
    exec.fence("bench: the weights are packed");
  }
}

/// The ceiling: one kernel, one thread, all operands in the first-level cache.
template <class Source, class T>
void micro_kernel(benchmark::State& state) {
  constexpr std::int64_t depth = 64, height = 48, work = 64 * depth;
  const auto kernels = Source::template make<T>(depth, 64);
  if (!kernels) return state.SkipWithMessage("this CPU has no such kernel");
  const auto left = random_matrix<T>("bench::left", height, depth, 17);
  const auto panel = random_matrix<T>("bench::panel", depth, 64, 18);
  std::vector<float> sum(height * 64);
  std::vector<char> own(kernels->scratch);
  for (auto _ : state) kernels->multiply(left.data(), height, panel.data(), sum.data(), own.data());
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * height * work, benchmark::Counter::kIsIterationInvariantRate);
}

template <class Engine, class T>
void engine(const std::vector<std::int64_t>& experts, std::int64_t tokens = 4096) {
  for (const pass p : {pass::forward, pass::backward})
    for (const std::int64_t groups : experts) {
      const bool up_only = chosen().quick || experts.size() == 1;
      add(std::string("gemm_") + Engine::name,
          {.shape = {"up", 768, 3072, groups, tokens}, .pass = p, .number = number_of<T>}, product<Engine, T>);
      if (p == pass::forward && !up_only)
        add(std::string("gemm_") + Engine::name,
            {.shape = {"down", 3072, 768, groups, tokens}, .pass = p, .number = number_of<T>}, product<Engine, T>);
    }
  if (!chosen().quick && !chosen().control)
    benchmark::RegisterBenchmark(std::string("pack_") + Engine::name + "/" + name_of(number_of<T>), pack<Engine, T>)
        ->ArgNames({"E", "M", "F"})
        ->Args({8, 768, 3072})
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

void entries() {
  using fast_float = gemm::default_engine<exec_space, float>;
  using fast_bf16 = gemm::default_engine<exec_space, bfloat16>;
  if (!chosen().control) {
    using own = gemm::detail::avx512_source;
    benchmark::RegisterBenchmark("micro_kernel_avx512/fp32", micro_kernel<own, float>);
    benchmark::RegisterBenchmark("micro_kernel_avx512/bf16", micro_kernel<own, bfloat16>);
    using smaller = gemm::detail::avx2_source;
    benchmark::RegisterBenchmark("micro_kernel_avx2/fp32", micro_kernel<smaller, float>);
    benchmark::RegisterBenchmark("micro_kernel_avx2/bf16", micro_kernel<smaller, bfloat16>);
#if SWITCHYARD_HAS_ONEDNN
    using generated = gemm::detail::onednn_source;
    benchmark::RegisterBenchmark("micro_kernel_onednn/fp32", micro_kernel<generated, float>);
    benchmark::RegisterBenchmark("micro_kernel_onednn/bf16", micro_kernel<generated, bfloat16>);
#endif
  }
  const std::vector<std::int64_t> groups =
      chosen().quick ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{1, 8, 32, 128};
  engine<fast_bf16, bfloat16>(groups);
  engine<fast_float, float>(groups);
  if (chosen().quick) return;
#if SWITCHYARD_HAS_ONEDNN
  if (gemm::detail::onednn_source::make<bfloat16>(64, 64)) engine<gemm::onednn_engine, bfloat16>(groups);
  if (gemm::detail::onednn_source::make<float>(64, 64)) engine<gemm::onednn_engine, float>(groups);
#endif
  if (gemm::detail::avx2_source::make<float>(64, 64)) {
    engine<gemm::avx2_engine, bfloat16>({8});
    engine<gemm::avx2_engine, float>({8});
  }
#if SWITCHYARD_HAS_BLAS
  engine<gemm::blas_engine, float>({8});
#endif
  if constexpr (!std::is_same_v<fast_float, gemm::portable_engine>) {
    engine<gemm::portable_engine, float>({8}, 512); // fewer: it is the one that runs anywhere, not the fast one
    engine<gemm::portable_engine, bfloat16>({8}, 512);
  }
}

} // namespace

int main(int count, char** arguments) {
  return run(count, arguments, entries);
}

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "gpu/problem.hpp"
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <switchyard/gemm/cublas.hpp>

// The layer on the default execution space beside the limits of the same run: the product 8192^3, a copy, and a loop of
// cuBLAS calls, one per expert and product. Each layer is checked before it is timed, and so is what moves its rows.
//
//   bench_gpu_layer [--tiny] [--control] [--only NAME] [--seconds S] [--json FILE]
//
// --tiny: shapes for a machine without a GPU, to try the program itself. --control: spoils a weight after packing; exit
// status 0 if every check notices. Exit status 1 if a layer is wrong.

namespace {

using namespace gpu;

struct options {
  bool tiny = false, control = false;
  std::string only, json;
  double seconds = 3; ///< per figure
} chosen;

struct quartiles {
  double lower = 0, median = 0, upper = 0;
  int samples = 0;
};

/// Seconds between two points of the stream: of the GPU where there is one.
class stopwatch {
 public:
#if defined(KOKKOS_ENABLE_CUDA)
  stopwatch() {
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  ~stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;
  void start(const exec_space& exec) {
    cudaEventRecord(begin_, exec.cuda_stream());
  }
  double stop(const exec_space& exec) {
    cudaEventRecord(end_, exec.cuda_stream());
    cudaEventSynchronize(end_);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin_, end_);
    return static_cast<double>(ms) * 1e-3;
  }

 private:
  cudaEvent_t begin_, end_;
#else
  void start(const exec_space& exec) {
    exec.fence("bench: begin");
    timer_.reset();
  }
  double stop(const exec_space& exec) {
    exec.fence("bench: end");
    return timer_.seconds();
  }

 private:
  Kokkos::Timer timer_;
#endif
};

/// Every sample is one call, behind one that fills the second-level cache with other data. What prepares a call is not
/// timed.
quartiles measure(const exec_space& exec, const std::function<void()>& call,
                  const std::function<void()>& prepare = {}) {
  static Kokkos::View<float*, space> other; // let go of by a finalize hook
  static const bool once = (Kokkos::push_finalize_hook([] { other = {}; }), true);
  (void)once;
  if (other.size() == 0) other = Kokkos::View<float*, space>("other", chosen.tiny ? 1 << 10 : 64 << 20);
  stopwatch watch;
  std::vector<double> seconds;
  if (prepare) prepare();
  call();
  exec.fence("bench: warm");
  for (double spent = 0; seconds.size() < 5 || (spent < chosen.seconds && seconds.size() < 101);) {
    if (prepare) prepare();
    Kokkos::deep_copy(exec, other, static_cast<float>(seconds.size()));
    watch.start(exec);
    call();
    seconds.push_back(watch.stop(exec));
    spent += seconds.back();
  }
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double q) {
    return seconds[static_cast<std::size_t>(q * static_cast<double>(seconds.size() - 1))];
  };
  return {at(0.25), at(0.5), at(0.75), static_cast<int>(seconds.size())};
}

std::FILE* json = nullptr;
void print(const std::string& name, const quartiles& q, double flop, double bytes,
           const std::vector<std::pair<std::string, double>>& ratios) {
  std::printf("%-34s %9.3f ms [%.3f, %.3f]", name.c_str(), 1e3 * q.median, 1e3 * q.lower, 1e3 * q.upper);
  if (flop > 0) std::printf("  %7.1f TFLOP/s", 1e-12 * flop / q.median);
  if (bytes > 0) std::printf("  %7.2f TB/s", 1e-12 * bytes / q.median);
  for (const auto& [what, r] : ratios) std::printf("  %s %.3f", what.c_str(), r);
  std::printf("\n");
  std::fflush(stdout);
}

/// One line for people, one object for programs. Kernels that nothing is compared with are for programs alone.
void report(const std::string& name, const quartiles& q, double flop, double bytes,
            const std::vector<std::pair<std::string, double>>& ratios = {}) {
  if (flop > 0 || bytes > 0) print(name, q, flop, bytes, ratios);
  if (json == nullptr) return;
  std::fprintf(json,
               "{\"name\": \"%s\", \"time_ms\": %.6f, \"time_ms_q1\": %.6f, \"time_ms_q3\": %.6f, \"samples\": %d",
               name.c_str(), 1e3 * q.median, 1e3 * q.lower, 1e3 * q.upper, q.samples);
  if (flop > 0) std::fprintf(json, ", \"TFLOP/s\": %.3f", 1e-12 * flop / q.median);
  if (bytes > 0) std::fprintf(json, ", \"TB/s\": %.4f", 1e-12 * bytes / q.median);
  for (const auto& [what, r] : ratios) std::fprintf(json, ", \"%s\": %.4f", what.c_str(), r);
  std::fprintf(json, "}\n");
  std::fflush(json);
}

/// c = T(sum): what a plain product does with its sums.
struct keep {
  static constexpr bool paired = false;
  Kokkos::View<value**, Kokkos::LayoutRight, space> c;
  KOKKOS_FUNCTION void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n, const float* sum) const {
    value* const to = c.data() + row * static_cast<std::int64_t>(c.extent(1)) + column;
    for (int j = 0; j < n; ++j) to[j] = value(sum[j]);
  }
};

/// n^3 through the library, its sizes known to the GPU alone, or to the host too.
quartiles square(const exec_space& exec, std::int64_t n, bool host_knows) {
  using engine = sy::gemm::default_engine<exec_space, value>;
  const auto extent = static_cast<std::size_t>(n);
  const Kokkos::View<value**, Kokkos::LayoutRight, space> a("a", extent, extent), c("c", extent, extent);
  const Kokkos::View<float***, Kokkos::LayoutRight, space> w("w", 1, extent, extent);
  fill_random(a, 11);
  fill_random(w, 12);
  const auto packed = engine::allocate<exec_space, value>(exec, 1, n, n);
  engine::pack<exec_space, value>(exec, packed, w, sy::gemm::orientation::forward);
  const Kokkos::View<std::int64_t*, space> offset("offset", 2);
  Kokkos::deep_copy(Kokkos::subview(offset, 1), n);
  const sy::gemm::row_groups<space> groups{offset, n, host_knows ? n : 0};
  return measure(
      exec, [&] { sy::gemm::grouped_product<engine>(exec, groups, sy::gemm::rows<value, space>(a), packed, keep{c}); });
}

#if SWITCHYARD_HAS_CUBLAS && defined(KOKKOS_ENABLE_CUDA)
/// The products of a layer alone as a loop of cuBLAS calls, whose counts the host knows: no router, no gather, no
/// activation, no combine, results and gradients in bfloat16, all in the loop's favour.
class cublas_loop {
 public:
  cublas_loop(const problem& p, const std::vector<std::int64_t>& counts)
      : s_(p.shape), counts_(counts), handle_(sy::gemm::detail::handle_of(p.exec)), wide_((s_.gated ? 2 : 1) * s_.d_ff),
        rows_(all(counts), s_.d_model), hidden_(all(counts), wide_), up_(s_.experts * s_.d_model, wide_),
        down_(s_.experts * s_.d_ff, s_.d_model),
        sums_("sums", static_cast<std::size_t>(all(counts) * std::max(wide_, s_.d_model))) {
    for (const auto& m : {rows_.view, hidden_.view, up_.view, down_.view}) fill_random(m, 21);
  }
  void forward() const {
    each([&](std::int64_t e, std::int64_t first, std::int64_t n) {
      multiply(sy::gemm::detail::product_call(1, n, wide_, s_.d_model, s_.d_model, s_.d_model, 0),
               up_.at(e * s_.d_model), rows_.at(first), first * wide_);
      multiply(sy::gemm::detail::product_call(1, n, s_.d_model, s_.d_ff, s_.d_ff, wide_, 0), down_.at(e * s_.d_ff),
               hidden_.at(first), first * s_.d_model);
    });
  }
  void backward() const {
    each([&](std::int64_t e, std::int64_t first, std::int64_t n) {
      multiply(sy::gemm::detail::product_call(1, n, s_.d_ff, s_.d_model, s_.d_model, s_.d_model, 0),
               down_.at(e * s_.d_ff), rows_.at(first), first * s_.d_ff);
      multiply(sy::gemm::detail::product_call(1, n, s_.d_model, wide_, wide_, wide_, 0), up_.at(e * s_.d_model),
               hidden_.at(first), first * s_.d_model);
    });
    const std::int64_t room = static_cast<std::int64_t>(sums_.size());
    each([&](std::int64_t, std::int64_t first, std::int64_t n) { // gradients that fit: the same place for all
      if (s_.d_model * wide_ > room) return;
      multiply(sy::gemm::detail::gradient_call(1, n, s_.d_model, wide_, s_.d_model, 0, wide_, 0), hidden_.at(first),
               rows_.at(first), 0);
      multiply(sy::gemm::detail::gradient_call(1, n, s_.d_ff, s_.d_model, wide_, 0, s_.d_model, 0), rows_.at(first),
               hidden_.at(first), 0);
    });
  }

 private:
  struct matrix {
    Kokkos::View<value**, Kokkos::LayoutRight, space> view;
    matrix(std::int64_t rows, std::int64_t columns)
        : view("loop", static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)) {}
    const value* at(std::int64_t row) const { return view.data() + row * static_cast<std::int64_t>(view.extent(1)); }
  };
  static std::int64_t all(const std::vector<std::int64_t>& counts) {
    std::int64_t sum = 0;
    for (const auto n : counts) sum += n;
    return sum;
  }
  template <class F>
  void each(const F& f) const {
    for (std::int64_t e = 0, first = 0; e < s_.experts; first += counts_[static_cast<std::size_t>(e++)])
      f(e, first, counts_[static_cast<std::size_t>(e)]);
  }
  void multiply(const sy::gemm::detail::batched_call& c, const value* left, const value* right, std::int64_t at) const {
    handle_->multiply<value>(c, left, right, sums_.data() + at, false, false);
  }

  gpu::shape s_;
  std::vector<std::int64_t> counts_;
  std::shared_ptr<sy::gemm::detail::cublas_handle> handle_;
  std::int64_t wide_;
  matrix rows_, hidden_, up_, down_;
  Kokkos::View<value*, space> sums_;
};
#endif

/// Seconds of each kernel of a call by its label, each waited for: more than in the stream, but comparable.
std::map<std::string, double> seconds_by_label(const exec_space& exec, const std::function<void()>& call) {
  static std::map<std::string, double>* into;
  static std::string label;
  static Kokkos::Timer timer;
  static const exec_space* where;
  std::map<std::string, double> all;
  into = &all;
  where = &exec;
  using namespace Kokkos::Tools::Experimental;
  const auto begin = [](const char* name, const std::uint32_t, std::uint64_t*) {
    label = name;
    where->fence("bench: before a kernel");
    timer.reset();
  };
  const auto end = [](const std::uint64_t) {
    where->fence("bench: behind a kernel");
    (*into)[label] += timer.seconds();
  };
  set_begin_parallel_for_callback(begin);
  set_end_parallel_for_callback(end);
  call();
  set_begin_parallel_for_callback(nullptr);
  set_end_parallel_for_callback(nullptr);
  return all;
}

/// t_min of docs/performance.md: FLOP and bytes of the leanest data flow, kernel by kernel.
double least_time(const gpu::shape& s, double rows, bool backward, double flops, double bandwidth) {
  const double m = static_cast<double>(s.d_model), f = static_cast<double>(s.d_ff), e = static_cast<double>(s.experts),
               t = static_cast<double>(s.tokens), g = s.gated ? 2 : 1, b = 2, weights = b * e * m * f;
  const auto kernel = [&](double flop, double bytes) { return std::max(flop / flops, bytes / bandwidth); };
  if (!backward)
    return kernel(2 * rows * m * f * g, b * (t * m + rows * f * (s.gated ? 3 : 1)) + g * weights) +
           kernel(2 * rows * m * f, b * (rows * f + t * m) + weights) + kernel(0, b * t * m + 8 * t * e);
  return kernel(2 * rows * m * f, b * (t * m + rows * f * (s.gated ? 5 : 2)) + weights) +
         kernel(2 * rows * m * f * g, b * (rows * f * g + rows * m) + g * weights) +
         kernel(2 * rows * m * f, b * (t * m + rows * f) + 2 * weights) +
         kernel(2 * rows * m * f * g, b * (t * m + rows * f * g) + 2 * g * weights) +
         kernel(0, 2 * b * t * m + 4 * t * e);
}

struct limits {
  double flops, bandwidth;
};

/// Numbers that are not where they should be: to [row, column] is from [token of the row, column].
struct misplaced {
  const value *from, *to;
  const std::int64_t* token; // null: that of the row's number
  std::int64_t columns;
  KOKKOS_FUNCTION void operator()(std::int64_t i, std::int64_t& wrong) const {
    const std::int64_t row = token != nullptr ? token[i / columns] : i / columns;
    wrong += from[row * columns + i % columns].bits != to[i].bits ? 1 : 0;
  }
};
bool in_place(const exec_space& exec, const misplaced& kernel, std::int64_t rows) {
  std::int64_t wrong = 0;
  Kokkos::parallel_reduce(
      "gpu::misplaced",
      Kokkos::RangePolicy<exec_space, Kokkos::IndexType<std::int64_t>>(exec, 0, rows * kernel.columns), kernel, wrong);
  return wrong == 0;
}

/// What moves rows, by itself, behind a forward: tokens to the rows of their experts, as where experts are on several
/// ranks (one GPU gathers inside of the first product), and the sum of the choices. Every number is checked; false: one
/// is wrong. --control spoils one.
bool move_rows(const problem& p, std::int64_t rows, const limits& most) {
  const auto& t = p.tape;
  const std::int64_t tokens = p.shape.tokens, columns = p.shape.d_model;
  using matrix = Kokkos::View<value**, Kokkos::LayoutRight, space>;
  const auto make = [&](std::int64_t count) {
    return matrix("moved", static_cast<std::size_t>(count), static_cast<std::size_t>(columns));
  };
  const auto spoil = [](const matrix& m) {
    if (chosen.control) Kokkos::deep_copy(Kokkos::subview(m, m.extent(0) / 2, m.extent(1) - 1), value(77.0f));
  };
  const double bytes = 2 * static_cast<double>((rows + tokens) * columns);
  const auto timed = [&](const char* name, const std::function<void()>& call) {
    if (chosen.control) return;
    const quartiles q = measure(p.exec, call);
    report(p.shape.name + name, q, 0, bytes, {{"of_copy", bytes / q.median / most.bandwidth}});
  };
  bool all = true;
  {
    const matrix blocks = make(rows);
    const auto fill = [&] {
      sy::dispatch::fill_blocks<exec_space, value, float, space>(p.exec, t.size, t.set, t.decision, t.map(), t.x,
                                                                 blocks);
    };
    fill();
    spoil(blocks);
    const bool right = in_place(p.exec, {t.x.data(), blocks.data(), t.assignment.row_token.data(), columns}, rows);
    if (!chosen.control && right) timed("/gather", fill);
    all = all && right != chosen.control;
  }
  if (p.shape.choices == 1) {
    if (!chosen.control) std::printf("%s/combine: inside of the last product\n", p.shape.name.c_str());
    return all;
  }
  const matrix y = make(tokens);
  const auto combine = [&] {
    sy::combine::forward<exec_space, value, float, space>(p.exec, t.size, t.set, t.decision, t.map(), t.combined_rows(),
                                                          y);
  };
  combine();
  spoil(y);
  const bool right = in_place(p.exec, {p.y.data(), y.data(), nullptr, columns}, tokens); // p.y has been checked
  if (!chosen.control && right) timed("/combine", combine);
  return all && right != chosen.control;
}

/// false: the layer is wrong.
bool run_layer(const gpu::shape& s, const limits& most) {
  problem p(s);
  if (chosen.control) { // the layer gets other weights than the reference
    Kokkos::deep_copy(Kokkos::subview(p.weights.wo, Kokkos::ALL, Kokkos::ALL, 0), 5.0f);
  }
  p.forward();
  p.backward();
  p.exec.fence("bench: the results are checked");
  const double worst = check(p).worst(s.d_model * s.d_ff > (16 << 20) ? 2 : 5);
  const bool right = worst <= 0.02;
  std::printf("%s: relative error %.2g, %s\n", s.name.c_str(), worst, right ? "right" : "WRONG");
  if (!chosen.control && !right) return false;

  const auto load = p.layer.expert_load(p.exec, p.tape);
  std::int64_t row_count = 0;
  for (const auto n : load) row_count += n;
  const bool moved = move_rows(p, row_count, most);
  if (!moved) std::printf("%s: rows are moved WRONG%s\n", s.name.c_str(), chosen.control ? ", not noticed" : "");
  if (chosen.control || !moved) return moved && right != chosen.control;
  const auto rows = static_cast<double>(row_count);
  const double flop = 2 * rows * static_cast<double>(s.d_model * s.d_ff) * (s.gated ? 3 : 2);
  const auto both = [&](const std::string& name, const quartiles& q, bool backward) {
    const double useful = backward ? 2 * flop : flop;
    report(s.name + name, q, useful, 0,
           {{"of_8192^3", useful / q.median / most.flops},
            {"of_roofline", least_time(s, rows, backward, most.flops, most.bandwidth) / q.median}});
  };
  both("/forward", measure(p.exec, [&] { p.forward(); }), false);
  both("/backward",
       measure(
           p.exec, [&] { p.backward(); }, [&] { p.forward(); }),
       true);
  for (const bool backward : {false, true})
    for (const auto& [label, seconds] : seconds_by_label(p.exec, [&] { backward ? p.backward() : p.forward(); }))
      report(s.name + (backward ? "/backward: " : "/forward: ") + label, {seconds, seconds, seconds, 1}, 0, 0);
#if SWITCHYARD_HAS_CUBLAS && defined(KOKKOS_ENABLE_CUDA)
  const cublas_loop loop(p, load);
  both("/cublas_loop/forward", measure(p.exec, [&] { loop.forward(); }), false);
  both("/cublas_loop/backward", measure(p.exec, [&] { loop.backward(); }), true);
#endif
  return true;
}

int run() {
  const exec_space exec;
  std::vector<gpu::shape> shapes{{"mixtral_8x7b", 8192, 4096, 14336, 8, 2, true},
                                 {"qwen3_30b_a3b", 32768, 2048, 768, 128, 8, true},
                                 {"switch_base_128", 32768, 768, 3072, 128, 1, false}};
  if (chosen.tiny) shapes = {{"tiny_gated", 96, 64, 96, 4, 2, true}, {"tiny_switch", 160, 40, 72, 8, 1, false}};
  limits most{1, 1};
  if (!chosen.control) {
    const std::int64_t n = chosen.tiny ? 128 : 8192;
    const double flop = 2.0 * static_cast<double>(n * n * n);
    const auto ours = square(exec, n, false), known = square(exec, n, true);
    most.flops = flop / std::min(ours.median, known.median); // the faster one is what the others are held to
    report(std::to_string(n) + "^3, sizes on the GPU", ours, flop, 0);
    report(std::to_string(n) + "^3, sizes on the host", known, flop, 0);
    const std::size_t bytes = chosen.tiny ? 1 << 16 : std::size_t{1} << 30;
    const Kokkos::View<char*, space> from("from", bytes), to("to", bytes);
    const auto copy = measure(exec, [&] { Kokkos::deep_copy(exec, to, from); });
    most.bandwidth = 2 * static_cast<double>(bytes) / copy.median;
    report("copy", copy, 0, 2 * static_cast<double>(bytes));
  }
  bool right = true;
  for (const auto& s : shapes)
    if (chosen.only.empty() || s.name == chosen.only) right = run_layer(s, most) && right;
  return right ? 0 : 1;
}

} // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string flag = arguments[i];
    const auto next = [&] { return i + 1 < count ? arguments[++i] : ""; };
    if (flag == "--tiny")
      chosen.tiny = true;
    else if (flag == "--control")
      chosen.control = true;
    else if (flag == "--only")
      chosen.only = next();
    else if (flag == "--seconds")
      chosen.seconds = std::atof(next());
    else if (flag == "--json")
      chosen.json = next();
    else {
      std::fprintf(stderr, "bench_gpu_layer [--tiny] [--control] [--only NAME] [--seconds S] [--json FILE]\n");
      return 2;
    }
  }
  if (!chosen.json.empty() && (json = std::fopen(chosen.json.c_str(), "w")) == nullptr) {
    std::perror(chosen.json.c_str());
    return 2;
  }
  Kokkos::initialize();
  const int result = run();
  Kokkos::finalize();
  if (json != nullptr) std::fclose(json);
  return result;
}

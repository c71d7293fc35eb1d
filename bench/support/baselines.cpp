// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/baselines.hpp"
#include "support/data.hpp"
#include <cstring>
#include <switchyard/experts/ffn.hpp>

namespace bench {
namespace {

namespace gemm = switchyard::gemm;
namespace experts = switchyard::experts;
using switchyard::accumulate_t, switchyard::bfloat16;

template <class T>
struct store {
  static constexpr bool paired = false;
  matrix<T> to;
  void operator()(std::int64_t, std::int64_t row, std::int64_t column, int n, const accumulate_t<T>* sum) const {
    T* out = &to(row, column);
    for (int j = 0; j < n; ++j) out[j] = T(sum[j]);
  }
};

/// One group of all rows.
gemm::row_groups<space> all_rows(std::int64_t rows) {
  const vector<std::int64_t> offset("bench::offset", 2);
  offset(1) = rows;
  return {offset, rows};
}

template <class T>
struct large {
  using engine = gemm::default_engine<exec_space, T>;
  exec_space exec;
  matrix<T> x = random_matrix<T>("bench::x", 2048, 4096, 11), y = allocate<matrix<T>>("bench::y", 2048, 4096);
  gemm::row_groups<space> rows = all_rows(2048);
  typename engine::template packed<exec_space, T> packed =
      engine::template allocate<exec_space, T>(exec, 1, 4096, 4096);
  large() {
    engine::template pack<exec_space, T>(exec, packed, random_stack<float>("bench::w", 1, 4096, 4096, 12, 0.01f),
                                         gemm::orientation::forward);
    exec.fence("bench: the weights are packed");
  }
  void operator()() const {
    gemm::grouped_product<engine>(exec, rows, gemm::rows<T, space>(x), packed, store<T>{y});
    exec.fence("bench: the product is done");
  }
};

std::shared_ptr<large<float>> large_float;
std::shared_ptr<large<bfloat16>> large_bf16;
vector<char> from, to;

void reserve(std::size_t bytes) {
  if (from.size() >= bytes) return;
  from = vector<char>("bench::from", bytes);
  to = vector<char>("bench::to", bytes);
  const auto words = Kokkos::View<std::uint64_t*, space, Kokkos::MemoryUnmanaged>(
      reinterpret_cast<std::uint64_t*>(from.data()), bytes / 8);
  Kokkos::parallel_for("bench::fill", range(0, static_cast<std::int64_t>(bytes / 8)),
                       [=](std::int64_t i) { words(i) = mixed(static_cast<std::uint64_t>(i)); });
  Kokkos::fence("bench: the numbers are there");
}

/// Task i of n over `bytes`, in cache lines.
struct piece {
  std::size_t begin, count;
  piece(std::int64_t i, std::int64_t n, std::size_t bytes) {
    const std::size_t lines = bytes / 64, each = lines / static_cast<std::size_t>(n);
    begin = 64 * each * static_cast<std::size_t>(i);
    count = i + 1 == n ? bytes - begin : 64 * each;
  }
};

std::int64_t threads() {
  return exec_space().concurrency();
}

template <class T>
struct ffn {
  using engine = gemm::default_engine<exec_space, T>;
  exec_space exec;
  experts::ffn_settings set;
  experts::packed_ffn<engine, exec_space, T> packed;
  experts::ffn_rows<space> rows;
  matrix<T> x, o, d_o, dx;
  experts::ffn_tape<T, space> tape;
  experts::ffn_gradients<float, space> gradients;

  ffn(std::int64_t m, std::int64_t f, std::int64_t tokens) : tape(tokens, f, set) {
    x = random_matrix<T>("bench::x", tokens, m, 21);
    d_o = random_matrix<T>("bench::do", tokens, m, 22);
    o = allocate<matrix<T>>("bench::o", tokens, m);
    dx = allocate<matrix<T>>("bench::dx", tokens, m);
    const auto wi = random_stack<float>("bench::wi", 1, m, f, 23, 1 / std::sqrt(static_cast<float>(m)));
    const auto wo = random_stack<float>("bench::wo", 1, f, m, 24, 1 / std::sqrt(static_cast<float>(f)));
    const auto pack = [&](auto& into, std::int64_t k, std::int64_t n, const stack<float>& w, gemm::orientation how) {
      into = engine::template allocate<exec_space, T>(exec, 1, k, n);
      engine::template pack<exec_space, T>(exec, into, w, how);
    };
    pack(packed.wi, m, f, wi, gemm::orientation::forward);
    pack(packed.wo, f, m, wo, gemm::orientation::forward);
    pack(packed.wi_transposed, f, m, wi, gemm::orientation::transposed);
    pack(packed.wo_transposed, m, f, wo, gemm::orientation::transposed);
    rows.groups = all_rows(tokens);
    gradients.wi = stack<float>("bench::dwi", 1, size(m), size(f));
    gradients.wo = stack<float>("bench::dwo", 1, size(f), size(m));
    exec.fence("bench: the weights are packed");
  }
  void forward() const {
    experts::forward<engine, exec_space, T, space>(exec, set, packed, rows, x, tape, o);
    exec.fence("bench: the dense forward is done");
  }
  void backward() const {
    experts::backward<engine, exec_space, T, float, space>(exec, set, packed, rows, x, tape, d_o, dx, gradients, false);
    exec.fence("bench: the dense backward is done");
  }
};

} // namespace

std::function<void()> largest_product::make(number n) {
  if (n == number::fp32) {
    if (!large_float) large_float = std::make_shared<large<float>>();
    return [] { (*large_float)(); };
  }
  if (!large_bf16) large_bf16 = std::make_shared<large<bfloat16>>();
  return [] { (*large_bf16)(); };
}

std::function<void()> make_copy(std::size_t bytes) {
  reserve(bytes);
  return [bytes] {
    const std::int64_t n = threads();
    Kokkos::parallel_for("bench::copy", range(0, n), [=](std::int64_t i) {
      const piece p(i, n, bytes);
      std::memcpy(to.data() + p.begin, from.data() + p.begin, p.count);
    });
    Kokkos::fence("bench: the copy is done");
  };
}

std::function<void()> make_read(std::size_t bytes) {
  reserve(bytes);
  return [bytes] {
    const std::int64_t n = threads();
    std::uint64_t sum = 0;
    Kokkos::parallel_reduce(
        "bench::read", range(0, n),
        [=](std::int64_t i, std::uint64_t& all) {
          const piece p(i, n, bytes);
          const auto* words = reinterpret_cast<const std::uint64_t*>(from.data() + p.begin);
          std::uint64_t own[16] = {}; // as many loads in flight as the core can have
          for (std::size_t w = 0; w + 16 <= p.count / 8; w += 16)
            for (std::size_t l = 0; l < 16; ++l) own[l] += words[w + l];
          for (const auto o : own) all += o;
        },
        sum);
    if (sum == 1) to(0) = 1; // or the compiler would read nothing
  };
}

dense_ffn::dense_ffn(number n, std::int64_t d_model, std::int64_t d_ff, std::int64_t tokens) {
  const auto make = [&](const auto& own) {
    forward_ = [own] { own->forward(); };
    backward_ = [own] { own->backward(); };
    own->forward(); // a backward alone has something to go back through
  };
  if (n == number::fp32)
    make(std::make_shared<ffn<float>>(d_model, d_ff, tokens));
  else
    make(std::make_shared<ffn<bfloat16>>(d_model, d_ff, tokens));
}

std::function<void()> dense_ffn::call(pass p) const {
  if (p == pass::forward) return forward_;
  if (p == pass::backward) return backward_;
  return [forward = forward_, backward = backward_] {
    forward();
    backward();
  };
}

void release_baselines() {
  large_float.reset();
  large_bf16.reset();
  from = {};
  to = {};
}

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <switchyard/core/precision.hpp>
#include <ucontext.h>
#include <vector>

// A GPU for the kernels of gemm/detail/tensor_*.hpp, in plain C++: 256 threads of a block as coroutines that take turns
// at random, shared memory full of NaN, and the instructions as the PTX manual describes them (9.7.9.25 cp.async,
// 9.7.15 mma and ldmatrix, 9.7.16 wgmma and its matrix descriptors). What a GPU may do at any time between two
// instructions is done here at the first or at the last moment, as the test wants: copies when they are issued or when
// they are waited for, wgmma likewise. A stage that is overwritten too early, or read too early, gives wrong sums.

namespace tensor_machine {

enum class moment { first, last };

struct copy {
  std::uint32_t to;
  const void* from;
  int bytes;
};
struct product {
  float (*sum)[32][4];
  std::uint64_t left, right;
  bool transposed, half;
};

struct coroutine {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  std::vector<std::vector<copy>> copies{{}};      // groups; the last one is open
  std::vector<std::vector<product>> products{{}}; // likewise
  std::array<std::uint32_t, 6> given{};           // to the other lanes
};

/// Where threads wait for each other.
struct meeting {
  int here = 0;
  unsigned generation = 0;
};

/// One block while it runs.
struct block_state {
  std::vector<char> shared;
  std::vector<coroutine> threads{256};
  ucontext_t scheduler;
  int now = 0;
  std::int64_t block = 0, blocks = 1;
  moment copies = moment::last, products = moment::last;
  meeting all, warp[8], warpgroup[2];
  std::uint64_t progress = 0;
  int stage_barriers = 0;

  coroutine& me() { return threads[static_cast<std::size_t>(now)]; }
  void yield() { swapcontext(&me().context, &scheduler); }
  void meet(meeting& m, int count) {
    const unsigned generation = m.generation;
    ++progress;
    if (++m.here == count) {
      m.here = 0;
      ++m.generation;
    } else {
      while (m.generation == generation) yield();
    }
  }
};

inline block_state* state = nullptr;

template <class X>
X read(std::uint32_t address) {
  if (address + sizeof(X) > state->shared.size()) throw std::runtime_error("shared memory: read outside");
  X x;
  std::memcpy(&x, state->shared.data() + address, sizeof(X));
  return x;
}
template <class X>
void write(std::uint32_t address, const X& x) {
  if (address + sizeof(X) > state->shared.size()) throw std::runtime_error("shared memory: write outside");
  std::memcpy(state->shared.data() + address, &x, sizeof(X));
}
inline float number(std::uint16_t bits, bool half) {
  return half ? static_cast<float>(switchyard::half::from_bits(bits))
              : static_cast<float>(switchyard::bfloat16::from_bits(bits));
}

struct machine {
  static int thread() { return state->now; }
  static std::int64_t block() { return state->block; }
  static std::int64_t blocks() { return state->blocks; }
  static std::uint32_t memory() { return 1024; }
  static float* pointer(std::uint32_t address) { return reinterpret_cast<float*>(state->shared.data() + address); }

  static void land(const copy& c) {
    std::array<char, 16> line{};
    if (c.bytes > 0) std::memcpy(line.data(), c.from, static_cast<std::size_t>(c.bytes));
    write(c.to, line);
  }
  static void copy(std::uint32_t to, const void* from, int bytes) {
    if (to % 16 != 0 || (bytes > 0 && reinterpret_cast<std::uintptr_t>(from) % 16 != 0) || bytes > 16 || bytes < 0)
      throw std::runtime_error("cp.async: not 16 bytes at a multiple of 16");
    const tensor_machine::copy c{to, from, bytes};
    if (state->copies == moment::first)
      land(c);
    else
      state->me().copies.back().push_back(c);
  }
  static void commit() { state->me().copies.emplace_back(); }
  template <int pending>
  static void wait() {
    auto& groups = state->me().copies;
    while (groups.size() > pending + 1) {
      for (const auto& c : groups.front()) land(c);
      groups.erase(groups.begin());
    }
  }
  static void barrier() { state->meet(state->all, 256); }
  static void warp_barrier() { state->meet(state->warp[state->now / 32], 32); }

  static void store(std::uint32_t to, std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    write(to, std::array{a, b, c, d});
  }
  static void store(std::uint32_t to, float a, float b) { write(to, std::array{a, b}); }
  static void load(std::uint32_t from, float (&v)[8]) {
    if (from % 16 != 0) throw std::runtime_error("ld.shared.v4: not a multiple of 16");
    for (std::uint32_t i = 0; i < 8; ++i) v[i] = read<float>(from + 4 * i);
  }
  static void load_pair(const float* from, float (&v)[2]) {
    if (reinterpret_cast<std::uintptr_t>(from) % 8 != 0) throw std::runtime_error("ld.v2: not a multiple of 8");
    v[0] = from[0];
    v[1] = from[1];
  }
  static void store_pair(float* to, float a, float b) {
    if (reinterpret_cast<std::uintptr_t>(to) % 8 != 0) throw std::runtime_error("st.v2: not a multiple of 8");
    to[0] = a;
    to[1] = b;
  }

  /// What lane `lane` of this warp has given.
  static const std::array<std::uint32_t, 6>& given(int lane) {
    return state->threads[static_cast<std::size_t>(state->now / 32 * 32 + lane)].given;
  }

  template <bool Transposed>
  static void load_matrices(std::uint32_t line, std::uint32_t (&m)[4]) {
    if (line % 16 != 0) throw std::runtime_error("ldmatrix: a line is not at a multiple of 16");
    state->me().given[0] = line;
    warp_barrier();
    const int lane = state->now % 32;
    for (int i = 0; i < 4; ++i) {
      const auto at = [&](int row, int column) {
        return std::uint32_t{read<std::uint16_t>(given(8 * i + row)[0] + 2 * static_cast<std::uint32_t>(column))};
      };
      const int g = lane / 4, t = lane % 4 * 2;
      m[i] = Transposed ? at(t, g) | at(t + 1, g) << 16 : at(g, t) | at(g, t + 1) << 16;
    }
    warp_barrier();
  }

  template <class T>
  static void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    state->me().given = {a[0], a[1], a[2], a[3], b0, b1};
    warp_barrier();
    const int lane = state->now % 32;
    const auto part_of = [](std::uint32_t pair, int which) {
      return number(static_cast<std::uint16_t>(which == 0 ? pair : pair >> 16), std::same_as<T, switchyard::half>);
    };
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int k = 0; k < 16; ++k) {
        const std::size_t a_register = static_cast<std::size_t>(row / 8 + k / 8 * 2);
        const std::size_t b_register = static_cast<std::size_t>(4 + k / 8);
        sum[i] += part_of(given(row % 8 * 4 + k % 8 / 2)[a_register], k % 2) *
                  part_of(given(column * 4 + k % 8 / 2)[b_register], k % 2);
      }
    }
    warp_barrier();
  }

  static void warpgroup_begin(float (&)[32][4]) {}
  template <class T, bool Transposed>
  static void warpgroup_multiply(float (&sum)[32][4], std::uint64_t left, std::uint64_t right) {
    const product p{&sum, left, right, Transposed, std::same_as<T, switchyard::half>};
    state->me().given = {static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(left >> 32),
                         static_cast<std::uint32_t>(right), static_cast<std::uint32_t>(right >> 32)};
    auto& group = state->warpgroup[state->now / 128];
    state->meet(group, 128);
    for (int t = state->now / 128 * 128; t < state->now; ++t) // .aligned: all threads name the same matrices
      if (state->threads[static_cast<std::size_t>(t)].given != state->me().given)
        throw std::runtime_error("wgmma: the threads of a warpgroup differ");
    state->meet(group, 128);
    if (state->products == moment::first)
      carry_out(p);
    else
      state->me().products.back().push_back(p);
  }
  static void warpgroup_commit() { state->me().products.emplace_back(); }
  template <int pending>
  static void warpgroup_wait(float (&)[32][4]) {
    auto& groups = state->me().products;
    while (groups.size() > pending + 1) {
      for (const auto& p : groups.front()) carry_out(p);
      groups.erase(groups.begin());
    }
  }

  /// Element (mn, k) of a matrix in shared memory with the 128-byte swizzle.
  static float element(std::uint64_t descriptor, int mn, int k, bool mn_major, bool half) {
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) throw std::runtime_error("wgmma: another swizzle");
    const auto bytes = [&](int from) { return static_cast<std::uint32_t>(descriptor >> from & 0x3fff) << 4; };
    const auto u = [](int i) { return static_cast<std::uint32_t>(i); };
    const std::uint32_t start = bytes(0), leading = bytes(16), stride = bytes(32);
    const std::uint32_t plain = mn_major
                                    ? start + u(mn % 64) * 2 + u(mn / 64) * leading + u(k % 8) * 128 + u(k / 8) * stride
                                    : start + u(mn % 8) * 128 + u(mn / 8) * stride + u(k) * 2;
    return number(read<std::uint16_t>(plain ^ (plain >> 3 & 0x70)), half);
  }
  static void carry_out(const product& p) {
    const int lane = state->now % 32, warp = state->now / 32 % 4;
    for (int h = 0; h < 2; ++h) {
      float left[16];
      for (int k = 0; k < 16; ++k) left[k] = element(p.left, 16 * warp + 8 * h + lane / 4, k, p.transposed, p.half);
      for (int j = 0; j < 32; ++j)
        for (int e = 0; e < 2; ++e)
          for (int k = 0; k < 16; ++k)
            (*p.sum)[j][2 * h + e] += left[k] * element(p.right, 8 * j + lane % 4 * 2 + e, k, p.transposed, p.half);
    }
  }
};

/// Runs kernel.run<machine>() in `blocks` blocks, one after another. Throws where threads wait for each other for ever.
template <class Kernel>
void run(const Kernel& kernel, std::int64_t blocks, moment copies, moment products, unsigned seed) {
  constexpr std::size_t stack_bytes = 128 << 10;
  std::mt19937 bits(seed);
  static const Kernel* running;
  static std::string failure;
  running = &kernel;
  failure.clear();
  for (std::int64_t b = 0; b < blocks; ++b) {
    block_state block;
    state = &block;
    block.shared.assign(1024 + Kernel::shared_bytes, static_cast<char>(0xff)); // NaN in every type
    block.block = b;
    block.blocks = blocks;
    block.copies = copies;
    block.products = products;
    for (auto& t : block.threads) {
      t.stack = std::make_unique_for_overwrite<char[]>(stack_bytes);
      getcontext(&t.context);
      t.context.uc_stack.ss_sp = t.stack.get();
      t.context.uc_stack.ss_size = stack_bytes;
      t.context.uc_link = &block.scheduler;
      makecontext(
          &t.context,
          +[] {
            try {
              running->template run<machine>();
            } catch (const std::exception& e) {
              failure = e.what();
            }
            state->me().done = true;
            ++state->progress;
          },
          0);
    }
    std::array<int, 256> order;
    std::iota(order.begin(), order.end(), 0);
    for (bool running_still = true; running_still && failure.empty();) {
      std::shuffle(order.begin(), order.end(), bits);
      running_still = false;
      const std::uint64_t before = block.progress;
      for (const int t : order) {
        if (block.threads[static_cast<std::size_t>(t)].done || !failure.empty()) continue;
        running_still = true;
        block.now = t;
        swapcontext(&block.scheduler, &block.me().context);
      }
      if (running_still && block.progress == before) throw std::runtime_error("threads wait for each other for ever");
    }
    state = nullptr;
    if (!failure.empty()) throw std::runtime_error(failure);
    for (const auto& t : block.threads)
      for (const auto& group : t.products)
        if (!group.empty()) throw std::runtime_error("a product was never waited for");
  }
}

} // namespace tensor_machine

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_BitManipulation.hpp>
#include <Kokkos_Core.hpp>
#include <cstdint>
#include <cstring>
#include <switchyard/core/bfloat16.hpp>
#include <type_traits>
#include <utility>

/// \file
/// What kernels for GPUs are written in: a warp of 32 lanes that step together, and a block of such warps. A kernel is
/// a template over the warp or block that runs it, and holds what differs from lane to lane in Warp::values: one
/// element on a device, where a thread is a lane, 32 on the host, where a loop over the lanes takes the threads' place.
/// So the same index arithmetic runs in tests without a GPU, lane by lane.
///
///   warp.each([&](int lane, int i) { v[i] = ...; })  every lane's part of a step; v[i] is the lane's own element
///   warp.make<T>([&](int lane, int i) { return ... })
///   warp.reduce(v, combine)                          the same for all lanes: v_l with v_{l^16}, then l^8, 4, 2, 1

namespace switchyard::gpu {

inline constexpr int warp_size = 32;
inline constexpr unsigned whole_warp = 0xffffffffu;

/// One T per lane (or thread) that this code runs for.
template <class T, int Here>
struct each_lane {
  T element[Here];
  KOKKOS_FUNCTION T& operator[](int i) { return element[i]; }
  KOKKOS_FUNCTION const T& operator[](int i) const { return element[i]; }
};

/// As std::integral_constant, for devices too.
template <int N>
struct constant {
  KOKKOS_FUNCTION constexpr operator int() const { return N; }
};

/// f(0), ..., f(N - 1), each in code of its own: what they index can live in registers.
template <int N, class F>
KOKKOS_INLINE_FUNCTION void unroll(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (f(constant<I>()), ...);
  }
  (std::make_integer_sequence<int, N>());
}

/// Bits of the lanes before this one.
KOKKOS_INLINE_FUNCTION unsigned lanes_before(int lane) {
  return (1u << lane) - 1u;
}

/// The first of these lanes, and how many they are.
KOKKOS_INLINE_FUNCTION int first_lane(unsigned lanes) {
  return Kokkos::Experimental::countr_zero_builtin(lanes);
}
KOKKOS_INLINE_FUNCTION int count_lanes(unsigned lanes) {
  return Kokkos::Experimental::popcount_builtin(lanes);
}

/// Operands of one matrix multiply-add of a warp, D[16, 8] += A[16, 16] B[16, 8], as PTX lays mma.m16n8k16 out over the
/// lanes: lane = 4 g + q holds A(g + 8 (r % 2), 2 q + 8 (r / 2) + {0, 1}) in word r of a, B(2 q + 8 r + {0, 1}, g) in
/// word r of b, and D(g + 8 (r / 2), 2 q + r % 2) in d[r].
struct fragment_a {
  std::uint32_t word[4];
};
struct fragment_b {
  std::uint32_t word[2];
};
struct fragment_d {
  float sum[4];
};

/// A warp as a loop of the host.
struct host_warp {
  static constexpr int here = warp_size;
  template <class T>
  using values = each_lane<T, here>;

  template <class F>
  KOKKOS_FUNCTION void each(const F& f) const {
    for (int lane = 0; lane < here; ++lane) f(lane, lane);
  }
  template <class T, class F>
  KOKKOS_FUNCTION values<T> make(const F& f) const {
    values<T> result;
    for (int lane = 0; lane < here; ++lane) result[lane] = f(lane, lane);
    return result;
  }
  template <class T, class Combine>
  KOKKOS_FUNCTION T reduce(values<T> v, const Combine& combine) const {
    for (int step = warp_size / 2; step > 0; step /= 2) {
      const values<T> before = v;
      for (int lane = 0; lane < here; ++lane) v[lane] = combine(before[lane], before[lane ^ step]);
    }
    return v[0];
  }
  template <class T>
  KOKKOS_FUNCTION values<T> inclusive_sum(values<T> v) const {
    for (int lane = 1; lane < here; ++lane) v[lane] += v[lane - 1];
    return v;
  }
  template <class T>
  KOKKOS_FUNCTION T get(const values<T>& v, int lane) const {
    return v[lane];
  }
  KOKKOS_FUNCTION unsigned ballot(const values<bool>& v) const {
    unsigned bits = 0;
    for (int lane = 0; lane < here; ++lane) bits |= (v[lane] ? 1u : 0u) << lane;
    return bits;
  }
  /// For every lane, the lanes that hold the same.
  KOKKOS_FUNCTION values<unsigned> match(const values<std::int32_t>& v) const {
    values<unsigned> same;
    for (int lane = 0; lane < here; ++lane) {
      same[lane] = 0;
      for (int other = 0; other < here; ++other) same[lane] |= (v[lane] == v[other] ? 1u : 0u) << other;
    }
    return same;
  }
  KOKKOS_FUNCTION void sync() const {}

  /// D += A B in bfloat16 with sums in float.
  KOKKOS_FUNCTION void multiply_add(values<fragment_d>& d, const values<fragment_a>& a,
                                    const values<fragment_b>& b) const {
    const auto number = [](std::uint32_t word, int half) {
      return static_cast<float>(bfloat16::from_bits(static_cast<std::uint16_t>(word >> (16 * half))));
    };
    for (int lane = 0; lane < here; ++lane)
      for (int r = 0; r < 4; ++r) {
        const int row = lane / 4 + 8 * (r / 2), column = 2 * (lane % 4) + r % 2;
        for (int k = 0; k < 16; ++k) {
          const int pair = k % 8 / 2, high = k / 8;
          d[lane].sum[r] += number(a[4 * (row % 8) + pair].word[row / 8 + 2 * high], k % 2) *
                            number(b[4 * column + pair].word[high], k % 2);
        }
      }
  }
};

/// A block of threads as a loop of the host.
template <int Threads>
struct host_block {
  using warp = host_warp;
  static constexpr int threads = Threads, warps = Threads / warp_size;
  static constexpr int warps_here = warps; // elements of an array with one for every warp

  template <class F>
  KOKKOS_FUNCTION void each(const F& f) const {
    for (int thread = 0; thread < Threads; ++thread) f(thread);
  }
  /// f(warp, its number, index of its element).
  template <class F>
  KOKKOS_FUNCTION void each_warp(const F& f) const {
    for (int w = 0; w < warps; ++w) f(host_warp(), w, w);
  }
  KOKKOS_FUNCTION void sync() const {}
  /// 16 bytes from global to shared memory; theirs is the time until wait.
  KOKKOS_FUNCTION void copy(void* to, const void* from) const { std::memcpy(to, from, 16); }
  KOKKOS_FUNCTION void commit() const {}
  template <int Pending>
  KOKKOS_FUNCTION void wait() const {}
};

#if defined(KOKKOS_ENABLE_CUDA)

/// The warp of this thread.
struct device_warp {
  static constexpr int here = 1;
  template <class T>
  using values = each_lane<T, here>;

  KOKKOS_FUNCTION static int thread() {
    KOKKOS_IF_ON_DEVICE((return static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);))
    KOKKOS_IF_ON_HOST((return 0;))
  }
  template <class F>
  KOKKOS_FUNCTION void each(const F& f) const {
    f(thread() % warp_size, 0);
  }
  template <class T, class F>
  KOKKOS_FUNCTION values<T> make(const F& f) const {
    return {{f(thread() % warp_size, 0)}};
  }
  template <class T, class Combine>
  KOKKOS_FUNCTION T reduce(values<T> v, const Combine& combine) const {
    KOKKOS_IF_ON_DEVICE((_Pragma("unroll") for (int step = warp_size / 2; step > 0; step /= 2) v[0] =
                             combine(v[0], exchange(v[0], step));))
    return v[0];
  }
  template <class T>
  KOKKOS_FUNCTION values<T> inclusive_sum(values<T> v) const {
    KOKKOS_IF_ON_DEVICE((_Pragma("unroll") for (int step = 1; step < warp_size; step *= 2) {
      const T other = __shfl_up_sync(whole_warp, v[0], static_cast<unsigned>(step));
      if (thread() % warp_size >= step) v[0] += other;
    }))
    return v;
  }
  template <class T>
  KOKKOS_FUNCTION T get(const values<T>& v, int lane) const {
    KOKKOS_IF_ON_DEVICE((return __shfl_sync(whole_warp, v[0], lane);))
    KOKKOS_IF_ON_HOST(((void)lane; return v[0];))
  }
  KOKKOS_FUNCTION unsigned ballot(const values<bool>& v) const {
    KOKKOS_IF_ON_DEVICE((return __ballot_sync(whole_warp, v[0]);))
    KOKKOS_IF_ON_HOST((return v[0];))
  }
  KOKKOS_FUNCTION values<unsigned> match(const values<std::int32_t>& v) const {
    KOKKOS_IF_ON_DEVICE((return {{__match_any_sync(whole_warp, v[0])}};))
    KOKKOS_IF_ON_HOST(((void)v; return {{1u}};))
  }
  KOKKOS_FUNCTION void sync() const { KOKKOS_IF_ON_DEVICE((__syncwarp();)) }

  KOKKOS_FUNCTION void multiply_add(values<fragment_d>& d, const values<fragment_a>& a,
                                    const values<fragment_b>& b) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800 // on older ones nobody calls it: multiplies_bfloat16
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0].sum[0]), "+f"(d[0].sum[1]), "+f"(d[0].sum[2]), "+f"(d[0].sum[3])
                 : "r"(a[0].word[0]), "r"(a[0].word[1]), "r"(a[0].word[2]), "r"(a[0].word[3]), "r"(b[0].word[0]),
                   "r"(b[0].word[1]));
#else
    (void)d;
    (void)a;
    (void)b;
#endif
  }

 private:
  /// A T of any size that is a whole number of 32-bit words, from the lane that differs in these bits.
  template <class T>
  KOKKOS_FUNCTION static T exchange(const T& v, int bits) {
    if constexpr (std::is_arithmetic_v<T>) {
      KOKKOS_IF_ON_DEVICE((return __shfl_xor_sync(whole_warp, v, bits);))
      KOKKOS_IF_ON_HOST(((void)bits; return v;))
    } else { // a struct of two numbers
      return {exchange(v.first, bits), exchange(v.second, bits)};
    }
  }
};

/// The block of this thread.
template <int Threads>
struct device_block {
  using warp = device_warp;
  static constexpr int threads = Threads, warps = Threads / warp_size, warps_here = 1;

  template <class F>
  KOKKOS_FUNCTION void each(const F& f) const {
    f(device_warp::thread());
  }
  template <class F>
  KOKKOS_FUNCTION void each_warp(const F& f) const {
    f(device_warp(), device_warp::thread() / warp_size, 0);
  }
  KOKKOS_FUNCTION void sync() const { KOKKOS_IF_ON_DEVICE((__syncthreads();)) }
  KOKKOS_FUNCTION void copy(void* to, const void* from) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
                 "l"(from)
                 : "memory");
#else
    (void)to;
    (void)from;
#endif
  }
  KOKKOS_FUNCTION void commit() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  template <int Pending>
  KOKKOS_FUNCTION void wait() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
  }
};

#endif

} // namespace switchyard::gpu

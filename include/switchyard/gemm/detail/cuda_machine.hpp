// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <concepts>
#include <cstdint>
#include <switchyard/core/bfloat16.hpp>

/// \file
/// The instructions of a GPU that the kernels for tensor cores use, each named by what it does. Bodies are empty where
/// the host's half of a file is compiled.

#if defined(KOKKOS_ENABLE_CUDA)

namespace switchyard::gemm::detail {

/// Blocks of 256 threads, one-dimensional, with dynamic shared memory. Addresses are of the shared window.
struct cuda_machine {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  __device__ static int thread() {
    return static_cast<int>(threadIdx.x);
  }
  __device__ static std::int64_t block() {
    return blockIdx.x;
  }
  __device__ static std::int64_t blocks() {
    return gridDim.x;
  }

  /// The block's memory from the first multiple of 1024 on: the pattern of swizzled tiles repeats there.
  __device__ static std::uint32_t memory() {
    extern __shared__ char all_of_it[];
    return (static_cast<std::uint32_t>(__cvta_generic_to_shared(all_of_it)) + 1023u) & ~1023u;
  }
  __device__ static float* pointer(std::uint32_t address) {
    return static_cast<float*>(__cvta_shared_to_generic(address));
  }

  /// 16 bytes from global memory, of which the first `bytes` are read and the others become zero.
  __device__ static void copy(std::uint32_t to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "r"(bytes)
                 : "memory");
  }
  __device__ static void commit() {
    asm volatile("cp.async.commit_group;\n" ::: "memory");
  }
  /// Until at most `pending` of this thread's groups of copies are under way.
  template <int pending>
  __device__ static void wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
  }
  /// All threads of the block; what they have written to shared memory is there for all, wgmma included, which reads it
  /// through another path (the async proxy).
  __device__ static void barrier() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
    __syncthreads();
  }
  __device__ static void warp_barrier() {
    __syncwarp();
  }

  __device__ static void store(std::uint32_t to, std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
  }
  __device__ static void store(std::uint32_t to, float a, float b) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};\n" ::"r"(to), "f"(a), "f"(b) : "memory");
  }
  __device__ static void load(std::uint32_t from, float (&v)[8]) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];\n"
                 : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                 : "r"(from)
                 : "memory");
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];\n"
                 : "=f"(v[4]), "=f"(v[5]), "=f"(v[6]), "=f"(v[7])
                 : "r"(from + 16)
                 : "memory");
  }
  __device__ static void load_pair(const float* from, float (&v)[2]) {
    const float2 both = *reinterpret_cast<const float2*>(from);
    v[0] = both.x;
    v[1] = both.y;
  }
  __device__ static void store_pair(float* to, float a, float b) {
    *reinterpret_cast<float2*>(to) = make_float2(a, b);
  }

  /// ldmatrix: four 8 x 8 matrices of 16-bit numbers, whose lines lanes 0-7, 8-15, 16-23 and 24-31 name.
  template <bool Transposed>
  __device__ static void load_matrices(std::uint32_t line, std::uint32_t (&m)[4]) {
    if constexpr (Transposed)
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                   : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                   : "r"(line)
                   : "memory");
    else
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                   : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                   : "r"(line)
                   : "memory");
  }
  /// mma.sync: sum [16, 8] += a [16, 16] b [16, 8].
  template <class T>
  __device__ static void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    if constexpr (std::same_as<T, bfloat16>)
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                   "{%0, %1, %2, %3};\n"
                   : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                   "{%0, %1, %2, %3};\n"
                   : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  static constexpr bool has_warpgroups = true;
#else
  static constexpr bool has_warpgroups = false;
#endif

  /// Sums are the registers of products from here to warpgroup_wait<0>. The empty statements keep the compiler from
  /// moving what touches them across.
  __device__ static void warpgroup_begin(float (&sum)[32][4]) {
    hold(sum);
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
  }
  __device__ static void warpgroup_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
  }
  template <int pending>
  __device__ static void warpgroup_wait(float (&sum)[32][4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(pending) : "memory");
    if constexpr (pending == 0) hold(sum);
  }
  __device__ static void hold(float (&sum)[32][4]) {
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(sum[j][e])::"memory");
  }

  /// wgmma: this warpgroup's sum [64, 256] += left [64, 16] right [16, 256], both in shared memory.
  template <class T, bool Transposed>
  __device__ static void warpgroup_multiply(float (&sum)[32][4], std::uint64_t left, std::uint64_t right) {
    static_assert(sizeof(T) == 2 && has_warpgroups,
                  "switchyard: wgmma_engine needs code for sm_90a; compile with -arch=sm_90a, or use mma_engine");
    // clang-format off
    if constexpr (std::same_as<T, bfloat16>)
      asm volatile(
          "{.reg .pred on;\n setp.ne.b32 on, 1, 0;\n"
            "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
            "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
            "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
            "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
            "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
            "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
            "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
            "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
            "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
            "%128, %129, on, 1, 1, %130, %130;}\n"
          : "+f"(sum[0][0]), "+f"(sum[0][1]), "+f"(sum[0][2]), "+f"(sum[0][3]), "+f"(sum[1][0]), "+f"(sum[1][1]),
            "+f"(sum[1][2]), "+f"(sum[1][3]), "+f"(sum[2][0]), "+f"(sum[2][1]), "+f"(sum[2][2]), "+f"(sum[2][3]),
            "+f"(sum[3][0]), "+f"(sum[3][1]), "+f"(sum[3][2]), "+f"(sum[3][3]), "+f"(sum[4][0]), "+f"(sum[4][1]),
            "+f"(sum[4][2]), "+f"(sum[4][3]), "+f"(sum[5][0]), "+f"(sum[5][1]), "+f"(sum[5][2]), "+f"(sum[5][3]),
            "+f"(sum[6][0]), "+f"(sum[6][1]), "+f"(sum[6][2]), "+f"(sum[6][3]), "+f"(sum[7][0]), "+f"(sum[7][1]),
            "+f"(sum[7][2]), "+f"(sum[7][3]), "+f"(sum[8][0]), "+f"(sum[8][1]), "+f"(sum[8][2]), "+f"(sum[8][3]),
            "+f"(sum[9][0]), "+f"(sum[9][1]), "+f"(sum[9][2]), "+f"(sum[9][3]), "+f"(sum[10][0]), "+f"(sum[10][1]),
            "+f"(sum[10][2]), "+f"(sum[10][3]), "+f"(sum[11][0]), "+f"(sum[11][1]), "+f"(sum[11][2]),
            "+f"(sum[11][3]), "+f"(sum[12][0]), "+f"(sum[12][1]), "+f"(sum[12][2]), "+f"(sum[12][3]),
            "+f"(sum[13][0]), "+f"(sum[13][1]), "+f"(sum[13][2]), "+f"(sum[13][3]), "+f"(sum[14][0]),
            "+f"(sum[14][1]), "+f"(sum[14][2]), "+f"(sum[14][3]), "+f"(sum[15][0]), "+f"(sum[15][1]),
            "+f"(sum[15][2]), "+f"(sum[15][3]), "+f"(sum[16][0]), "+f"(sum[16][1]), "+f"(sum[16][2]),
            "+f"(sum[16][3]), "+f"(sum[17][0]), "+f"(sum[17][1]), "+f"(sum[17][2]), "+f"(sum[17][3]),
            "+f"(sum[18][0]), "+f"(sum[18][1]), "+f"(sum[18][2]), "+f"(sum[18][3]), "+f"(sum[19][0]),
            "+f"(sum[19][1]), "+f"(sum[19][2]), "+f"(sum[19][3]), "+f"(sum[20][0]), "+f"(sum[20][1]),
            "+f"(sum[20][2]), "+f"(sum[20][3]), "+f"(sum[21][0]), "+f"(sum[21][1]), "+f"(sum[21][2]),
            "+f"(sum[21][3]), "+f"(sum[22][0]), "+f"(sum[22][1]), "+f"(sum[22][2]), "+f"(sum[22][3]),
            "+f"(sum[23][0]), "+f"(sum[23][1]), "+f"(sum[23][2]), "+f"(sum[23][3]), "+f"(sum[24][0]),
            "+f"(sum[24][1]), "+f"(sum[24][2]), "+f"(sum[24][3]), "+f"(sum[25][0]), "+f"(sum[25][1]),
            "+f"(sum[25][2]), "+f"(sum[25][3]), "+f"(sum[26][0]), "+f"(sum[26][1]), "+f"(sum[26][2]),
            "+f"(sum[26][3]), "+f"(sum[27][0]), "+f"(sum[27][1]), "+f"(sum[27][2]), "+f"(sum[27][3]),
            "+f"(sum[28][0]), "+f"(sum[28][1]), "+f"(sum[28][2]), "+f"(sum[28][3]), "+f"(sum[29][0]),
            "+f"(sum[29][1]), "+f"(sum[29][2]), "+f"(sum[29][3]), "+f"(sum[30][0]), "+f"(sum[30][1]),
            "+f"(sum[30][2]), "+f"(sum[30][3]), "+f"(sum[31][0]), "+f"(sum[31][1]), "+f"(sum[31][2]),
            "+f"(sum[31][3])
          : "l"(left), "l"(right), "n"(Transposed ? 1 : 0));
    else
      asm volatile(
          "{.reg .pred on;\n setp.ne.b32 on, 1, 0;\n"
            "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
            "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
            "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
            "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
            "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
            "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
            "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
            "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
            "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
            "%128, %129, on, 1, 1, %130, %130;}\n"
          : "+f"(sum[0][0]), "+f"(sum[0][1]), "+f"(sum[0][2]), "+f"(sum[0][3]), "+f"(sum[1][0]), "+f"(sum[1][1]),
            "+f"(sum[1][2]), "+f"(sum[1][3]), "+f"(sum[2][0]), "+f"(sum[2][1]), "+f"(sum[2][2]), "+f"(sum[2][3]),
            "+f"(sum[3][0]), "+f"(sum[3][1]), "+f"(sum[3][2]), "+f"(sum[3][3]), "+f"(sum[4][0]), "+f"(sum[4][1]),
            "+f"(sum[4][2]), "+f"(sum[4][3]), "+f"(sum[5][0]), "+f"(sum[5][1]), "+f"(sum[5][2]), "+f"(sum[5][3]),
            "+f"(sum[6][0]), "+f"(sum[6][1]), "+f"(sum[6][2]), "+f"(sum[6][3]), "+f"(sum[7][0]), "+f"(sum[7][1]),
            "+f"(sum[7][2]), "+f"(sum[7][3]), "+f"(sum[8][0]), "+f"(sum[8][1]), "+f"(sum[8][2]), "+f"(sum[8][3]),
            "+f"(sum[9][0]), "+f"(sum[9][1]), "+f"(sum[9][2]), "+f"(sum[9][3]), "+f"(sum[10][0]), "+f"(sum[10][1]),
            "+f"(sum[10][2]), "+f"(sum[10][3]), "+f"(sum[11][0]), "+f"(sum[11][1]), "+f"(sum[11][2]),
            "+f"(sum[11][3]), "+f"(sum[12][0]), "+f"(sum[12][1]), "+f"(sum[12][2]), "+f"(sum[12][3]),
            "+f"(sum[13][0]), "+f"(sum[13][1]), "+f"(sum[13][2]), "+f"(sum[13][3]), "+f"(sum[14][0]),
            "+f"(sum[14][1]), "+f"(sum[14][2]), "+f"(sum[14][3]), "+f"(sum[15][0]), "+f"(sum[15][1]),
            "+f"(sum[15][2]), "+f"(sum[15][3]), "+f"(sum[16][0]), "+f"(sum[16][1]), "+f"(sum[16][2]),
            "+f"(sum[16][3]), "+f"(sum[17][0]), "+f"(sum[17][1]), "+f"(sum[17][2]), "+f"(sum[17][3]),
            "+f"(sum[18][0]), "+f"(sum[18][1]), "+f"(sum[18][2]), "+f"(sum[18][3]), "+f"(sum[19][0]),
            "+f"(sum[19][1]), "+f"(sum[19][2]), "+f"(sum[19][3]), "+f"(sum[20][0]), "+f"(sum[20][1]),
            "+f"(sum[20][2]), "+f"(sum[20][3]), "+f"(sum[21][0]), "+f"(sum[21][1]), "+f"(sum[21][2]),
            "+f"(sum[21][3]), "+f"(sum[22][0]), "+f"(sum[22][1]), "+f"(sum[22][2]), "+f"(sum[22][3]),
            "+f"(sum[23][0]), "+f"(sum[23][1]), "+f"(sum[23][2]), "+f"(sum[23][3]), "+f"(sum[24][0]),
            "+f"(sum[24][1]), "+f"(sum[24][2]), "+f"(sum[24][3]), "+f"(sum[25][0]), "+f"(sum[25][1]),
            "+f"(sum[25][2]), "+f"(sum[25][3]), "+f"(sum[26][0]), "+f"(sum[26][1]), "+f"(sum[26][2]),
            "+f"(sum[26][3]), "+f"(sum[27][0]), "+f"(sum[27][1]), "+f"(sum[27][2]), "+f"(sum[27][3]),
            "+f"(sum[28][0]), "+f"(sum[28][1]), "+f"(sum[28][2]), "+f"(sum[28][3]), "+f"(sum[29][0]),
            "+f"(sum[29][1]), "+f"(sum[29][2]), "+f"(sum[29][3]), "+f"(sum[30][0]), "+f"(sum[30][1]),
            "+f"(sum[30][2]), "+f"(sum[30][3]), "+f"(sum[31][0]), "+f"(sum[31][1]), "+f"(sum[31][2]),
            "+f"(sum[31][3])
          : "l"(left), "l"(right), "n"(Transposed ? 1 : 0));
    // clang-format on
  }
#endif
};

} // namespace switchyard::gemm::detail

#endif

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>

/// \file
/// Plain loops as vector code of the CPU at hand, whatever flags the user compiles with: a task that is worth it is
/// compiled for what the flags say, for AVX2 and for AVX-512, and the CPU chooses.

namespace switchyard {

#if defined(__x86_64__) && defined(__GNUC__) // clang too
namespace detail {

/// f() with all that it calls, in one function for these CPUs.
template <class F>
[[gnu::target("avx2,fma,f16c"), gnu::flatten, gnu::noinline]] void call_with_avx2(const F& f) {
  f();
}
template <class F>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma"), gnu::flatten, gnu::noinline]] void
call_with_avx512(const F& f) {
  f();
}
inline bool has_avx2() { // and f16c, which clang 14 cannot be asked for: no CPU has AVX2 and FMA without it
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

} // namespace detail
#endif

/// Calls f(), a task of some microseconds at least: that much code is made three times. On devices just f().
template <class F>
KOKKOS_INLINE_FUNCTION void in_vector_code(const F& f) {
#if defined(__x86_64__) && defined(__GNUC__)
  KOKKOS_IF_ON_HOST((if (detail::has_avx512()) detail::call_with_avx512(f);
                     else if (detail::has_avx2()) detail::call_with_avx2(f); else f();))
  KOKKOS_IF_ON_DEVICE((f();))
#else
  f();
#endif
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <switchyard/core/precision.hpp>

namespace {

namespace sy = switchyard;
using sy::bfloat16, sy::half, sy::selective, sy::uniform;

// ---- storage types: 2 bytes on every backend, no arithmetic of their own, no silent rounding ----
static_assert(sizeof(bfloat16) == 2 && sizeof(half) == 2);
static_assert(alignof(bfloat16) == 2 && alignof(half) == 2);
static_assert(std::is_trivially_copyable_v<bfloat16> && std::is_trivially_copyable_v<half>);
static_assert(std::is_convertible_v<bfloat16, float> && std::is_convertible_v<half, float>);
static_assert(!std::is_convertible_v<float, bfloat16> && !std::is_convertible_v<float, half>);
static_assert(std::is_constructible_v<bfloat16, float> && std::is_constructible_v<half, double>);
static_assert(!std::is_same_v<bfloat16, half>);

static_assert(sy::storage_type<double> && sy::storage_type<float>);
static_assert(sy::storage_type<bfloat16> && sy::storage_type<half>);
static_assert(!sy::storage_type<int> && !sy::storage_type<long double> && !sy::storage_type<std::uint16_t>);
static_assert(!sy::storage_type<const float> && !sy::storage_type<float&> && !sy::storage_type<void>);

template <class T, class Accumulate>
constexpr bool accumulates_in = std::is_same_v<sy::accumulate_t<T>, Accumulate>;
static_assert(accumulates_in<double, double> && accumulates_in<float, float>);
static_assert(accumulates_in<bfloat16, float> && accumulates_in<half, float>);

// ---- policies, column by column of the table in precision.hpp ----
template <class P, class Value, class Router, class Storage, class Accumulate, class Weight, class Gradient>
constexpr bool row = std::is_same_v<typename P::value_type, Value>&& std::is_same_v<typename P::router_type, Router>&&
    std::is_same_v<typename P::router_storage, Storage>&& std::is_same_v<typename P::accumulate_type, Accumulate>&&
        std::is_same_v<typename P::weight_type, Weight>&& std::is_same_v<typename P::gradient_type, Gradient>;
static_assert(row<selective<bfloat16>, bfloat16, float, float, float, float, float>);
static_assert(row<selective<half>, half, float, float, float, float, float>);
static_assert(row<selective<float>, float, float, float, float, float, float>);
static_assert(row<uniform<bfloat16>, bfloat16, float, bfloat16, float, bfloat16, float>);
static_assert(row<uniform<half>, half, float, half, float, half, float>);
static_assert(row<uniform<float>, float, float, float, float, float, float>);
static_assert(row<uniform<double>, double, double, double, double, double, double>);
static_assert(std::is_same_v<selective<>, selective<bfloat16>>);

static_assert(sy::precision<selective<>> && sy::precision<uniform<double>> && sy::precision<uniform<half>>);
static_assert(!sy::precision<float> && !sy::precision<bfloat16> && !sy::precision<int> && !sy::precision<void>);
struct integers {
  using value_type = int;
  using accumulate_type = int;
  using router_type = int;
  using router_storage = int;
  using weight_type = int;
  using gradient_type = int;
};
static_assert(!sy::precision<integers>);
struct own : uniform<float> {}; // a user's own policy
static_assert(sy::precision<own>);

} // namespace

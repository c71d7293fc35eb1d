// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/worse.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <switchyard/core/elementary.hpp>
#include <switchyard/core/lanes.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/core/random.hpp>

// 16-bit numbers, elementary functions, sums in lanes, random draws.

namespace sy = switchyard;

namespace {

std::uint32_t word(float f) {
  return Kokkos::bit_cast<std::uint32_t>(f);
}

/// The nearest representable number by search: the definition of round to nearest, ties to even.
template <class T>
std::uint16_t nearest(float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::abs(value);
  std::uint16_t low = 0, high = std::is_same_v<T, sy::half> ? 0x7c00 : 0x7f80; // 0 .. infinity
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (static_cast<float>(T::from_bits(middle)) <= magnitude ? low : high) = middle;
  }
  // Above the largest finite number, infinity stands where the next number would.
  const double below = static_cast<float>(T::from_bits(low));
  const double step = std::is_same_v<T, sy::half> ? 0x1p16 : 0x1p128;
  const double above =
      std::isinf(static_cast<float>(T::from_bits(high))) ? step : static_cast<float>(T::from_bits(high));
  const double to_below = magnitude - below, to_above = above - magnitude;
  const bool up = to_above < to_below || (to_above == to_below && (low & 1));
  return static_cast<std::uint16_t>(sign | (up ? high : low));
}

template <class T>
void check_conversions(std::uint32_t infinity) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) { // exact widening, and back
    const T value = T::from_bits(static_cast<std::uint16_t>(i));
    const auto back = T(static_cast<float>(value)).bits;
    if ((i & 0x7fff) > infinity) {
      REQUIRE(std::isnan(static_cast<float>(value)));
      REQUIRE(std::isnan(static_cast<float>(T::from_bits(back))));
    } else {
      REQUIRE(back == i);
    }
  }
  std::mt19937 bits(1);
  for (int i = 0; i < 200000; ++i) {
    const float value = Kokkos::bit_cast<float>(static_cast<std::uint32_t>(bits()));
    if (std::isnan(value))
      REQUIRE(std::isnan(static_cast<float>(T(value))));
    else
      REQUIRE((std::isinf(value) || T(value).bits == nearest<T>(value)));
  }
  for (std::uint32_t i = 0; i < infinity; ++i) { // the ties, and the numbers next to them
    const double a = static_cast<float>(T::from_bits(static_cast<std::uint16_t>(i)));
    const double b = i + 1 == infinity ? 2 * a - static_cast<float>(T::from_bits(static_cast<std::uint16_t>(i - 1)))
                                       : static_cast<float>(T::from_bits(static_cast<std::uint16_t>(i + 1)));
    const auto middle = static_cast<float>((a + b) / 2);
    REQUIRE(T(middle).bits == (i & 1 ? i + 1 : i));
    REQUIRE(T(std::nextafter(middle, 0.0f)).bits == i);
    REQUIRE(T(-middle).bits == ((i & 1 ? i + 1 : i) | 0x8000));
  }
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(T(inf).bits == infinity);
  CHECK(T(-inf).bits == (infinity | 0x8000));
  CHECK(word(static_cast<float>(T(-0.0f))) == 0x80000000u);
  // A NaN whose payload sits only in the bits that are cut off must not become infinity.
  CHECK(std::isnan(static_cast<float>(T(Kokkos::bit_cast<float>(0x7f800001u)))));
  CHECK(std::isnan(static_cast<float>(T(Kokkos::bit_cast<float>(0xffffffffu)))));
}

} // namespace

TEST_CASE("bfloat16 rounds to nearest even", "[core]") {
  check_conversions<sy::bfloat16>(0x7f80);
}
TEST_CASE("half rounds to nearest even, subnormals too", "[core]") {
  check_conversions<sy::half>(0x7c00);
}

TEST_CASE("draws are a function of their key and nothing else", "[core]") {
  const sy::generator a(sy::seed{1}, sy::stream::jitter, 2, 3);
  CHECK(a.uniform<double>(7) == sy::generator(sy::seed{1}, sy::stream::jitter, 2, 3).uniform<double>(7));
  for (const auto& other :
       {sy::generator(sy::seed{2}, sy::stream::jitter, 2, 3), sy::generator(sy::seed{1}, sy::stream::gumbel, 2, 3),
        sy::generator(sy::seed{1}, sy::stream::jitter, 3, 3), sy::generator(sy::seed{1}, sy::stream::jitter, 2, 4)})
    CHECK(a.uniform<double>(7) != other.uniform<double>(7));
  CHECK(a.uniform<double>(7) != a.uniform<double>(7 + (std::uint64_t{1} << 32)));
}

TEST_CASE("uniform and truncated normal draws have their moments", "[core]") {
  const sy::generator g(sy::seed{42}, sy::stream::user);
  constexpr int n = 200000;
  double mean = 0, square = 0, normal_mean = 0, normal_square = 0, smallest = 1, largest = 0, far = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double u = g.uniform<float>(i), z = g.truncated_normal(i);
    smallest = std::min(smallest, u);
    largest = std::max(largest, u);
    mean += u / n;
    square += u * u / n;
    normal_mean += z / n;
    normal_square += z * z / n;
    far = std::max(far, std::abs(z));
  }
  CHECK((smallest > 0 && largest < 1));
  CHECK(std::abs(mean - 0.5) < 0.003);
  CHECK(std::abs(square - 1.0 / 3) < 0.003);
  CHECK(std::abs(normal_mean) < 0.008);
  CHECK(std::abs(std::sqrt(normal_square) - 0.8796) < 0.005); // cut at 2 sigma, variance not corrected
  CHECK((far <= 2.0 && far > 1.99));
}

TEST_CASE("Philox is Philox", "[core]") { // known answer of Random123: counter and key all zero
  const r123::Philox4x32::ctr_type counter{};
  const r123::Philox4x32::key_type key{};
  CHECK(r123::Philox4x32{}(counter, key).v[0] == 0x6627e8d5u);
}

TEST_CASE("exp in float is off by 2 units at most, anywhere", "[core]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  double worst = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 997) {
    const auto x = Kokkos::bit_cast<float>(static_cast<std::uint32_t>(bits));
    const float got = sy::fast_exp(x), want = std::exp(x);
    if (std::isnan(x)) {
      REQUIRE(std::isnan(got));
    } else if (std::isinf(want) || std::isinf(got)) { // at the very edge either may be the largest number
      REQUIRE((got == want || (x > 88.72f && x < 88.73f)));
    } else {
      worst =
          switchyard_test::worse(worst, std::abs(got - std::exp(double{x})) / (std::nextafter(want, infinity) - want));
    }
  }
  CHECK(worst < 2);
  CHECK(sy::fast_exp(0.0f) == 1.0f);
  CHECK(sy::fast_exp(-infinity) == 0.0f);
  CHECK(sy::fast_exp(infinity) == infinity);
}

TEST_CASE("tanh in float is right to 2e-7", "[core]") {
  double worst = 0;
  for (float x = -20; x < 20; x += 1e-3f)
    worst = switchyard_test::worse(worst, std::abs(sy::fast_tanh(x) - std::tanh(double{x})));
  CHECK(worst < 2e-7);
  CHECK(sy::fast_tanh(std::numeric_limits<float>::infinity()) == 1.0f);
  CHECK(std::isnan(sy::fast_tanh(std::numeric_limits<float>::quiet_NaN())));
}

namespace { // structs: CUDA's lambdas are functions of the host or of the device
struct square {
  KOKKOS_FUNCTION double operator()(std::int64_t i) const { return static_cast<double>(i * i); }
};
struct five_at {
  std::int64_t top; // NaN everywhere else
  KOKKOS_FUNCTION double operator()(std::int64_t i) const { return i == top ? 5.0 : NAN; }
};
} // namespace

TEST_CASE("sums and maxima in lanes, of any length", "[core]") {
  for (std::int64_t n = 0; n < 70; ++n) {
    CHECK(sy::lane_sum<double>(n, square{}) == static_cast<double>((n - 1) * n * (2 * n - 1) / 6));
    for (std::int64_t top = 0; top < n; ++top) CHECK(sy::lane_max<double>(n, -1.0, five_at{top}) == 5.0);
    CHECK(sy::lane_max<double>(n, -1.0, five_at{-1}) == -1.0);
  }
}

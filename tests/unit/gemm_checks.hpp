// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <switchyard/gemm/grouped_product.hpp>
#include <vector>

// What every engine must do, as functions of (engine, space, number types). The truth is a loop in double.

namespace gemm_checks {

namespace gemm = switchyard::gemm;
using switchyard::accumulate_t;
using extent = std::int64_t;

/// Rows of A, packed weights of T.
template <class A, class T>
struct subject {
  using rows_type = A;
  using type = T;
};

template <class T>
double number(T x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return static_cast<double>(static_cast<float>(x));
}

/// Values of one kind: normal, or small integers, whose sums are exact in every type.
class source {
 public:
  source(unsigned seed, bool integers) : bits_(seed), integers_(integers) {}
  double operator()() {
    return integers_ ? std::uniform_int_distribution<int>(-3, 3)(bits_) : std::normal_distribution<double>()(bits_);
  }
  extent below(extent n) { return std::uniform_int_distribution<extent>(0, n - 1)(bits_); }
  std::mt19937& bits() { return bits_; }

 private:
  std::mt19937 bits_;
  bool integers_;
};

template <class View>
auto host(const View& view) {
  return Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
}

template <class Space>
gemm::index_view<Space> index_of(const std::vector<extent>& values) {
  Kokkos::View<extent*, Space> view("index", values.size());
  auto mirror = Kokkos::create_mirror_view(view);
  std::copy(values.begin(), values.end(), mirror.data());
  Kokkos::deep_copy(view, mirror);
  return view;
}

template <class Space>
gemm::row_groups<Space> groups_of(const std::vector<extent>& sizes, extent spare = 0) {
  std::vector<extent> offset(sizes.size() + 1, 0);
  std::partial_sum(sizes.begin(), sizes.end(), offset.begin() + 1);
  return {index_of<Space>(offset), offset.back() + spare};
}

/// A matrix in the middle of a larger one that is all NaN: reading outside it shows. Rows begin anywhere, or where 8
/// numbers of 16 bits may be copied at once.
template <class T, class Space>
struct framed {
  std::size_t margin;
  Kokkos::View<T**, Kokkos::LayoutRight, Space> whole;
  Kokkos::View<T**, Kokkos::LayoutStride, Space> view;

  framed(extent rows, extent columns, source& values, bool aligned = false)
      : margin(aligned ? 8 : 3), whole("framed", static_cast<std::size_t>(rows) + 2 * margin,
                                       aligned ? (static_cast<std::size_t>(columns) + 2 * margin + 7) / 8 * 8
                                               : static_cast<std::size_t>(columns) + 2 * margin) {
    const std::size_t last = margin + static_cast<std::size_t>(columns);
    using range = Kokkos::pair<std::size_t, std::size_t>;
    auto mirror = Kokkos::create_mirror_view(whole);
    for (std::size_t i = 0; i < mirror.extent(0); ++i)
      for (std::size_t j = 0; j < mirror.extent(1); ++j) {
        const bool inside = i >= margin && j >= margin && i + margin < mirror.extent(0) && j < last;
        mirror(i, j) = T(inside ? static_cast<float>(values()) : std::numeric_limits<float>::quiet_NaN());
      }
    Kokkos::deep_copy(whole, mirror);
    view = Kokkos::subview(whole, range(margin, whole.extent(0) - margin), range(margin, last));
  }
};

template <class T, class Space>
Kokkos::View<T***, Kokkos::LayoutRight, Space> stack(extent groups, extent rows, extent columns, source& values) {
  Kokkos::View<T***, Kokkos::LayoutRight, Space> view(
      "stack", static_cast<std::size_t>(groups), static_cast<std::size_t>(rows), static_cast<std::size_t>(columns));
  auto mirror = Kokkos::create_mirror_view(view);
  for (std::size_t i = 0; i < mirror.size(); ++i) mirror.data()[i] = T(static_cast<float>(values()));
  Kokkos::deep_copy(view, mirror);
  return view;
}

/// Stores the sums, counts how often each element is given, and remembers a call outside the matrix.
template <class Acc, class Space, bool Paired>
struct recording {
  static constexpr bool paired = Paired;
  Kokkos::View<Acc**, Kokkos::LayoutRight, Space> sums, gates;
  Kokkos::View<int**, Kokkos::LayoutRight, Space> calls;
  Kokkos::View<int, Space> stray;
  gemm::index_view<Space> offset;

  recording(const gemm::row_groups<Space>& groups, extent columns)
      : sums("sums", static_cast<std::size_t>(groups.max_rows), static_cast<std::size_t>(columns)),
        gates("gates", sums.extent(0), sums.extent(1)), calls("calls", sums.extent(0), sums.extent(1)), stray("stray"),
        offset(groups.offset) {}

  KOKKOS_FUNCTION void operator()(extent group, extent row, extent column, int n, const Acc* sum) const {
    (*this)(group, row, column, n, sum, sum);
  }
  KOKKOS_FUNCTION void operator()(extent group, extent row, extent column, int n, const Acc* gate,
                                  const Acc* sum) const {
    const auto columns = static_cast<extent>(sums.extent(1));
    const bool inside = row >= offset(group) && row < offset(group + 1) && column >= 0 && column + n <= columns;
    if (!inside) Kokkos::atomic_store(&stray(), 1);
    for (int j = 0; j < n && inside; ++j) {
      sums(row, column + j) = sum[j];
      gates(row, column + j) = gate[j];
      ++calls(row, column + j);
    }
  }

  /// Every element of the first `rows` rows once, nothing else ever.
  bool called_once(extent rows) const {
    const auto all = host(calls);
    bool right = host(stray)() == 0;
    for (std::size_t i = 0; i < all.size(); ++i)
      right = right && all.data()[i] == (i / all.extent(1) < static_cast<std::size_t>(rows) ? 1 : 0);
    return right;
  }
};

/// The worst error, in units of what rounding explains: K roundings of sums as large as sum |a||b|.
struct worst_error {
  double ratio = 0;
  void see(double got, double want, double magnitude, extent k, double epsilon, bool exact) {
    const double error = std::abs(got - want);
    const double allowed = exact ? 0 : epsilon * (static_cast<double>(k) * magnitude + std::abs(want));
    if (error > 0 || std::isnan(error)) // more than 16 fails
      ratio = allowed > 0 && !std::isnan(error) ? std::max(ratio, error / allowed) : 1e300;
  }
};

enum class shape { plain, transposed, stacked, paired };

/// One product against the truth. A: type of the rows; T: of the packed weights.
template <class Engine, class Exec, class A, class T>
double product_error(const std::vector<extent>& sizes, extent k_count, extent n_count, shape how, bool gather,
                     bool integers, bool aligned = false) {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<T>;
  const Exec exec{};
  source values(static_cast<unsigned>(k_count * 1000 + n_count), integers);
  const extent groups = static_cast<extent>(sizes.size()),
               rows = std::accumulate(sizes.begin(), sizes.end(), extent{0});
  const auto list = groups_of<space>(sizes, 5); // offset(groups) < max_rows: the launch may cover more than there is

  const extent x_rows = gather ? std::max<extent>(rows / 2, 1) : rows + 5;
  const framed<A, space> x(x_rows, k_count, values, aligned);
  std::vector<extent> at(static_cast<std::size_t>(rows + 5));
  for (auto& i : at) i = gather ? values.below(x_rows) : 0;
  if (!gather) std::iota(at.begin(), at.end(), extent{0});
  const gemm::rows<A, space> a(x.view, gather ? index_of<space>(at) : gemm::index_view<space>());

  // Weights are given in float, as stored weights are, and rounded to T by pack.
  using W = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const bool turned = how == shape::transposed || how == shape::stacked;
  const extent upper = how == shape::stacked ? (k_count + 1) / 2 : k_count; // rows of the first of two stacked
  const auto make = [&](extent k) {
    return turned ? stack<W, space>(groups, n_count, k, values) : stack<W, space>(groups, k, n_count, values);
  };
  const auto first = make(upper), second = make(how == shape::stacked ? k_count - upper : upper);
  const auto orientation = turned ? gemm::orientation::transposed : gemm::orientation::forward;
  const auto packed = Engine::template allocate<Exec, T>(exec, groups, k_count, n_count, how == shape::paired);
  for (int pass = 0; pass < 2; ++pass) { // the second pass must leave nothing of the first
    const auto& w = pass == 0 ? second : first;
    if (pass == 1 || how == shape::plain) Engine::template pack<Exec, T>(exec, packed, w, orientation);
  }
  if (how == shape::stacked && k_count > upper)
    Engine::template pack<Exec, T>(exec, packed, second, orientation, upper);
  if (how == shape::paired) Engine::template pack<Exec, T>(exec, packed, second, orientation, 0, 1);

  worst_error worst;
  const auto hx = host(x.whole);
  const auto h1 = host(first), h2 = host(second);
  const auto compare = [&](const auto& result, const auto& w1, const auto& w2) {
    const auto sums = host(result);
    for (extent g = 0, r = 0; g < groups; ++g)
      for (extent end = r + sizes[static_cast<std::size_t>(g)]; r < end; ++r)
        for (extent n = 0; n < n_count; ++n) {
          double want = 0, magnitude = 0;
          for (extent k = 0; k < k_count; ++k) {
            const auto& w = k < upper ? w1 : w2;
            const extent kw = k < upper ? k : k - upper;
            const double left = number(hx(static_cast<std::size_t>(at[static_cast<std::size_t>(r)]) + x.margin,
                                          static_cast<std::size_t>(k) + x.margin));
            const double right = number(T(turned ? w(g, n, kw) : w(g, kw, n)));
            want += left * right;
            magnitude += std::abs(left * right);
          }
          worst.see(number(sums(r, n)), want, magnitude, k_count, std::numeric_limits<acc>::epsilon(), integers);
        }
  };
  const auto run = [&](auto paired) {
    const recording<acc, space, decltype(paired)::value> result(list, n_count);
    gemm::grouped_product<Engine>(exec, list, a, packed, result);
    exec.fence("test: results are read");
    if (!result.called_once(rows)) worst.ratio = 1e301;
    compare(result.gates, h1, h2); // the first matrix; the only one if not paired
    if (how == shape::paired) compare(result.sums, h2, h2);
  };
  if (how == shape::paired)
    run(std::true_type());
  else
    run(std::false_type());
  return worst.ratio;
}

/// One weight gradient against the truth, in a gradient with guard bands.
template <class Engine, class Exec, class A, class D, class T>
double gradient_error(const std::vector<extent>& sizes, extent k_count, extent n_count, bool accumulate, bool integers,
                      bool aligned = false) {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<T>;
  using gradient = Kokkos::View<acc***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>;
  const Exec exec{};
  source values(static_cast<unsigned>(k_count * 1000 + n_count), integers);
  const extent groups = static_cast<extent>(sizes.size()),
               rows = std::accumulate(sizes.begin(), sizes.end(), extent{0});
  const auto list = groups_of<space>(sizes, 5);
  const framed<A, space> x(rows / 2 + 1, k_count, values, aligned);
  const framed<D, space> y(rows + 5, n_count, values, aligned);
  std::vector<extent> at(static_cast<std::size_t>(rows + 5));
  for (auto& i : at) i = values.below(rows / 2 + 1);

  constexpr std::size_t margin = 64;
  const std::size_t size = static_cast<std::size_t>(groups * k_count * n_count);
  const acc before = accumulate ? acc(2.5) : std::numeric_limits<acc>::quiet_NaN();
  Kokkos::View<acc*, space> memory("gradient", size + 2 * margin);
  Kokkos::deep_copy(memory, acc(-77));
  Kokkos::deep_copy(Kokkos::subview(memory, Kokkos::pair<std::size_t, std::size_t>(margin, margin + size)), before);
  const gradient out(memory.data() + margin, static_cast<std::size_t>(groups), static_cast<std::size_t>(k_count),
                     static_cast<std::size_t>(n_count));

  const auto packed = Engine::template allocate<Exec, T>(exec, groups, k_count, n_count);
  gemm::grouped_weight_gradient<Engine>(exec, list, gemm::rows<A, space>(x.view, index_of<space>(at)),
                                        gemm::rows<D, space>(y.view), packed, out, accumulate);
  exec.fence("test: results are read");

  worst_error worst;
  const auto got = host(memory);
  const auto hx = host(x.whole);
  const auto hy = host(y.whole);
  for (std::size_t i = 0; i < margin; ++i)
    if (got(i) != acc(-77) || got(margin + size + i) != acc(-77)) worst.ratio = 1e301;
  std::size_t at_element = margin;
  for (extent g = 0, begin = 0; g < groups; ++g) {
    const extent end = begin + sizes[static_cast<std::size_t>(g)];
    for (extent k = 0; k < k_count; ++k)
      for (extent n = 0; n < n_count; ++n, ++at_element) {
        double want = accumulate ? 2.5 : 0, magnitude = want;
        for (extent r = begin; r < end; ++r) {
          const double term =
              number(hx(static_cast<std::size_t>(at[static_cast<std::size_t>(r)]) + x.margin,
                        static_cast<std::size_t>(k) + x.margin)) *
              number(hy(static_cast<std::size_t>(r) + y.margin, static_cast<std::size_t>(n) + y.margin));
          want += term;
          magnitude += std::abs(term);
        }
        worst.see(number(got(at_element)), want, magnitude, end - begin + 1, std::numeric_limits<acc>::epsilon(),
                  integers || begin == end);
      }
    begin = end;
  }
  return worst.ratio;
}

/// The sums of one group whose row r is row at[r] of x, all with the same packed matrix.
template <class Engine, class Exec, class T, class Packed>
auto rows_alone(const Exec& exec, const gemm::rows<T, typename Exec::memory_space>& x, const Packed& packed,
                const std::vector<extent>& at) {
  using space = typename Exec::memory_space;
  const auto list = groups_of<space>({static_cast<extent>(at.size())});
  const recording<accumulate_t<T>, space, false> result(list, packed.columns);
  gemm::grouped_product<Engine>(exec, list, gemm::rows<T, space>(x.values, index_of<space>(at)), packed, result);
  exec.fence("test: results are read");
  return host(result.sums);
}

/// How many (rows in the product, position) pairs give a row other bytes than it gets alone.
template <class Engine, class Exec, class T>
int rows_that_vary(extent k_count, extent n_count) {
  using space = typename Exec::memory_space;
  constexpr extent most = 129;
  const Exec exec{};
  source values(3, false);
  const framed<T, space> x(most, k_count, values);
  const gemm::rows<T, space> a(x.view);
  const auto packed = Engine::template allocate<Exec, T>(exec, 1, k_count, n_count);
  Engine::template pack<Exec, T>(exec, packed, stack<T, space>(1, k_count, n_count, values),
                                 gemm::orientation::forward);

  std::vector<accumulate_t<T>> alone;
  for (extent r = 0; r < most; ++r) {
    const auto sums = rows_alone<Engine, Exec, T>(exec, a, packed, {r});
    alone.insert(alone.end(), sums.data(), sums.data() + n_count);
  }
  int vary = 0;
  std::vector<extent> at;
  for (extent count = 1; count <= most; ++count) {
    at.push_back((count * 50) % most); // 50 and 129 share no factor: every row comes, in an order of its own
    const auto sums = rows_alone<Engine, Exec, T>(exec, a, packed, at);
    for (extent r = 0; r < count; ++r)
      vary += std::memcmp(sums.data() + r * n_count, alone.data() + at[static_cast<std::size_t>(r)] * n_count,
                          static_cast<std::size_t>(n_count) * sizeof(accumulate_t<T>)) != 0;
  }
  return vary;
}

/// Product and gradient on `exec`, as bytes. poisoned: that row of x is NaN.
template <class Engine, class Exec, class T>
std::vector<accumulate_t<T>> both(const Exec& exec, const std::vector<extent>& sizes, extent k_count, extent n_count,
                                  extent poisoned = -1) {
  using space = typename Exec::memory_space;
  using acc = accumulate_t<T>;
  source values(11, false);
  const extent groups = static_cast<extent>(sizes.size()),
               rows = std::accumulate(sizes.begin(), sizes.end(), extent{0});
  const auto list = groups_of<space>(sizes);
  const framed<T, space> x(rows, k_count, values), y(rows, n_count, values);
  if (poisoned >= 0)
    Kokkos::deep_copy(Kokkos::subview(x.view, poisoned, Kokkos::ALL), T(std::numeric_limits<float>::quiet_NaN()));
  const auto packed = Engine::template allocate<Exec, T>(exec, groups, k_count, n_count);
  Engine::template pack<Exec, T>(exec, packed, stack<T, space>(groups, k_count, n_count, values),
                                 gemm::orientation::forward);
  const recording<acc, space, false> result(list, n_count);
  const Kokkos::View<acc***, Kokkos::LayoutRight, space> gradient("gradient", static_cast<std::size_t>(groups),
                                                                  static_cast<std::size_t>(k_count),
                                                                  static_cast<std::size_t>(n_count));
  gemm::grouped_product<Engine>(exec, list, gemm::rows<T, space>(x.view), packed, result);
  gemm::grouped_weight_gradient<Engine>(exec, list, gemm::rows<T, space>(x.view), gemm::rows<T, space>(y.view), packed,
                                        gradient, false);
  exec.fence("test: results are read");
  const auto sums = host(result.sums);
  const auto slopes = host(gradient);
  std::vector<acc> all(sums.data(), sums.data() + sums.size());
  all.insert(all.end(), slopes.data(), slopes.data() + slopes.size());
  return all;
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

} // namespace gemm_checks

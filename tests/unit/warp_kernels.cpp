// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/worse.hpp"
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <random>
#include <switchyard/combine/combine.hpp>
#include <switchyard/dispatch/exchange.hpp>
#include <switchyard/experts/ffn.hpp>
#include <switchyard/layer/detail/layer_kernels.hpp>
#include <switchyard/router/router.hpp>
#include <vector>

// The kernels written for warps, lane by lane on the host, against those for one thread: the same bytes wherever the
// order of the additions is the same. Sizes that fill no warp, no block and no strip.

namespace sy = switchyard;
namespace gpu = sy::gpu;
namespace router = sy::router;

namespace {

using exec_space = Kokkos::DefaultHostExecutionSpace;
using space = exec_space::memory_space;
template <class T>
using matrix = Kokkos::View<T**, Kokkos::LayoutRight, space>;
template <class Real>
using decision = router::decision<Real, space>;

template <class Kernel>
void run_warps(const Kernel& kernel, std::int64_t n, int bytes = 0) {
  std::vector<std::uint64_t> shared(static_cast<std::size_t>(bytes) / 8 + 1, 0xaaaaaaaaaaaaaaaa); // never cleared
  for (std::int64_t i = 0; i < n; ++i)
    if constexpr (std::is_invocable_v<const Kernel&, const gpu::host_warp&, std::int64_t>)
      kernel(gpu::host_warp(), i);
    else
      kernel(gpu::host_warp(), i, reinterpret_cast<std::byte*>(shared.data()));
}
template <class Kernel>
void run_blocks(const Kernel& kernel, std::int64_t n) {
  std::vector<std::uint64_t> shared(static_cast<std::size_t>(Kernel::bytes) / 8 + 2, 0xaaaaaaaaaaaaaaaa);
  for (std::int64_t i = 0; i < n; ++i)
    kernel(gpu::host_block<Kernel::threads>(), i, reinterpret_cast<std::byte*>(shared.data()));
}

template <class View>
View copy_of(const View& v) {
  View other(Kokkos::view_alloc(Kokkos::WithoutInitializing, "copy"), v.layout());
  Kokkos::deep_copy(other, v);
  return other;
}
/// The same bytes, or NaN on both sides.
template <class View>
bool same(const View& a, const View& b) {
  using T = typename View::non_const_value_type;
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if constexpr (std::is_floating_point_v<T>)
      if (std::isnan(a.data()[i]) && std::isnan(b.data()[i])) continue;
    if (std::memcmp(static_cast<const void*>(a.data() + i), static_cast<const void*>(b.data() + i), sizeof(T)) != 0)
      return false;
  }
  return true;
}
/// Within this part of the largest number; NaN and infinities where the other has them.
template <class View>
bool close(const View& a, const View& b, double tolerance) {
  double most = 0, off = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    off = switchyard_test::worse(off, std::abs(x - y));
  }
  for (std::size_t i = 0; i < b.size(); ++i)
    if (const auto y = std::abs(static_cast<double>(b.data()[i])); std::isfinite(y)) most = std::max(most, y);
  return off <= tolerance * most;
}

template <class T>
matrix<T> random_matrix(std::int64_t rows, std::int64_t columns, unsigned seed, double scale = 1) {
  matrix<T> m("m", static_cast<std::size_t>(rows), static_cast<std::size_t>(columns));
  std::mt19937 source(seed);
  std::normal_distribution<double> draw(0, scale);
  for (std::size_t i = 0; i < m.size(); ++i) m.data()[i] = T(static_cast<sy::accumulate_t<T>>(draw(source)));
  return m;
}

/// Logits of every kind: ties, and a token of NaN, of infinities, of equal numbers.
template <class Real>
matrix<Real> hard_logits(std::int64_t tokens, std::int64_t experts, unsigned seed) {
  const auto h = random_matrix<Real>(tokens, experts, seed, 2);
  const auto at = [&](std::int64_t t, std::int64_t e) -> Real& {
    return h(static_cast<std::size_t>(t), static_cast<std::size_t>(e));
  };
  for (std::int64_t t = 0; t < tokens; t += 5)
    for (std::int64_t e = 0; e < experts; ++e) at(t, e) = Real(0.5) * std::round(at(t, e) * 2);
  for (std::int64_t e = 0; e < experts; ++e) {
    if (tokens > 3) at(3, e) = 1;
    if (tokens > 7) at(7, e) = -std::numeric_limits<Real>::infinity();
  }
  if (tokens > 9) at(9, experts / 2) = std::numeric_limits<Real>::quiet_NaN();
  if (tokens > 11) at(11, experts - 1) = -std::numeric_limits<Real>::infinity();
  if (tokens > 12) at(12, 0) = std::numeric_limits<Real>::infinity();
  return h;
}

struct shape {
  std::int64_t groups, tokens, experts;
  int choices;
  sy::routing_policy routing;
};

template <class Real>
struct subject {
  exec_space exec;
  router::problem size;
  router::settings set;
  router::padding<space> pad;
  decision<Real> d;
  router::statistics<Real, space> sums;

  subject(const shape& s, unsigned seed, bool padded = false)
      : size{s.groups, s.tokens, s.experts, 1, s.groups + 2}, d(size, s.choices), sums(size) {
    set.routing = s.routing;
    set.choices = s.choices;
    set.capacity = std::max<std::int64_t>(1, s.tokens * s.choices / s.experts);
    const sy::generator draws(sy::seed{seed}, sy::stream::gumbel, 3, 4);
    set.gumbel = draws;
    set.second = draws;
    d.logits = hard_logits<Real>(s.groups * s.tokens, s.experts, seed);
    if (!padded) return;
    Kokkos::View<float**, Kokkos::LayoutRight, space> mask("mask", static_cast<std::size_t>(s.groups),
                                                           static_cast<std::size_t>(s.tokens));
    for (std::size_t i = 0; i < mask.size(); ++i) mask.data()[i] = i % 6 == 1 ? 0.0f : 1.0f;
    pad.mask = mask;
  }
  std::int64_t tokens() const { return size.groups * size.tokens; }
  std::int64_t blocks() const { return router::statistics<Real, space>::blocks(size); }
};

constexpr auto top_1 = sy::routing_policy::top_1;
constexpr auto top_k = sy::routing_policy::top_k;
constexpr auto left_behind = sy::routing_policy::no_token_left_behind;
constexpr auto expert_choice = sy::routing_policy::expert_choice;

/// softmax, selection and the sums of blocks: the same bytes, NaN included.
template <class Real, class Storage, int Values>
void check_decide(subject<Real> s) {
  router::decide<Storage>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  s.exec.fence();
  decision<Real> other(s.size, s.set.choices);
  other.logits = s.d.logits;
  const auto partial = copy_of(s.sums.partial);
  Kokkos::deep_copy(partial, Real(-1));
  if (s.set.routing == expert_choice) {
    Kokkos::deep_copy(other.choice, s.d.choice);
    Kokkos::deep_copy(other.slot, s.d.slot);
  }
  run_blocks(
      router::detail::decide_block<Real, Storage, space, Values>{s.size, s.set, s.pad, other, partial, s.blocks()},
      s.size.groups * s.blocks());
  CHECK(same(other.choice, s.d.choice));
  CHECK(same(other.slot, s.d.slot));
  CHECK(same(other.probs, s.d.probs));
  CHECK(same(other.lse, s.d.lse));
  CHECK(same(partial, s.sums.partial));
}

} // namespace

TEST_CASE("warp kernels: softmax, selection and statistics") {
  for (const bool padded : {false, true})
    for (const int k : {1, 3}) {
      subject<float> s({2, 70, 37, k, k == 1 ? top_1 : top_k}, 11, padded);
      INFO("k = " << k << ", padded = " << padded);
      check_decide<float, float, 4>(s);
      check_decide<float, sy::bfloat16, 4>(s);
      s.set.sample_temperature = 0.7;
      s.set.second_expert = sy::second_expert_policy::random;
      s.set.load = 0.1;
      s.set.form = sy::balance_form::any_of_k;
      check_decide<float, float, 16>(s);
      s.set.second_expert = sy::second_expert_policy::threshold;
      check_decide<float, float, 4>(s);
    }
  check_decide<double, double, 4>(subject<double>({1, 65, 128, 40, left_behind}, 12));
  check_decide<double, double, 4>(subject<double>({3, 5, 1, 1, top_1}, 13));
  check_decide<double, double, 16>(subject<double>({1, 20, 300, 300, expert_choice}, 14));
}

TEST_CASE("warp kernels: slots are those of one thread after the other") {
  const shape shapes[] = {{2, 301, 5, 1, top_1},       {1, 256, 64, 8, top_k},         {3, 33, 40, 2, top_k},
                          {2, 520, 7, 3, left_behind}, {2, 1100, 6, 6, expert_choice}, {1, 31, 1, 1, top_1}};
  for (const auto& [groups, tokens, experts, k, routing] : shapes)
    for (const auto order : {sy::slot_order::token, sy::slot_order::batch_prioritized})
      for (const bool padded : {false, true}) {
        INFO("tokens = " << tokens << ", experts = " << experts << ", k = " << k << ", routing "
                         << static_cast<int>(routing) << ", order " << static_cast<int>(order));
        subject<float> s({groups, tokens, experts, k, routing}, 21, padded);
        s.set.order = order;
        s.set.second_expert = sy::second_expert_policy::threshold;
        router::decide<float>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
        router::slot_scratch<float, space> scratch(s.size, routing, order);
        const auto slot = copy_of(s.d.slot);
        router::assign_slots(s.exec, s.size, s.set, s.pad, s.d, scratch);
        s.exec.fence();
        decision<float> other = s.d;
        other.slot = slot;
        other.choice = copy_of(s.d.choice);
        other.filled = copy_of(s.d.filled);
        Kokkos::deep_copy(other.filled, -7);
        if (routing == expert_choice) {
          run_warps(
              router::detail::take_tokens_rows<float, space>{{s.size, s.set, s.pad, other, scratch.sort.order[0]}},
              groups * experts);
        } else {
          Kokkos::View<const std::int32_t*, space> listed;
          if (order == sy::slot_order::batch_prioritized) listed = scratch.sort.order[0];
          const bool at_once = routing != left_behind;
          const int stages = at_once ? k : 1;
          const std::int64_t tasks = groups * scratch.blocks;
          Kokkos::View<std::int32_t**, Kokkos::LayoutRight, space> histogram(
              "histogram", static_cast<std::size_t>(stages * tasks), static_cast<std::size_t>(experts));
          for (int j = 0; j < k; j += stages) {
            const router::detail::slot_stages<float, space> stage{s.size,         s.set,  j,     stages,
                                                                  scratch.blocks, listed, other, histogram};
            const int bytes = static_cast<int>(experts) * 4;
            run_warps(router::detail::count_block<float, space>{stage}, stages * tasks, bytes);
            run_warps(router::detail::scan_blocks<float, space>{stage}, groups * experts);
            run_warps(router::detail::assign_block<float, space>{stage}, stages * tasks, bytes);
          }
        }
        CHECK(same(other.slot, s.d.slot));
        CHECK(same(other.choice, s.d.choice));
        CHECK(same(other.filled, s.d.filled));
      }
}

TEST_CASE("warp kernels: sorting") {
  const std::int64_t segments = 3, length = 2500;
  router::detail::sorter<float, space> s(segments, length), other(segments, length);
  std::mt19937 source(31);
  for (std::size_t i = 0; i < s.keys[0].size(); ++i) {
    s.keys[0](i) = other.keys[0](i) = static_cast<std::uint32_t>(source()) & 0x80ff00ffu; // many are equal
    s.order[0](i) = other.order[0](i) = static_cast<std::int32_t>(i % static_cast<std::size_t>(length));
  }
  router::detail::sort(exec_space(), s);
  for (int pass = 0; pass < 4; ++pass) {
    const int in = pass % 2, out = 1 - in;
    const router::detail::digit_kernel<float, space, false> count{length,           other.blocks,    8 * pass,
                                                                  other.keys[in],   other.order[in], other.keys[out],
                                                                  other.order[out], other.histogram};
    const router::detail::digit_kernel<float, space, true> scatter{length,           other.blocks,    8 * pass,
                                                                   other.keys[in],   other.order[in], other.keys[out],
                                                                   other.order[out], other.histogram};
    run_warps(router::detail::digit_block<float, space, false>{count}, segments * other.blocks, 1024);
    run_blocks(router::detail::digit_scan_block<float, space>{{other.blocks, other.histogram}}, segments);
    run_warps(router::detail::digit_block<float, space, true>{scatter}, segments * other.blocks, 1024);
  }
  CHECK(same(s.keys[0], other.keys[0]));
  CHECK(same(s.order[0], other.order[0]));
}

TEST_CASE("warp kernels: the first rows of experts and groups") {
  for (const auto& [groups, experts] : {std::pair{1, 1}, {3, 41}, {9, 128}, {40, 60}}) {
    INFO("groups = " << groups << ", experts = " << experts);
    subject<float> s({groups, 1, experts, 1, top_1}, 37);
    for (std::size_t i = 0; i < s.d.filled.size(); ++i) s.d.filled.data()[i] = static_cast<std::int32_t>(i * 7 % 11);
    const sy::dispatch::assignment<space> a(s.size, 1), other(s.size, 1);
    const sy::dispatch::detail::offset_kernel<space> plain{s.size, s.d.filled, a.group_offset, a.expert_offset};
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < groups * experts; ++i) plain(i, sum, true);
    run_blocks(sy::dispatch::detail::offset_block<space>{{s.size, s.d.filled, other.group_offset, other.expert_offset}},
               1);
    CHECK(same(other.group_offset, a.group_offset));
    CHECK(same(other.expert_offset, a.expert_offset));
  }
}

namespace {

/// Everything behind the slots, for one routing; the columns of x from `first` are dispatched.
template <class T, class Real, int N>
void check_rows(const shape& form, std::int64_t width, std::int64_t first) {
  INFO("width = " << width << ", first = " << first << ", N = " << N << ", k = " << form.choices);
  subject<Real> s(form, 41);
  router::decide<Real>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  router::slot_scratch<Real, space> scratch(s.size, form.routing, sy::slot_order::token);
  router::assign_slots(s.exec, s.size, s.set, s.pad, s.d, scratch);
  const auto gates = random_matrix<Real>(s.tokens(), form.choices, 42);
  s.d.gate = gates;
  sy::dispatch::assignment<space> a(s.size, s.tokens() * form.choices);
  sy::dispatch::list_rows(s.exec, s.size, s.set, s.d, a);
  for (const bool padded : {false, true}) {
    const sy::dispatch::slot_map<space> map{a.group_offset, s.size.groups, s.set.capacity, padded};
    const std::int64_t rows =
        padded ? form.experts * form.groups * s.set.capacity : s.tokens() * std::int64_t{form.choices};
    const auto x = random_matrix<T>(s.tokens(), width + first, 43), o = random_matrix<T>(rows, width, 44);
    const sy::dispatch::chosen_rows<Real, space> chosen{s.size, s.set, s.d, map};

    const matrix<T> blocks("blocks", o.extent(0), o.extent(1)), other_blocks = copy_of(blocks);
    sy::dispatch::fill_blocks<exec_space, T, Real, space>(s.exec, s.size, s.set, s.d, map, x, blocks, first);
    run_warps(sy::dispatch::detail::fill_rows<T, Real, space, N>{chosen, x, other_blocks, first}, s.tokens());
    CHECK(same(blocks, other_blocks));

    const matrix<T> y("y", x.extent(0), o.extent(1)), other_y = random_matrix<T>(s.tokens(), width, 45);
    sy::combine::forward<exec_space, T, Real, space>(s.exec, s.size, s.set, s.d, map, o, y);
    run_warps(sy::combine::detail::forward_rows<T, Real, space, N>{chosen, s.d.gate, o, other_y}, s.tokens());
    CHECK(same(y, other_y));
    if (form.choices == 1) { // y written by the experts' last product, in whose place values are drawn here
      const auto written = random_matrix<T>(s.tokens(), width, 46), other_written = copy_of(written);
      sy::combine::zero_dropped<exec_space, T, Real, space>(s.exec, s.size, s.d, written);
      run_warps(sy::combine::detail::dropped_rows<T, space>{s.d.slot, other_written}, s.tokens());
      CHECK(same(written, other_written));
    }

    const matrix<T> d_o("d_o", o.extent(0), o.extent(1)), other_d_o = copy_of(d_o);
    const matrix<Real> dq("dq", gates.extent(0), gates.extent(1)), other_dq = copy_of(dq);
    Kokkos::deep_copy(other_dq, Real(5));
    sy::combine::backward<exec_space, T, Real, space>(s.exec, s.size, s.set, s.d, map, x, o, d_o, dq, first);
    run_warps(sy::combine::detail::backward_rows<T, Real, space, N>{chosen, s.d.gate, x, o, other_d_o, other_dq, first},
              s.tokens());
    CHECK(same(d_o, other_d_o));
    CHECK(close(other_dq, dq, sizeof(Real) == 8 ? 1e-14 : 4e-6));
  }
}

} // namespace

TEST_CASE("warp kernels: rows of dispatch and combine") {
  const shape one{2, 9, 4, 1, top_1}, three{1, 20, 6, 3, top_k}, many{1, 17, 40, 40, left_behind},
      theirs{2, 12, 50, 50, expert_choice};
  for (const auto& form : {one, three}) {
    check_rows<sy::bfloat16, float, 8>(form, 8, 0);
    check_rows<sy::bfloat16, float, 8>(form, 1056, 8);
    check_rows<sy::bfloat16, float, 1>(form, 131, 3);
    check_rows<double, double, 2>(form, 258, 2);
  }
  check_rows<sy::bfloat16, float, 8>(many, 264, 0);
  check_rows<double, double, 1>(theirs, 33, 1);
  check_rows<sy::half, float, 8>(one, 264, 16);
}

namespace {

template <class T>
void check_epilogues() {
  using acc = sy::accumulate_t<T>;
  constexpr int n = gpu::wide<T>;
  constexpr std::int64_t d_ff = 3 * n, rows = 3;
  const auto sums = random_matrix<acc>(rows, d_ff, 91);
  const auto hidden = random_matrix<T>(rows, d_ff, 92), pre = random_matrix<T>(rows, 2 * d_ff, 93);
  for (const auto kind : {sy::activation_kind::relu, sy::activation_kind::gelu, sy::activation_kind::silu})
    for (const bool gated : {false, true})
      for (const bool kept : {false, true}) {
        if (gated && !kept) continue;
        INFO("activation " << static_cast<int>(kind) << ", gated = " << gated << ", kept = " << kept);
        const matrix<T> plain("d_pre", rows, (gated ? 2 : 1) * d_ff), pieces = copy_of(plain);
        sy::experts::detail::d_pre_epilogue<T, space> epilogue{kind,  gated, {}, hidden, kept ? pre : matrix<T>(),
                                                               plain, {}};
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t c = 0; c < d_ff; c += n) {
            acc one[n], other[n];
            for (int j = 0; j < n; ++j)
              one[j] = other[j] = sums(static_cast<std::size_t>(r), static_cast<std::size_t>(c + j));
            epilogue.d_pre = plain;
            epilogue(0, r, c, n, one);
            epilogue.d_pre = pieces;
            epilogue.one_piece(r, c, d_ff, other);
          }
        CHECK(same(plain, pieces));
      }
}

template <class T, class Real>
void check_dx(const shape& form, std::int64_t width, std::int64_t first, std::int64_t here) {
  INFO("width = " << width << ", columns from " << first << ", " << here);
  constexpr int n = gpu::wide<T>;
  subject<Real> s(form, 95);
  router::decide<Real>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  router::slot_scratch<Real, space> scratch(s.size, form.routing, sy::slot_order::token);
  router::assign_slots(s.exec, s.size, s.set, s.pad, s.d, scratch);
  const sy::dispatch::assignment<space> a(s.size, s.tokens() * form.choices);
  sy::dispatch::list_rows(s.exec, s.size, s.set, s.d, a);
  const auto rows = random_matrix<T>(s.tokens() * form.choices, here, 96);
  const auto sums = random_matrix<Real>(s.tokens(), width, 97);
  const matrix<T> plain("dx", static_cast<std::size_t>(s.tokens()), static_cast<std::size_t>(here)),
      pieces = copy_of(plain);
  sy::detail::dx_epilogue<T, Real, space> epilogue{
      s.size, s.set, s.d, {a.group_offset, form.groups, s.set.capacity, false}, {}, rows, plain, width, first};
  for (std::int64_t t = 0; t < s.tokens(); ++t)
    for (std::int64_t c = 0; c + n <= width; c += n) {
      Real one[n];
      for (int j = 0; j < n; ++j) one[j] = sums(static_cast<std::size_t>(t), static_cast<std::size_t>(c + j));
      epilogue.dx = pieces;
      epilogue.one_piece(t, c, first + here, one);
      epilogue.dx = plain;
      epilogue(0, t, c, n, one);
    }
  CHECK(same(plain, pieces));
}

} // namespace

TEST_CASE("warp kernels: epilogues in pieces of 16 bytes") {
  check_epilogues<sy::bfloat16>();
  check_epilogues<sy::half>();
  check_epilogues<double>();
  const shape one{2, 9, 4, 1, top_1}, three{1, 20, 6, 3, top_k};
  check_dx<sy::bfloat16, float>(three, 64, 0, 64);
  check_dx<sy::bfloat16, float>(three, 64, 16, 32);
  check_dx<sy::bfloat16, float>(one, 48, 11, 21);
  check_dx<double, double>(one, 12, 3, 7);
}

namespace {

template <class Real, int Values>
void check_gradient(subject<Real> s) {
  router::decide<Real>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  router::slot_scratch<Real, space> scratch(s.size, s.set.routing, s.set.order);
  router::assign_slots(s.exec, s.size, s.set, s.pad, s.d, scratch);
  router::gates<Real>(s.exec, s.set, s.d);
  const auto partial = copy_of(s.sums.partial);
  router::sum_groups(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  router::losses(s.exec, s.size, s.set, s.sums);
  const auto dq = random_matrix<Real>(s.tokens(), s.set.choices, 51);
  const matrix<Real> dh("dh", s.d.logits.extent(0), s.d.logits.extent(1)), other = copy_of(dh);
  router::backward<exec_space, Real, space>(s.exec, s.size, s.set, s.pad, s.d, s.sums, 1.5, dq, dh);
  run_warps(router::detail::backward_rows<Real, space, Values>{{s.size, s.set, s.pad, s.d, s.sums.dp, s.sums.dm,
                                                                s.sums.result, Real(1.5), dq, other}},
            s.tokens());
  if (s.set.load > 0) // whose sum over the experts is another
    CHECK(close(other, dh, 1e-14));
  else
    CHECK(same(dh, other));

  // statistics: sums in another order
  using namespace router::detail;
  const double few = sizeof(Real) == 8 ? 1e-14 : 2e-6;
  const auto sums = copy_of(s.sums.sums), balance_of = sums;
  const auto columns = static_cast<std::int64_t>(sums.extent(1));
  run_warps(count_slots_rows<Real, space>{{s.size, s.set, s.pad, s.d, partial, s.blocks()}},
            s.size.groups * s.blocks());
  CHECK(same(partial, s.sums.partial));
  for (std::int64_t g = 0; g < s.size.groups; ++g)
    for (std::size_t c = 0; c < sums.extent(1); ++c) sums(static_cast<std::size_t>(s.size.group_begin + g), c) = -1;
  const std::int64_t tiles = (columns + 31) / 32;
  run_blocks(sum_group_block<Real, space>{{s.size, s.d.filled, partial, sums, s.blocks(), columns}, tiles},
             s.size.groups * tiles);
  CHECK(close(sums, s.sums.sums, few));
  auto balance = copy_of(s.sums.balance);
  Kokkos::deep_copy(balance, Real(-1));
  run_warps(balance_rows<Real, space>{{s.size, s.set, s.sums.sums, balance}}, s.size.groups_total);
  CHECK(close(balance, s.sums.balance, few));
  const auto dm = copy_of(s.sums.dm);
  const auto result = copy_of(s.sums.result);
  Kokkos::deep_copy(result, -1.0);
  run_warps(summary_rows<Real, space>{{s.size, s.set, s.sums.sums, s.sums.balance, s.sums.expert_sums, dm, result}}, 1);
  for (std::size_t i = 0; i < result.size(); ++i) {
    INFO("number " << i << " of the summary");
    CHECK(std::abs(result(i) - s.sums.result(i)) <= 1e-6 * std::abs(s.sums.result(i)));
  }
  CHECK(close(dm, s.sums.dm, 1e-5));
}

} // namespace

TEST_CASE("warp kernels: the router's gradient and the losses") {
  for (const bool padded : {false, true})
    for (const bool everything : {false, true}) {
      subject<double> s({2, 150, 37, 3, top_k}, 61, padded);
      s.d.logits = random_matrix<double>(s.tokens(), 37, 62); // no NaN: it would be in every sum
      s.set.load_balance = 0.1;
      s.set.renormalize = sy::renormalize_policy::before_drop;
      if (everything) {
        s.set.router_z = 0.2;
        s.set.importance = 0.3;
        s.set.load = 0.4;
        s.set.logit_softcap = 30;
        s.set.scope = sy::balance_scope::batch;
      }
      check_gradient<double, 4>(s);
    }
  subject<double> s({1, 40, 130, 130, expert_choice}, 63);
  s.d.logits = random_matrix<double>(s.tokens(), 130, 64);
  s.set.router_z = 0.2;
  check_gradient<double, 16>(s);
}

TEST_CASE("warp kernels: three pieces are the number") {
  std::mt19937 source(71);
  for (int i = 0; i < 100000; ++i) {
    const auto value = Kokkos::bit_cast<float>(static_cast<std::uint32_t>(source()));
    if (!std::isnormal(value) || std::abs(value) < 1e-30f) continue; // a piece of the smallest could not be one
    float rest = value;
    const float a = router::detail::take_piece(rest), b = router::detail::take_piece(rest),
                c = router::detail::take_piece(rest);
    if (a + (b + c) == value && rest == 0) continue;
    FAIL_CHECK(value);
  }
  for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    float rest = value;
    CHECK(static_cast<float>(router::detail::take_piece(rest)) == value);
    CHECK(static_cast<float>(router::detail::take_piece(rest)) == 0);
  }
}

namespace {

template <int Tiles, int Values>
void check_route(std::int64_t groups, std::int64_t tokens, std::int64_t width, std::int64_t experts, double softcap) {
  INFO("tokens = " << tokens << ", width = " << width << ", experts = " << experts);
  subject<float> s({groups, tokens, experts, 1, top_1}, 81);
  s.set.logit_softcap = softcap;
  const auto x = random_matrix<sy::bfloat16>(s.tokens(), width, 82);
  const auto w = random_matrix<float>(width, experts, 83);
  const router::split_weights<space> pieces(width, experts);
  REQUIRE(pieces.tiles == Tiles);
  router::split(s.exec, w, pieces);
  s.exec.fence();
  decision<float> d(s.size, 1);
  Kokkos::deep_copy(d.logits, -99.0f);
  const auto partial = copy_of(s.sums.partial);
  run_blocks(router::detail::route_block<float, space, Tiles, Values>{{s.size, s.set, s.pad, d, partial, s.blocks()},
                                                                      x,
                                                                      pieces},
             groups * s.blocks());

  double off = 0, off_plain = 0; // of these logits, and of plain sums in float
  for (std::size_t t = 0; t < x.extent(0); ++t)
    for (std::size_t e = 0; e < w.extent(1); ++e) {
      double exact = 0;
      float plain = 0;
      for (std::size_t m = 0; m < x.extent(1); ++m) {
        exact += static_cast<double>(x(t, m)) * static_cast<double>(w(m, e));
        plain += static_cast<float>(x(t, m)) * w(m, e);
      }
      off_plain = std::max(off_plain, std::abs(exact - static_cast<double>(plain)));
      if (softcap > 0) exact = softcap * std::tanh(exact / softcap);
      off = switchyard_test::worse(off, std::abs(exact - static_cast<double>(d.logits(t, e))));
    }
  CHECK(off <= 3 * off_plain);
  // the rest of the block's work, from the same logits
  Kokkos::deep_copy(s.d.logits, d.logits);
  router::decide<float>(s.exec, s.size, s.set, s.pad, s.d, s.sums);
  CHECK(same(d.choice, s.d.choice));
  CHECK(same(d.probs, s.d.probs));
  CHECK(same(partial, s.sums.partial));
}

} // namespace

TEST_CASE("warp kernels: the router in one pass over x") {
  check_route<1, 1>(1, 64, 32, 8, 0);
  check_route<1, 1>(2, 37, 320, 16, 5);
  check_route<4, 2>(1, 130, 96, 33, 0);
  check_route<8, 4>(1, 70, 256, 128, 0);
  check_route<16, 8>(1, 5, 64, 200, 0);
}

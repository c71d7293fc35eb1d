// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include <catch2/catch_test_macros.hpp>
#include <switchyard/mesh/checking.hpp>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/elementwise.hpp>
#include <switchyard/mesh/reshard.hpp>
#include <switchyard/mpi.hpp>

#include "../support/tensor_oracle.hpp"

// The algebra on real ranks against sums by global index on one process: every factorization of the number of ranks
// into two axes, groups and experts that do not divide. All values are small integers, so equal means equal.

namespace sy = switchyard;
namespace dims = sy::dims;
using sy::P;
using sy::R;

namespace {

template <class D>
using S = sy::S<D>;
struct data : sy::name<"data"> {};
struct model : sy::name<"model"> {};
struct rows : sy::name<"rows"> {};
struct columns : sy::name<"columns"> {};
struct depth : sy::name<"depth"> {};
using plane = sy::mesh<sy::axis<data>, sy::axis<model>>;
Kokkos::DefaultExecutionSpace exec() {
  return {};
}

template <class A, class B, class... D>
using tensor = sy::tensor<double, plane, sy::dimensions<D...>, sy::placements<A, B>>;

bool everywhere(bool here) {
  int all = here ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all == 1;
}

/// f(mesh, what it sent) for every way to see these ranks as a plane; on one rank for self() too.
template <class F>
void on_every_plane(const F& f) {
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  for (int a = 1; a <= ranks; ++a) {
    if (ranks % a != 0) continue;
    INFO("mesh " << a << " x " << ranks / a);
    sy::traffic sent;
    const plane mesh(sy::counting(sy::checking(sy::mpi(MPI_COMM_WORLD)), sent), {a, ranks / a});
    f(mesh, sent);
  }
  sy::traffic sent;
  if (ranks == 1) f(plane(sy::counting(sy::self(), sent), {1, 1}), sent);
}

/// x and its gradients through einsum, for operands placed as A and B.
template <class A, class B>
void check_product(const plane& mesh, const std::string& la, const std::string& lb, const std::string& lo) {
  const std::map<char, std::int64_t> extents{{'g', 5}, {'r', 12}, {'c', 12}, {'k', 12}};
  const auto a = oracle::draw(la, extents, 1), b = oracle::draw(lb, extents, 2);
  const auto pa = oracle::placed<A>(mesh, a);
  const auto pb = oracle::placed<B>(mesh, b);
  auto out = sy::einsum<dims::group, rows, columns>(exec(), pa, pb);
  using out_type = decltype(out);
  const auto whole = sy::gradient_of<out_type>(exec(), std::move(out)); // P becomes R
  CHECK(everywhere(oracle::holds(whole, oracle::product(lo, a, b))));

  const auto d_out = oracle::draw(lo, extents, 3);
  auto [da, db] = sy::einsum_backward(exec(), pa, pb, oracle::placed<sy::grad_of<out_type>>(mesh, d_out));
  CHECK(everywhere(oracle::holds(sy::gradient_of<A>(exec(), std::move(da)), oracle::product(la, d_out, b))));
  CHECK(everywhere(oracle::holds(sy::gradient_of<B>(exec(), std::move(db)), oracle::product(lb, a, d_out))));
}

template <class A1, class A2, class B1, class B2>
void check_table(const plane& mesh) {
  check_product<tensor<A1, A2, dims::group, rows, depth>, tensor<B1, B2, dims::group, depth, columns>>(mesh, "grk",
                                                                                                       "gkc", "grc");
}

/// One reshard, its bytes, and back.
template <class From, class To>
void check_reshard(const plane& mesh, sy::traffic sent) {
  const std::map<char, std::int64_t> extents{{'g', 5}, {'e', 7}, {'c', 12}};
  const std::string letters = "gec";
  const auto values = oracle::draw(letters, extents, 4);
  auto x = oracle::placed<From>(mesh, values);
  if constexpr (From::partial) { // terms whose sum is `values`
    const auto codes = sy::detail::codes<typename From::dimensions_type, typename From::placements_type>;
    bool first = true;
    for (std::size_t i = 0; i < codes.size(); ++i)
      first = first && (codes[i] != sy::detail::partial || mesh.coordinate(i) == 0);
    std::int64_t terms = 1;
    for (std::size_t i = 0; i < codes.size(); ++i)
      if (codes[i] == sy::detail::partial) terms *= mesh.extent(i);
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), x.flat());
    for (std::size_t i = 0; i < host.size(); ++i) host(i) = first ? host(i) - 3.0 * double(terms - 1) : 3.0;
    Kokkos::deep_copy(x.flat(), host);
  }
  const auto predicted = sy::bytes_sent<From, To>(x.extents(), mesh.extents(), mesh.coordinates());
  sent.reset();
  const auto y = sy::reshard<To>(exec(), std::move(x));
  std::int64_t on_data = 0, on_model = 0;
  for (int kind = 0; kind < sy::collectives; ++kind) {
    on_data += sent.bytes("data", static_cast<sy::collective>(kind));
    on_model += sent.bytes("model", static_cast<sy::collective>(kind));
  }
  CHECK(everywhere(oracle::holds(y, values)));
  CHECK(everywhere(on_data == predicted[0] && on_model == predicted[1]));

  const auto dy = oracle::draw(letters, extents, 5);
  const auto dx = sy::reshard_backward<From>(exec(), oracle::placed<To>(mesh, dy));
  static_assert(std::is_same_v<std::remove_cv_t<decltype(dx)>, sy::grad_of<From>>);
  CHECK(everywhere(oracle::holds(dx, dy)));
}

template <class... Pl>
struct list {};
template <class From, class To>
void check_if_possible(const plane& mesh, const sy::traffic& sent) {
  using dimensions = typename From::dimensions_type;
  constexpr auto there = sy::detail::make_plan(sy::detail::codes<dimensions, typename From::placements_type>,
                                               sy::detail::codes<dimensions, typename To::placements_type>);
  constexpr auto back =
      sy::detail::make_plan(sy::detail::codes<dimensions, typename To::placements_type>,
                            sy::detail::codes<dimensions, typename sy::grad_of<From>::placements_type>);
  if constexpr (there.stuck < 0 && back.stuck < 0) check_reshard<From, To>(mesh, sent);
}
template <class From, class... B, class... A>
void to_each(const plane& mesh, const sy::traffic& sent, list<A...>, list<B...> second) {
  const auto row = [&]<class First>(std::type_identity<First>) {
    (check_if_possible<From, tensor<First, B, dims::group, dims::experts, columns>>(mesh, sent), ...);
  };
  static_cast<void>(second);
  (row(std::type_identity<A>()), ...);
}

struct relu {
  KOKKOS_FUNCTION double operator()(double x) const { return x > 0 ? x : 0; }
};
struct relu_backward {
  KOKKOS_FUNCTION double operator()(double x, double dy) const { return x > 0 ? dy : 0; }
};
struct softmax {
  template <class X, class Y>
  KOKKOS_FUNCTION void operator()(const X& x, const Y& y) const {
    double largest = x[0], sum = 0;
    for (std::int64_t i = 1; i < x.size(); ++i) largest = x[i] > largest ? x[i] : largest;
    for (std::int64_t i = 0; i < x.size(); ++i) sum += y[i] = Kokkos::exp(x[i] - largest);
    for (std::int64_t i = 0; i < x.size(); ++i) y[i] /= sum;
  }
};

/// An expert layer with given dispatch weights, forward and backward, under one set of rules.
template <class Rules, class ExpertSide, bool Sliced>
void check_layer(const plane& mesh, std::int64_t expert_count) {
  const std::map<char, std::int64_t> n{{'g', 5}, {'t', 3}, {'e', expert_count}, {'c', 2}, {'m', 12}, {'f', 12}};
  const auto mask = oracle::draw("gtec", n, 6), x = oracle::draw("gtm", n, 7), wi = oracle::draw("emf", n, 8),
             wo = oracle::draw("efm", n, 9), dy = oracle::draw("gtm", n, 10);
  // what it must be
  const auto slots = oracle::product("gecm", mask, x), h = oracle::product("gecf", slots, wi);
  auto a = h;
  for (double& v : a.values) v = relu()(v);
  const auto y = oracle::product("gtm", mask, oracle::product("gecm", a, wo));
  const auto d_o = oracle::product("gecm", mask, dy);
  auto dh = oracle::product("gecf", d_o, wo);
  for (std::size_t i = 0; i < dh.values.size(); ++i) dh.values[i] = relu_backward()(h.values[i], dh.values[i]);
  const auto d_wo = oracle::product("efm", a, d_o), d_wi = oracle::product("emf", slots, dh);
  const auto dx = oracle::product("gtm", mask, oracle::product("gecm", dh, wi));

  // what it is
  using x_type = sy::tensor_of<double, plane, Rules, dims::group, dims::token, dims::d_model>;
  using mask_type = sy::tensor_of<double, plane, Rules, dims::group, dims::token, dims::experts, dims::capacity>;
  using wi_type = sy::tensor_of<double, plane, Rules, dims::experts, dims::d_model, dims::d_ff>;
  using wo_type = sy::tensor_of<double, plane, Rules, dims::experts, dims::d_ff, dims::d_model>;
  using input_type =
      sy::tensor_of<double, plane, ExpertSide, dims::group, dims::experts, dims::capacity, dims::d_model>;
  const auto tm = oracle::placed<mask_type>(mesh, mask);
  const auto ti = oracle::placed<wi_type>(mesh, wi);
  const auto to = oracle::placed<wo_type>(mesh, wo);
  const auto sent = sy::einsum<dims::group, dims::experts, dims::capacity, dims::d_model>(
      exec(), tm, oracle::placed<x_type>(mesh, x));
  using sent_type = std::remove_cv_t<decltype(sent)>;
  using axis_of_groups =
      std::conditional_t<sent_type::placements_type::template splits<dims::group>, S<dims::group>, R>;
  using sliced = sy::placements<axis_of_groups, S<dims::d_model>>;
  const auto travel = [](const auto& t) { // layout 5 cuts d_model before the exchange
    if constexpr (Sliced)
      return sy::reshard<sliced>(exec(), t);
    else
      return t;
  };
  const auto input = sy::reshard<input_type>(exec(), travel(sent));
  const auto th = sy::einsum<dims::group, dims::experts, dims::capacity, dims::d_ff>(exec(), input, ti);
  const auto ta = sy::map(exec(), relu(), th);
  auto o = sy::einsum<dims::group, dims::experts, dims::capacity, dims::d_model>(exec(), ta, to);
  using o_type = decltype(o);
  const auto returned = sy::reshard<sent_type>(exec(), std::move(o));
  const auto ty = sy::einsum<dims::group, dims::token, dims::d_model>(exec(), tm, returned);
  CHECK(everywhere(oracle::holds(ty, y)));

  const auto t_dy = oracle::placed<x_type>(mesh, dy);
  const auto d_returned = sy::einsum<dims::group, dims::experts, dims::capacity, dims::d_model>(exec(), tm, t_dy);
  const auto t_do = sy::reshard_backward<o_type>(exec(), d_returned);
  auto [t_da, t_dwo] = sy::einsum_backward(exec(), ta, to, t_do);
  auto [d_input, t_dwi] = sy::einsum_backward(exec(), input, ti, sy::map(exec(), relu_backward(), th, t_da));
  const auto d_sent = sy::reshard_backward<sent_type>(exec(), std::move(d_input));
  CHECK(everywhere(oracle::holds(sy::einsum<dims::group, dims::token, dims::d_model>(exec(), tm, d_sent), dx)));
  CHECK(everywhere(oracle::holds(sy::gradient_of<wi_type>(exec(), std::move(t_dwi)), d_wi)));
  CHECK(everywhere(oracle::holds(sy::gradient_of<wo_type>(exec(), std::move(t_dwo)), d_wo)));
}

using group_rule = sy::split<dims::group, data>;
using expert_rule = sy::split<dims::experts, data>;
using d_ff_rule = sy::split<dims::d_ff, model>;

} // namespace

TEST_CASE("every row of einsum's table computes what one process computes, forward and backward", "[mpi]") {
  on_every_plane([](const plane& mesh, const sy::traffic&) {
    using group = S<dims::group>;
    check_table<R, R, R, R>(mesh);
    check_table<group, group, group, group>(mesh);
    check_table<group, S<rows>, group, R>(mesh);
    check_table<R, S<depth>, S<columns>, S<depth>>(mesh);
    check_table<S<depth>, S<depth>, S<depth>, S<depth>>(mesh);
    check_table<S<rows>, R, R, S<columns>>(mesh);
    check_table<S<depth>, S<rows>, S<depth>, R>(mesh);
  });
}

TEST_CASE("reshard moves values and nothing else, sends what was predicted, and its backward brings them back",
          "[mpi]") {
  on_every_plane([](const plane& mesh, const sy::traffic& sent) {
    const list<R, S<dims::group>, S<columns>> first;
    const list<R, S<dims::group>, S<dims::experts>> second;
    const auto from = [&]<class A, class B>(list<A, B>) {
      to_each<tensor<A, B, dims::group, dims::experts, columns>>(mesh, sent, first, second);
    };
    from(list<R, R>());
    from(list<S<dims::group>, R>());
    from(list<S<dims::group>, S<dims::group>>());
    from(list<S<dims::experts>, S<columns>>());
    from(list<P, S<dims::experts>>());
    from(list<S<columns>, P>());
    from(list<P, P>());
  });
}

TEST_CASE("five layouts, one computation", "[mpi]") {
  on_every_plane([](const plane& mesh, const sy::traffic&) {
    check_layer<sy::rules<group_rule>, sy::rules<group_rule>, false>(mesh, 1);                       // data
    check_layer<sy::rules<d_ff_rule>, sy::rules<d_ff_rule>, false>(mesh, 2);                         // model
    check_layer<sy::rules<group_rule, d_ff_rule>, sy::rules<group_rule, d_ff_rule>, false>(mesh, 2); // data, model
    using tokens = sy::rules<group_rule, expert_rule>;
    using slots = sy::rules<expert_rule, group_rule>;
    check_layer<tokens, slots, false>(mesh, 7); // expert, data
    using tokens_5 = sy::rules<group_rule, expert_rule, d_ff_rule>;
    using slots_5 = sy::rules<expert_rule, group_rule, d_ff_rule>;
    check_layer<tokens_5, slots_5, false>(mesh, 4); // expert, model, data
    check_layer<tokens_5, slots_5, true>(mesh, 3);  // the same, d_model cut on the way
  });
}

TEST_CASE("a softmax along a whole dimension, and sums of partial sums", "[mpi]") {
  on_every_plane([](const plane& mesh, const sy::traffic&) {
    const std::map<char, std::int64_t> n{{'g', 5}, {'e', 7}, {'k', 12}};
    const auto logits =
        oracle::placed<tensor<S<dims::group>, R, dims::group, dims::experts>>(mesh, oracle::draw("ge", n, 11));
    const auto probabilities = sy::along<dims::experts>(exec(), softmax(), logits);
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), probabilities.view());
    bool ones = true;
    for (std::size_t g = 0; g < host.extent(0); ++g) {
      double sum = 0;
      for (std::size_t e = 0; e < host.extent(1); ++e) sum += host(g, e);
      ones = ones && std::abs(sum - 1) < 1e-14;
    }
    CHECK(everywhere(ones));

    const auto a = oracle::draw("gk", n, 12), b = oracle::draw("ke", n, 13), twice = oracle::product("ge", a, b);
    const auto term = [&] {
      return sy::einsum<dims::group, dims::experts>(exec(),
                                                    oracle::placed<tensor<R, S<depth>, dims::group, depth>>(mesh, a),
                                                    oracle::placed<tensor<R, S<depth>, depth, dims::experts>>(mesh, b));
    };
    auto sum = sy::add(exec(), term(), term());
    auto expected = twice;
    for (double& v : expected.values) v *= 2;
    CHECK(everywhere(oracle::holds(sy::reshard<sy::placements<R, R>>(exec(), std::move(sum)), expected)));
  });
}

TEST_CASE("extents that the mesh cannot cut, and views that do not fit, are errors of all ranks", "[mpi]") {
  int ranks = 1, rank = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const plane mesh(sy::mpi(MPI_COMM_WORLD), {ranks, 1});
  const auto text_of = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const sy::error& e) {
      return e.what();
    }
    return "";
  };
  using split_rows = tensor<S<rows>, R, rows, columns>;
  if (ranks > 1) {
    const std::string text = text_of([&] { const split_rows wrong(mesh, {ranks + 1, 2}); });
    CHECK(everywhere(text == "switchyard: rows = " + std::to_string(ranks + 1) +
                                 ": cannot be split over axis data of size " + std::to_string(ranks) +
                                 " (remainder 1); make it a multiple of " + std::to_string(ranks) +
                                 " or change the mesh"));
  }
  const typename split_rows::view_type one_too_few("view", rank == ranks - 1 ? 1 : 2, 3);
  const std::string text = text_of([&] { const split_rows wrong(mesh, {2 * ranks, 3}, one_too_few); });
  CHECK(everywhere(text.find("rank " + std::to_string(ranks - 1) + ": view.extent(0) = 1: this rank holds 2 of the " +
                             std::to_string(2 * ranks) + " rows") != std::string::npos));
  CHECK(everywhere(text_of([&] {
                     const auto a = split_rows(mesh, {ranks, 3});
                     const auto b = tensor<R, R, columns, depth>(mesh, {4, 2});
                     static_cast<void>(sy::einsum<rows, depth>(exec(), a, b));
                   }).find("columns = 3 in one operand and 4 in the other") != std::string::npos));
}

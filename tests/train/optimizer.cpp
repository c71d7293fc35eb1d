// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../support/allocations.hpp"
#include "../support/worse.hpp"
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <map>
#include <random>
#include <switchyard/train/clip.hpp>
#include <switchyard/train/optimizer.hpp>

// The optimizers against their equations as plain loops in double, on the parameters of a small model: vectors,
// matrices and stacks.

using namespace switchyard_test;
using Catch::Matchers::ContainsSubstring;
namespace sy = switchyard;
namespace train = switchyard::train;

namespace {

using Exec = Kokkos::DefaultExecutionSpace;
using space = Exec::memory_space;
using numbers = std::vector<double>;

sy::transformer_config small() {
  sy::transformer_config c;
  c.vocabulary = 5;
  c.d_model = 3;
  c.d_ff = 70;
  c.heads = 2;
  c.d_kv = 2;
  c.decoder_layers = 2;
  c.routing.experts = 3;
  return c;
}

template <class View>
numbers numbers_of(const View& view) {
  const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), view);
  numbers values(host.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(host.data()[i]);
  return values;
}
template <class View>
void put(const View& view, const numbers& values) {
  const auto host = Kokkos::create_mirror_view(view);
  for (std::size_t i = 0; i < values.size(); ++i)
    host.data()[i] = static_cast<typename View::non_const_value_type>(values[i]);
  Kokkos::deep_copy(view, host);
}

/// One parameter of the reference: a weight of any rank as [E, R, C], and whatever the optimizer keeps.
struct plain {
  std::size_t e = 1, r = 1, c = 1;
  bool vector = false, decays = true;
  numbers w, g, m, v, row, column;

  void adamw(const train::optimizer_config& o, double rate, double scale, int t) {
    m.resize(w.size());
    v.resize(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double gradient = scale * g[i], old = w[i], b1 = o.momentum();
      m[i] = b1 * m[i] + (1 - b1) * gradient;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * gradient * gradient;
      w[i] = old - rate * (m[i] / (1 - std::pow(b1, t))) / (std::sqrt(v[i] / (1 - std::pow(o.beta2, t))) + o.epsilon);
      if (decays) w[i] -= rate * o.weight_decay * old;
    }
  }

  void adafactor(const train::optimizer_config& o, double rate, double scale, int t) {
    m.resize(w.size());
    v.resize(w.size());
    row.resize(e * r);
    column.resize(e * c);
    if (o.relative_step) rate = std::min({rate, 0.01, 1 / std::sqrt(double(t))});
    const double b2 = 1 - std::pow(t, -o.decay_power);
    for (std::size_t x = 0; x < e; ++x) {
      const auto at = [&](std::size_t i, std::size_t j) { return (x * r + i) * c + j; };
      numbers u(r * c);
      double mean_row = 0;
      for (std::size_t i = 0; i < r; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < c; ++j) sum += scale * g[at(i, j)] * scale * g[at(i, j)] + o.epsilon1;
        row[x * r + i] = b2 * row[x * r + i] + (1 - b2) * sum / double(c);
        mean_row += row[x * r + i] / double(r);
      }
      for (std::size_t j = 0; j < c; ++j) {
        double sum = 0;
        for (std::size_t i = 0; i < r; ++i) sum += scale * g[at(i, j)] * scale * g[at(i, j)] + o.epsilon1;
        column[x * c + j] = b2 * column[x * c + j] + (1 - b2) * sum / double(r);
      }
      double square_u = 0, square_w = 0;
      for (std::size_t i = 0; i < r; ++i)
        for (std::size_t j = 0; j < c; ++j) {
          const std::size_t k = at(i, j);
          v[k] = b2 * v[k] + (1 - b2) * (scale * g[k] * scale * g[k] + o.epsilon1);
          const double second = vector ? v[k] : row[x * r + i] * (column[x * c + j] / mean_row);
          u[i * c + j] = scale * g[k] / std::sqrt(second);
          square_u += u[i * c + j] * u[i * c + j];
          square_w += w[k] * w[k];
        }
      const double n = double(r * c), clip = o.clip > 0 ? std::max(1.0, std::sqrt(square_u / n) / o.clip) : 1;
      const double alpha = o.parameter_scale ? rate * std::max(o.epsilon2, std::sqrt(square_w / n)) : rate;
      for (std::size_t i = 0; i < r * c; ++i) {
        double change = alpha * u[i] / clip;
        double& weight = w[x * r * c + i];
        if (o.momentum() > 0) change = m[x * r * c + i] = o.momentum() * m[x * r * c + i] + (1 - o.momentum()) * change;
        weight -= change + (decays ? rate * o.weight_decay * weight : 0);
      }
    }
  }
};

/// Runs `steps` updates of both, with another gradient each time; the largest difference over the size of the weights,
/// and over what the optimizer keeps.
template <class W, class G>
double difference(const train::optimizer_config& o, int steps) {
  using weights_type = sy::transformer_parameters<W, space>;
  using gradients_type = sy::transformer_parameters<G, space>;
  const Exec exec{};
  const weights_type weights(small());
  const gradients_type gradients(small());
  std::map<std::string, plain> reference;
  std::mt19937_64 engine(1);
  std::normal_distribution<double> normal;
  sy::for_each_parameter(
      [&](const std::string& name, const auto& view) {
        plain& p = reference[name];
        const auto rank = view.rank();
        p.vector = rank == 1;
        p.c = view.extent(rank - 1);
        if (rank > 1) p.r = view.extent(rank - 2);
        if (rank > 2) p.e = view.extent(0);
        p.decays = rank > 1 && name.find("relative_bias") == std::string::npos;
        p.w.resize(view.size());
        for (double& w : p.w) w = normal(engine) * (name.ends_with("wo") ? 1e-5 : 1); // below epsilon2, and above
        put(view, p.w);
        p.w = numbers_of(view);
      },
      weights);
  train::optimizer<Exec, gradients_type> optimizer(o, [] { return gradients_type(small()); });
  std::int64_t late = 0;
  for (int t = 1; t <= steps; ++t) {
    sy::for_each_parameter(
        [&](const std::string& name, const auto& view) {
          numbers g(view.size());
          for (double& value : g) value = normal(engine) * (t == 2 ? 100 : 1); // so that updates are clipped
          if (name == "decoder.0.ffn.wi" || (name == "decoder.norm" && t < 3)) g.assign(g.size(), 0.0);
          if (name == "decoder.1.ffn.wi") std::fill_n(g.begin(), 3 * 70, 0.0); // an expert without tokens
          put(view, g);
          reference[name].g = numbers_of(view);
        },
        gradients);
    const double rate = 0.05 / t, scale = t == 3 ? 0.25 : 1;
    for (auto& [name, p] : reference)
      o.kind == train::optimizer_kind::adamw ? p.adamw(o, rate, scale, t) : p.adafactor(o, rate, scale, t);
    const allocation_watch watch(false);
    optimizer.update(exec, {t, rate, scale}, weights, gradients);
    exec.fence();
    late += watch.count();
  }
  CHECK(late == 0);
  double worst = 0;
  const auto compare = [&](const numbers& a, const numbers& b) {
    REQUIRE(a.size() == b.size());
    double size = 1e-300;
    for (const double x : b) size = std::max(size, std::abs(x));
    for (std::size_t i = 0; i < a.size(); ++i) worst = worse(worst, std::abs(a[i] - b[i]) / size);
    for (const double x : a) CHECK(std::isfinite(x));
  };
  sy::for_each_parameter([&](const std::string& name, const auto& w) { compare(numbers_of(w), reference[name].w); },
                         weights);
  std::map<std::string, int> kept;
  optimizer.for_each_state([&](const std::string& name, const std::string& parameter, const auto& view) {
    const plain& p = reference.at(parameter);
    const std::string what = name.substr(0, name.size() - parameter.size());
    ++kept[what];
    compare(numbers_of(view), what == "first." ? p.m : what == "second." ? p.v : what == "row." ? p.row : p.column);
    const bool adamw = o.kind == train::optimizer_kind::adamw;
    if (what == "second.") CHECK((adamw || p.vector)); // vectors are not factored, all else is
    if (what == "row.") CHECK((!adamw && !p.vector));
  });
  const int all = static_cast<int>(reference.size());
  CHECK(kept["first."] == (o.momentum() > 0 ? all : 0));
  CHECK(kept["row."] == kept["column."]);
  CHECK(kept["second."] + kept["row."] == all);
  return worst;
}

} // namespace

TEST_CASE("optimizers: equal their equations in double", "[train]") {
  using kind = train::optimizer_kind;
  for (const train::optimizer_config& o : {train::optimizer_config{.kind = kind::adamw},
                                           {.kind = kind::adamw, .beta1 = 0, .weight_decay = 0.1},
                                           {.kind = kind::adafactor},
                                           {.kind = kind::adafactor, .beta1 = 0.9, .weight_decay = 0.1},
                                           {.kind = kind::adafactor, .clip = 0, .parameter_scale = false},
                                           {.kind = kind::adafactor, .decay_power = 0.5, .relative_step = true}})
    CHECK(difference<double, double>(o, 5) < 1e-12);
}

TEST_CASE("optimizers: in float, and of weights in 16 bits, to the rounding", "[train]") {
  for (const auto kind : {train::optimizer_kind::adamw, train::optimizer_kind::adafactor}) {
    CHECK(difference<float, float>({.kind = kind}, 5) < 2e-5);
    CHECK(difference<sy::bfloat16, float>({.kind = kind}, 1) < 0x1p-8);
  }
}

TEST_CASE("optimizers: what cannot be", "[train]") {
  const auto error_of = [](const train::optimizer_config& o) {
    try {
      train::validate(o);
    } catch (const sy::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(error_of({}).empty());
  CHECK_THAT(error_of({.beta1 = 1}), ContainsSubstring("beta1 = 1"));
  CHECK_THAT(error_of({.weight_decay = -1}), ContainsSubstring("weight_decay = -1"));
  CHECK_THAT(error_of({.beta2 = 1}), ContainsSubstring("beta2 = 1"));
  CHECK_THAT(error_of({.epsilon1 = 0}), ContainsSubstring("epsilon1 = 0"));
  CHECK_THAT(error_of({.clip = -1}), ContainsSubstring("clip = -1"));
}

TEST_CASE("norm of gradients: every element once, NaN and infinity", "[train]") {
  using set = sy::transformer_parameters<double, space>;
  const Exec exec{};
  const sy::communicator alone = sy::self();
  auto c = small();
  c.d_ff = 1500; // an expert is more than a block of elements
  const set gradients(c);
  double expected = 0;
  std::mt19937_64 engine(3);
  std::normal_distribution<double> normal;
  sy::for_each_parameter(
      [&](const std::string&, const auto& view) {
        numbers g(view.size());
        for (double& x : g) {
          x = normal(engine);
          expected += x * x;
        }
        put(view, g);
      },
      gradients);
  train::norm_of_gradients<Exec, set> norm(gradients);
  const allocation_watch watch(false);
  const auto n = norm(exec, alone, gradients, 0);
  CHECK(std::abs(n.norm / std::sqrt(expected) - 1) < 1e-13);
  CHECK(n.scale == 1);
  CHECK(n.finite);
  CHECK(std::abs(norm(exec, alone, gradients, 2).scale * n.norm - 2) < 1e-14);
  CHECK(norm(exec, alone, gradients, 2 * n.norm).scale == 1);
  CHECK(watch.count() == 0);

  // What another rank owns does not count; where a stack begins changes no bit.
  train::norm_of_gradients<Exec, set> experts(gradients, [](const std::string& name, const auto&) {
    return train::parameter_place{name.ends_with("ffn.wi"), 2, 8};
  });
  double squares = 0;
  for (const auto& g :
       {numbers_of(gradients.decoder.blocks[0].ffn.dense.wi), numbers_of(gradients.decoder.blocks[1].ffn.sparse.wi)})
    for (const double x : g) squares += x * x;
  CHECK(std::abs(experts(exec, alone, gradients, 0).norm / std::sqrt(squares) - 1) < 1e-13);

  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -1e200}) {
    const auto wi = gradients.decoder.blocks[1].ffn.sparse.wi;
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), wi);
    const double before = host(2, 2, 1499);
    host(2, 2, 1499) = bad;
    Kokkos::deep_copy(wi, host);
    CHECK(!norm(exec, alone, gradients, 1).finite);
    host(2, 2, 1499) = before;
    Kokkos::deep_copy(wi, host);
  }
  CHECK(norm(exec, alone, gradients, 0).norm == n.norm);

  const set zero(c);
  CHECK(norm(exec, alone, zero, 1).norm == 0);
  CHECK(norm(exec, alone, zero, 1).scale == 1);
}

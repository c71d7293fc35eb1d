// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <cmath>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/parameters.hpp>
#include <switchyard/train/detail/optimizer_kernels.hpp>
#include <switchyard/train/detail/shared_adafactor.hpp>

/// \file
/// AdamW and Adafactor. Update t = 1, 2, ... of a weight w with gradient g (already clipped) and learning rate r:
///
///   AdamW (Loshchilov and Hutter, 2019)
///     m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
///     w <- w - r (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w)
///
///   Adafactor (Shazeer and Stern, 2018; algorithms 4 and 5), of a matrix [R, C]
///     b2_t = 1 - t^-0.8,  row_i <- b2_t row_i + (1 - b2_t) mean_j (g_ij^2 + e1),  column_j the same of mean_i
///     u_ij = g_ij / sqrt(row_i column_j / mean(row)),   u <- u / max(1, RMS(u) / d)
///     a = r max(e2, RMS(w)),   w <- w - a u,   or, with momentum, m <- b1 m + (1 - b1) a u,  w <- w - m
///
/// Vectors have a second moment per element instead. A stack [E, R, C], the weights of experts, is E matrices: each has
/// factors, clipping and scale of its own, so that experts may lie on several ranks and nothing is communicated. (Mesh
/// TensorFlow clips and scales a stack as one.) Where ranks share rows or columns of a matrix, Adafactor's means are of
/// all of it: two sums over these ranks per update, of all such matrices together.
///
/// The state is of the type of the gradients: float, or double where the model is in double. It has the shape of the
/// parameters, lies where they lie and is named after them. Sums are made in a fixed order: the same bytes for any
/// number of threads.

namespace switchyard::train {

enum class optimizer_kind : std::uint8_t { adafactor, adamw };

/// A plain aggregate for designated initializers.
struct optimizer_config {
  optimizer_kind kind = optimizer_kind::adafactor;
  double beta1 = -1;           ///< -1: 0.9 for AdamW, 0 (no momentum) for Adafactor
  double weight_decay = 0;     ///< decoupled: w loses r * weight_decay * w; not for norms and tables of positions
  double beta2 = 0.999;        ///< AdamW
  double epsilon = 1e-8;       ///< AdamW
  double decay_power = 0.8;    ///< Adafactor: b2_t = 1 - t^-decay_power
  double epsilon1 = 1e-30;     ///< Adafactor: added to squares
  double epsilon2 = 1e-3;      ///< Adafactor: least size of a weight
  double clip = 1;             ///< Adafactor: d, largest RMS of an update; 0 for none
  bool parameter_scale = true; ///< Adafactor: steps in proportion to the weight
  bool relative_step = false;  ///< Adafactor: r is at most min(1e-2, 1 / sqrt(t)), the paper's

  double momentum() const { return beta1 >= 0 ? beta1 : (kind == optimizer_kind::adamw ? 0.9 : 0.0); }
};

/// Throws invalid_argument, naming the field, its value and what is allowed.
inline void validate(const optimizer_config& c) {
  using switchyard::detail::require;
  require(c.momentum() < 1, "beta1 = ", c.beta1, ": must be in [0, 1), or -1 for the optimizer's default");
  require(c.beta2 >= 0 && c.beta2 < 1, "beta2 = ", c.beta2, ": must be in [0, 1)");
  require(c.weight_decay >= 0, "weight_decay = ", c.weight_decay, ": must be at least 0");
  require(c.epsilon > 0, "epsilon = ", c.epsilon, ": must be above 0");
  require(c.decay_power > 0, "decay_power = ", c.decay_power, ": must be above 0");
  require(c.epsilon1 > 0, "epsilon1 = ", c.epsilon1, ": must be above 0");
  require(c.epsilon2 > 0, "epsilon2 = ", c.epsilon2, ": must be above 0");
  require(c.clip >= 0, "clip = ", c.clip, ": must be at least 0");
}

/// One update.
struct update_options {
  std::int64_t number = 1;   ///< t, from 1
  double learning_rate = 0;  ///< r
  double gradient_scale = 1; ///< what gradients are multiplied with first
};

/// The state of an optimizer for one set of parameters. Gradients is a set that for_each_parameter walks; weights are a
/// set of the same shapes. Nothing communicates but, with Sharing = shared_adafactor, Adafactor's updates.
template <class Exec, class Gradients, class Sharing = detail::whole_matrices>
class optimizer {
 public:
  using space = typename Exec::memory_space;

  /// state: a function that makes a set of zeros of the parameters' shapes (model.zeros). Allocates all there is.
  template <class Zeros>
  optimizer(const optimizer_config& config, const Zeros& zeros, const Sharing& sharing = {})
      : config_((validate(config), config)), sharing_(sharing) {
    const Gradients shapes = zeros();
    if (config.momentum() > 0) first_ = zeros();
    std::int64_t rows = 0, columns = 0, matrices = 0;
    for_each_parameter(
        [&](const std::string& name, const auto& view) {
          const detail::matrices m = detail::matrices_of(view);
          rows = std::max(rows, m.row_count());
          columns = std::max(columns, m.count * m.columns);
          matrices = std::max(matrices, m.count);
          if (config_.kind == optimizer_kind::adafactor) add_factors(name, view);
        },
        shapes);
    if (config_.kind == optimizer_kind::adamw) {
      second_ = zeros();
    } else {
      mean_ = decltype(mean_)("switchyard::train::mean", static_cast<std::size_t>(matrices));
      step_ = decltype(step_)("switchyard::train::step", static_cast<std::size_t>(matrices));
      inverse_ = decltype(inverse_)("switchyard::train::inverse", static_cast<std::size_t>(columns));
      sums_ = decltype(sums_)("switchyard::train::sums", static_cast<std::size_t>(2 * rows));
    }
  }

  const optimizer_config& config() const { return config_; }

  /// weights <- updated weights. Queues work on exec; allocates no view; deterministic. Where matrices are shared,
  /// Adafactor's is collective and waits for exec.
  template <class Weights>
  void update(const Exec& exec, const update_options& how, const Weights& weights, const Gradients& gradients) {
    const auto decay = [&](const std::string& name, int rank) {
      return rank == 1 || name.ends_with("relative_bias") ? 0.0 : config_.weight_decay;
    };
    if (config_.kind == optimizer_kind::adamw)
      for_each_parameter([&](const std::string& name, const auto& w, const auto& g, const auto& m,
                             const auto& v) { adamw(exec, how, decay(name, static_cast<int>(g.rank())), w, g, m, v); },
                         weights, gradients, config_.momentum() > 0 ? first_ : second_, second_);
    else
      for (int pass = 0; pass < sharing_.passes(); ++pass) { // between two of them sums over ranks
        std::size_t at = 0;
        const auto one = [&](const std::string& name, const auto& w, const auto& g, real* first) {
          const double lost = decay(name, static_cast<int>(g.rank()));
          if constexpr (Sharing::any) {
            const std::size_t number = at++;
            if (sharing_.shares(number))
              shared(exec, how, lost, w, g, first, number, pass);
            else if (pass == 0)
              adafactor(exec, how, lost, w, g, first, factors_[number]);
          } else {
            adafactor(exec, how, lost, w, g, first, factors_[at++]);
          }
        };
        if (config_.momentum() > 0)
          for_each_parameter(
              [&](const std::string& name, const auto& w, const auto& g, const auto& m) { one(name, w, g, m.data()); },
              weights, gradients, first_);
        else
          for_each_parameter([&](const std::string& name, const auto& w, const auto& g) { one(name, w, g, nullptr); },
                             weights, gradients);
        if constexpr (Sharing::any) sharing_.sum(exec, pass);
      }
  }

  /// f(name, parameter, view) for all that is kept between updates, always in the same order:
  ///   first.<parameter>    as the parameter     with momentum
  ///   second.<parameter>   as the parameter     AdamW; Adafactor: vectors only
  ///   row.<parameter>      without its last dimension        Adafactor
  ///   column.<parameter>   without its last but one          Adafactor
  template <class F>
  void for_each_state(const F& f) const {
    for_each_parameter([&](const std::string& name, const auto& view) { f("first." + name, name, view); }, first_);
    for_each_parameter([&](const std::string& name, const auto& view) { f("second." + name, name, view); }, second_);
    for (const factors& s : factors_) {
      if (s.rank == 1) {
        f("second." + s.name, s.name, s.full);
      } else if (s.rank == 3) {
        f("row." + s.name, s.name, s.row);
        f("column." + s.name, s.name, s.column);
      } else { // of a matrix: vectors
        f("row." + s.name, s.name, Kokkos::subview(s.row, 0, Kokkos::ALL));
        f("column." + s.name, s.name, Kokkos::subview(s.column, 0, Kokkos::ALL));
      }
    }
  }

 private:
  using real = typename decltype(Gradients().embedding)::non_const_value_type;
  /// The second moment of one parameter for Adafactor.
  struct factors {
    std::string name;
    int rank = 0;                           // of the parameter
    model::matrix<real, space> row, column; // [E, R], [E, C]
    model::vector<real, space> full;        // [n] of vectors
  };

  template <class View>
  void add_factors(const std::string& name, const View& view) {
    const detail::matrices m = detail::matrices_of(view);
    factors s;
    s.name = name;
    s.rank = static_cast<int>(View::rank);
    const auto extent = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    if (s.rank == 1) {
      s.full = decltype(s.full)("switchyard::train::second", extent(m.size()));
    } else {
      s.row = decltype(s.row)("switchyard::train::row", extent(m.count), extent(m.rows));
      s.column = decltype(s.column)("switchyard::train::column", extent(m.count), extent(m.columns));
    }
    factors_.push_back(s);
  }

  template <class W, class G, class M>
  void adamw(const Exec& exec, const update_options& how, double decay, const W& w, const G& g, const M& m,
             const M& v) const {
    const auto n = static_cast<std::int64_t>(w.size());
    const auto t = static_cast<double>(how.number);
    const auto as = [](double x) { return static_cast<real>(x); };
    for_each_index("switchyard::train::adamw", exec, (n + detail::element_block - 1) / detail::element_block,
                   detail::adamw_kernel<typename W::non_const_value_type, typename G::non_const_value_type, real>{
                       w.data(), g.data(), m.data(), v.data(), n, as(how.gradient_scale), as(how.learning_rate),
                       as(config_.momentum()), as(config_.beta2), as(1 - std::pow(config_.momentum(), t)),
                       as(1 - std::pow(config_.beta2, t)), as(config_.epsilon), as(decay)});
  }

  double rate_of(const update_options& how) const {
    const double least = 1 / std::sqrt(static_cast<double>(how.number));
    return config_.relative_step ? std::min({how.learning_rate, 1e-2, least}) : how.learning_rate;
  }
  template <class G>
  auto state_of(const update_options& how, const G& g, const factors& s, real* mean, real* inverse) const {
    const auto as = [](double x) { return static_cast<real>(x); };
    const auto t = static_cast<double>(how.number);
    return detail::adafactor_state<typename G::non_const_value_type, real>{detail::matrices_of(g),
                                                                           g.data(),
                                                                           s.row.data(),
                                                                           s.column.data(),
                                                                           s.full.data(),
                                                                           mean,
                                                                           inverse,
                                                                           as(how.gradient_scale),
                                                                           as(1 - std::pow(t, -config_.decay_power)),
                                                                           as(config_.epsilon1)};
  }

  template <class W, class G>
  void adafactor(const Exec& exec, const update_options& how, double decay, const W& w, const G& g, real* first,
                 const factors& s) const {
    using weight = typename W::non_const_value_type;
    using gradient = typename G::non_const_value_type;
    const detail::matrices m = detail::matrices_of(w);
    if (m.size() == 0) return; // means of nothing
    const auto as = [](double x) { return static_cast<real>(x); };
    const double rate = rate_of(how);
    const detail::adafactor_state<gradient, real> a = state_of(how, g, s, mean_.data(), inverse_.data());
    const auto run = [&](const char* label, std::int64_t tasks, const auto& kernel) {
      for_each_index(label, exec, tasks, kernel);
    };
    run("switchyard::train::adafactor_rows", m.row_count(), detail::adafactor_rows_kernel<gradient, real>{a});
    if (s.rank > 1) {
      const std::int64_t blocks = (m.columns + detail::column_block - 1) / detail::column_block;
      run("switchyard::train::adafactor_columns", m.count * blocks,
          detail::adafactor_columns_kernel<gradient, real>{a, blocks});
      run("switchyard::train::adafactor_means", m.count, detail::adafactor_means_kernel<gradient, real>{a});
    }
    run("switchyard::train::adafactor_sums", m.row_count(),
        detail::adafactor_sums_kernel<weight, gradient, real>{a, w.data(), sums_.data()});
    run("switchyard::train::adafactor_steps", m.count,
        detail::adafactor_steps_kernel<real>{m, sums_.data(), step_.data(), rate, config_.clip, config_.epsilon2,
                                             config_.parameter_scale});
    run("switchyard::train::adafactor_apply", m.row_count(),
        detail::adafactor_apply_kernel<weight, gradient, real>{a, w.data(), first, step_.data(), as(config_.momentum()),
                                                               as(rate * decay)});
  }

  /// The same of a matrix that ranks share, one of three passes.
  template <class W, class G>
  void shared(const Exec& exec, const update_options& how, double decay, const W& w, const G& g, real* first,
              std::size_t number, int pass) const {
    const auto a = state_of(how, g, factors_[number], sharing_.mean(number), sharing_.inverse(number));
    if (pass == 0)
      sharing_.begin(exec, number, a);
    else if (pass == 1)
      sharing_.go_on(exec, number, a, w.data());
    else
      sharing_.finish(exec, number, a, w.data(), first,
                      {rate_of(how), config_.clip, config_.epsilon2, config_.momentum(), rate_of(how) * decay,
                       config_.parameter_scale});
  }

  optimizer_config config_;
  Sharing sharing_;
  Gradients first_, second_; // m; v of AdamW
  std::vector<factors> factors_;
  model::vector<real, space> mean_, step_, inverse_; // [matrices], [matrices], [columns] of the parameter at work
  model::vector<double, space> sums_;                // [rows, 2]
};

} // namespace switchyard::train

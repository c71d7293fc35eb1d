// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/experts/ffn.hpp>
#include <switchyard/layer/detail/checks.hpp>
#include <switchyard/layer/detail/layer_kernels.hpp>
#include <switchyard/layer/parameters.hpp>

/// \file
/// The dense FFN that a Switch layer stands in for: one expert that takes every token, no router.
///
///   y = (D ∘ act(x W1)) W2        gated: y = (D ∘ act(x Wg) ∘ (x W1)) W2
///
/// Equations of the backward, rounding points and products are those of experts/ffn.hpp, with one group.

namespace switchyard {

/// What a dense layer computes. The order of the fields is part of the API.
struct dense_config {
  std::int64_t d_model = 0; ///< M
  std::int64_t d_ff = 0;    ///< F
  activation_kind activation = activation_kind::relu;
  bool gated = false;      ///< hidden = act(x wi_gate) * (x wi)
  double dropout = 0;      ///< training only: on the hidden layer
  double init_scale = 0.1; ///< s of the truncated normal with sigma = sqrt(s / fan_in)
  std::uint64_t seed = 0;  ///< of the dropout
};

/// Throws invalid_argument, naming the field, its value and what is allowed.
inline void validate(const dense_config& c) {
  using detail::require;
  require(c.d_model >= 1, "d_model = ", c.d_model, ": must be at least 1; set it in dense_config");
  require(c.d_ff >= 1, "d_ff = ", c.d_ff, ": must be at least 1; set it in dense_config");
  require(c.dropout >= 0 && c.dropout < 1, "dropout = ", c.dropout, ": must be in [0, 1)");
  require(std::isfinite(c.init_scale) && c.init_scale > 0, "init_scale = ", c.init_scale, ": must be above 0");
}

/// The weights of a dense layer, or their gradients.
template <class T, class Space>
struct dense_parameters {
  using matrix = Kokkos::View<T**, Kokkos::LayoutRight, Space>;
  matrix wi, wi_gate, wo; // [M, F], the same for gated layers only, [F, M]

  dense_parameters() = default;
  /// Zeros, of these columns of the hidden layer. Allocates.
  dense_parameters(const dense_config& c, part d_ff)
      : wi(detail::make_zeros<matrix>("switchyard::wi.weight", c.d_model, d_ff.count)),
        wo(detail::make_zeros<matrix>("switchyard::wo.weight", d_ff.count, c.d_model)) {
    if (c.gated) wi_gate = detail::make_zeros<matrix>("switchyard::wi_gate.weight", c.d_model, d_ff.count);
  }
  /// The same with all of them.
  explicit dense_parameters(const dense_config& c) : dense_parameters(c, {0, c.d_ff}) {}
};

/// All that a forward leaves for its backward. It refers to x: leave that alone until the backward is done.
template <class Exec, precision P>
struct dense_tape {
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  experts::ffn_settings ffn;
  experts::ffn_rows<space> rows;
  experts::ffn_tape<value, space> hidden;
  Kokkos::View<const value**, Kokkos::LayoutRight, space> x; // [rows, M]
  bool forward_done = false;
  std::array<detail::fact, 6> made_for; // the layer's numbers: others refuse it
};

/// A dense FFN with the life of a switch_layer: init, pack after every update, forward, backward.
/// Nothing communicates; forward and backward allocate nothing and are deterministic. What does not fit the layer,
/// views, weights, gradients, packed weights or tapes, is an invalid_argument.
template <class Exec, precision P = selective<bfloat16>, class Engine = gemm::default_engine<Exec, value_of<P>>>
class dense_layer {
 public:
  using execution_space = Exec;
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using gradient = typename P::gradient_type;
  using weights_type = dense_parameters<typename P::weight_type, space>;
  using gradients_type = dense_parameters<gradient, space>;
  struct packed_type : experts::packed_ffn<Engine, Exec, value> {
    std::array<detail::fact, 3> made_for; // the layer's numbers: others refuse it
  };
  using tape_type = dense_tape<Exec, P>;

  /// Throws invalid_argument for a configuration that cannot be.
  explicit dense_layer(const dense_config& config) : dense_layer(config, {0, config.d_ff}) {}
  /// The part of a layer that has these columns of the hidden layer: its y and dx are to be added to those of the other
  /// parts.
  dense_layer(const dense_config& config, part d_ff) : config_(config), d_ff_(d_ff) {
    validate(config_);
    detail::require(d_ff_.begin >= 0 && d_ff_.count >= 0 && d_ff_.begin + d_ff_.count <= config_.d_ff, "d_ff {",
                    d_ff_.begin, ", ", d_ff_.count, "}: must be a part of the ", config_.d_ff, " columns of the layer");
  }
  const dense_config& config() const { return config_; }

  /// Truncated normal weights. Allocates.
  weights_type init(const Exec& exec, seed s) const {
    weights_type w(config_, d_ff_);
    initialize(exec, s, w);
    return w;
  }
  /// The same into existing weights.
  void initialize(const Exec& exec, seed s, const weights_type& w) const {
    const std::int64_t m = config_.d_model, f = config_.d_ff;
    const detail::element_numbers in{d_ff_.begin, d_ff_.count, f}, out{d_ff_.begin * m, d_ff_.count * m, f * m};
    detail::fill_truncated_normal(exec, w.wi, s, stream::wi_weights, config_.init_scale, m, in);
    detail::fill_truncated_normal(exec, w.wi_gate, s, stream::wi_gate_weights, config_.init_scale, m, in);
    detail::fill_truncated_normal(exec, w.wo, s, stream::wo_weights, config_.init_scale, f, out);
  }
  /// Gradients, all zero. Allocates.
  gradients_type zeros(const Exec&) const { return gradients_type(config_, d_ff_); }

  /// weights -> packed, allocating it.
  packed_type pack(const Exec& exec, const weights_type& w) const {
    const std::int64_t m = config_.d_model, f = d_ff_.count;
    check("weights", w);
    packed_type to;
    to.made_for = packed_facts();
    to.wi = Engine::template allocate<Exec, value>(exec, 1, m, f, config_.gated);
    to.wo = Engine::template allocate<Exec, value>(exec, 1, f, m);
    to.wi_transposed = Engine::template allocate<Exec, value>(exec, 1, config_.gated ? 2 * f : f, m);
    to.wo_transposed = Engine::template allocate<Exec, value>(exec, 1, m, f);
    pack(exec, w, to);
    return to;
  }
  /// The same into an existing one; allocates nothing.
  void pack(const Exec& exec, const weights_type& w, const packed_type& to) const {
    using gemm::orientation;
    check("weights", w);
    detail::check_made_for("packed weights", "pack", to.made_for, packed_facts());
    const auto wi = stacked(w.wi), gate = stacked(w.wi_gate), wo = stacked(w.wo);
    if (config_.gated) { // forward: column panels in pairs; backward: Wg^T above W1^T
      Engine::template pack<Exec, value>(exec, to.wi, gate, orientation::forward, 0, 0);
      Engine::template pack<Exec, value>(exec, to.wi, wi, orientation::forward, 0, 1);
      Engine::template pack<Exec, value>(exec, to.wi_transposed, gate, orientation::transposed, 0);
      Engine::template pack<Exec, value>(exec, to.wi_transposed, wi, orientation::transposed, d_ff_.count);
    } else {
      Engine::template pack<Exec, value>(exec, to.wi, wi, orientation::forward);
      Engine::template pack<Exec, value>(exec, to.wi_transposed, wi, orientation::transposed);
    }
    Engine::template pack<Exec, value>(exec, to.wo, wo, orientation::forward);
    Engine::template pack<Exec, value>(exec, to.wo_transposed, wo, orientation::transposed);
  }

  /// Memory for passes over `rows` tokens, number `first` of all tokens being the first here. Allocates.
  tape_type make_tape(const Exec& exec, std::int64_t rows, std::int64_t first = 0) const {
    detail::require(rows >= 0, "rows = ", rows, ": must be at least 0");
    tape_type t;
    t.made_for = tape_facts();
    t.ffn = {config_.activation, config_.gated, 0, {}, config_.d_ff, d_ff_.begin};
    t.hidden = {rows, d_ff_.count, t.ffn};
    const Kokkos::View<std::int64_t*, space> offset("switchyard::dense_offset", 2);
    Kokkos::deep_copy(exec, Kokkos::subview(offset, 1), rows);
    t.rows.groups = {offset, rows};
    if (config_.dropout > 0) { // keys the draws
      const Kokkos::View<std::int64_t*, space> number("switchyard::dense_rows", static_cast<std::size_t>(rows));
      const auto host = Kokkos::create_mirror_view(number);
      for (std::int64_t r = 0; r < rows; ++r) host(r) = first + r;
      Kokkos::deep_copy(exec, number, host);
      exec.fence("switchyard: the numbers of the rows are on their way from the host");
      t.rows.slot = number;
    }
    return t;
  }

  /// x [rows, M] -> y [rows, M], memory of its own. Only training, step and layer of the options are read.
  template <class X, class Y>
  void forward(const Exec& exec, const packed_type& packed, const X& x, const Y& y, tape_type& t,
               const forward_options<space>& options = {}) const {
    check_made_here(packed, t);
    check_rows("x", x, t);
    check_rows("y", y, t);
    detail::require(!detail::overlap(x, y), "forward(x, y): the views overlap; y must be memory of its own");
    t.x = x;
    t.ffn.dropout = options.training ? config_.dropout : 0.0;
    t.ffn.draw = generator(seed{config_.seed}, stream::expert_dropout, options.step, options.layer);
    experts::forward<Engine, Exec, value, space>(exec, t.ffn, packed, t.rows, t.x, t.hidden, y);
    t.forward_done = true;
  }

  /// dy [rows, M] -> dx [rows, M] and gradients (=|+=).
  template <class DY, class DX>
  void backward(const Exec& exec, const packed_type& packed, const DY& dy, const DX& dx, tape_type& t,
                const gradients_type& gradients, const backward_options& options = {}) const {
    check_made_here(packed, t);
    check("gradients", gradients);
    check_rows("dy", dy, t);
    check_rows("dx", dx, t);
    detail::require(t.forward_done, "backward(tape): no forward has filled this tape; call forward with it first");
    detail::require(!detail::overlap(dy, dx) && !detail::overlap(t.x, dx),
                    "backward(dy, dx): dx overlaps dy or the x of the forward; it must be memory of its own");
    const experts::ffn_gradients<gradient, space> to{
        stacked(gradients.wi), stacked(gradients.wi_gate), stacked(gradients.wo), {}, {}, {}};
    experts::backward<Engine, Exec, value, gradient, space>(exec, t.ffn, packed, t.rows, t.x, t.hidden, dy, dx, to,
                                                            options.accumulate);
  }

 private:
  /// [K, N] as [1, K, N], sharing its memory.
  template <class T>
  static Kokkos::View<T***, Kokkos::LayoutRight, space>
  stacked(const Kokkos::View<T**, Kokkos::LayoutRight, space>& v) {
    return Kokkos::View<T***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>(v.data(), v.data() ? 1 : 0,
                                                                                   v.extent(0), v.extent(1));
  }

  /// What a layer must share with this one to use its packed weights, and its tapes.
  std::array<detail::fact, 3> packed_facts() const {
    return {{{"d_model", config_.d_model}, {"d_ff here", d_ff_.count}, {"gated", config_.gated}}};
  }
  std::array<detail::fact, 6> tape_facts() const {
    const auto all = packed_facts();
    return {{all[0],
             all[1],
             all[2],
             {"d_ff", config_.d_ff},
             {"first column of d_ff", d_ff_.begin},
             {"activation", static_cast<std::int64_t>(config_.activation)}}};
  }
  void check_made_here(const packed_type& packed, const tape_type& t) const {
    detail::check_made_for("packed weights", "pack", packed.made_for, packed_facts());
    detail::check_made_for("tape", "make_tape", t.made_for, tape_facts());
  }
  template <class T>
  void check(const char* what, const dense_parameters<T, space>& p) const {
    detail::check_parameter(what, "wi", true, p.wi, config_.d_model, d_ff_.count);
    detail::check_parameter(what, "wi_gate", config_.gated, p.wi_gate, config_.d_model, d_ff_.count);
    detail::check_parameter(what, "wo", true, p.wo, d_ff_.count, config_.d_model);
  }
  template <class View>
  void check_rows(const char* name, const View& v, const tape_type& t) const {
    detail::check_extent(name, v, 0, "number of rows", t.rows.groups.max_rows);
    detail::check_values<value, space>(name, v, config_.d_model);
  }

  dense_config config_;
  part d_ff_; // columns of the hidden layer here
};

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/detail/layer_kernels.hpp>
#include <switchyard/layer/layout.hpp>
#include <switchyard/layer/tape.hpp>

namespace switchyard {

/// A Switch (Mixture-of-Experts) layer:  y = sum_j q_j FFN_{e_j}(x)  over the chosen experts that had room, 0 for a
/// dropped token. The residual connection is outside.
///
///   Exec    a Kokkos execution space
///   P       precision policy, selective<bfloat16> by default (core/precision.hpp)
///   Mesh    named axes of ranks, mesh<> for one process
///   Rules   which dimension is split over which axis
///   Engine  of the expert products
///
/// Order of a step: init once; pack after every update of the weights; forward; backward. The execution-space instance
/// comes first everywhere, work is queued on it and nothing else is fenced. Same build, same input, any number of
/// threads: the same bytes.
template <class Exec, precision P = selective<bfloat16>, class Mesh = mesh<>, class Rules = rules<>,
          class Engine = gemm::default_engine<Exec, value_of<P>>>
class switch_layer {
 public:
  using layout = switch_layout<Mesh, Rules>;
  using execution_space = Exec;
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using real = typename P::router_type;
  using weight = typename P::weight_type;
  using gradient = typename P::gradient_type;
  using router_engine = gemm::default_engine<Exec, real>;

  using weights_type = switch_parameters<weight, space>;
  using gradients_type = switch_parameters<gradient, space>;
  using tape_type = switch_tape<Exec, P, layout::experts_split>;

  static_assert(
      detail::lawful<Engine::template supports<Exec, value>, illegal::engine_does_not_support<Engine, Exec, value>>);

  /// Weights as the products want them. Made by pack; forward and backward take nothing else, so stale weights are a
  /// type error.
  struct packed_type {
    typename router_engine::template packed<Exec, real> router, router_transposed; // [M, E], [E, M]
    experts::packed_ffn<Engine, Exec, value> ffn;
  };

  /// Throws invalid_argument for a configuration that cannot be, error where Kokkos is not running. Does not
  /// communicate.
  switch_layer(const Mesh& mesh, const switch_config& config) : mesh_(mesh), config_(config) {
    if (!Kokkos::is_initialized())
      throw error("Kokkos is not running; make layers after Kokkos::initialize and let go of them before finalize");
    validate(config_);
    if constexpr (layout::experts_split)
      detail::require(!config_.dropless || axis().size() == 1,
                      "dropless = true: not with experts on several ranks; set "
                      "capacity_factor, or leave the experts whole");
  }
  explicit switch_layer(const switch_config& config) requires(Mesh::rank == 0) : switch_layer(Mesh(), config) {}

  const switch_config& config() const { return config_; }

  /// Experts whose weights are here.
  part experts_here() const {
    if constexpr (layout::experts_split) return part_of(config_.experts, axis().size(), axis().rank());
    return {0, config_.experts};
  }
  /// Of `groups` routing groups, those whose tokens are here.
  part groups_here(std::int64_t groups) const {
    if constexpr (layout::groups_split) return part_of(groups, axis().size(), axis().rank());
    return {0, groups};
  }

  /// Truncated normal weights; the same numbers under every layout. Allocates.
  weights_type init(const Exec& exec, seed s) const {
    weights_type w(config_, experts_here());
    initialize(exec, config_, experts_here(), s, w);
    return w;
  }
  /// Gradients, all zero. Allocates.
  gradients_type zeros(const Exec&) const { return gradients_type(config_, experts_here()); }

  /// weights -> packed, allocating it.
  packed_type pack(const Exec& exec, const weights_type& w) const;
  /// The same into an existing one; allocates nothing.
  void pack(const Exec& exec, const weights_type& w, const packed_type& to) const;

  /// Memory for passes over `groups` routing groups (of all ranks) of `tokens` tokens each. Allocates all that forward
  /// and backward need. Collective: every rank along the mesh makes one, with the same extents.
  tape_type make_tape(const Exec& exec, std::int64_t groups, std::int64_t tokens) const;

  /// x [groups here, tokens, M] -> y, the same shape. Communicates what the layout says: nothing with mesh<>; one
  /// all_gather of statistics where groups are split; one all-to-all of counts and two of slots where experts are.
  /// Allocates nothing. Throws invalid_argument where extents do not fit the tape.
  template <class X, class Y>
  void forward(const Exec& exec, const packed_type& packed, const X& x, const Y& y, tape_type& tape,
               const forward_options<space>& options = {}) const;

  /// dy -> dx and gradients (=|+=) of <y, dy> + loss_scale * (sum of coefficient * auxiliary loss). Sums over ranks
  /// what is replicated where groups are split. Wants the packed weights and the x of that forward; may be called
  /// again, for another dy.
  template <class DY, class DX>
  void backward(const Exec& exec, const packed_type& packed, const DY& dy, const DX& dx, tape_type& tape,
                const gradients_type& gradients, const backward_options& options = {}) const;

  /// Losses (without coefficients) and metrics of the last forward, the same on every rank but for nonfinite_outputs.
  /// Waits for exec.
  router::summary summary(const Exec& exec, const tape_type& tape) const;

  /// Slots in use of every expert in the last forward, over all groups of all ranks. Waits for exec; makes a vector.
  std::vector<std::int64_t> expert_load(const Exec& exec, const tape_type& tape) const;

 private:
  const communicator& axis() const { return mesh_.along(Mesh::template index<typename layout::group_axis>); }
  void begin(tape_type& tape, const forward_options<space>& options) const;
  void route(const Exec& exec, const packed_type& packed, tape_type& tape) const;
  experts::ffn_rows<space> rows(const tape_type& tape) const;
  void router_gradient(const Exec& exec, const packed_type& packed, tape_type& tape, const gradients_type& gradients,
                       bool accumulate) const;
  gradients_type partial(const tape_type& tape, const gradients_type& gradients) const;

  Mesh mesh_;
  switch_config config_;
};

} // namespace switchyard

#include <switchyard/layer/detail/switch_layer_impl.hpp>

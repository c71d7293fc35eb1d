// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/detail/agree_on_config.hpp>
#include <switchyard/layer/detail/layer_kernels.hpp>
#include <switchyard/layer/layout.hpp>
#include <switchyard/layer/tape.hpp>
#include <switchyard/layer/traffic.hpp>
#include <switchyard/mesh/phase.hpp>

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
    router::split_weights<space> router_pieces;                                    // where kernels want them
    std::vector<experts::packed_ffn<Engine, Exec, value>>
        ffn;                              // one; canonical, of each piece of the hidden layers here
    std::array<detail::fact, 7> made_for; // the layer's numbers: others refuse it
  };

  /// Throws invalid_argument for a configuration that cannot be or that the mesh cannot cut, error where Kokkos is not
  /// running, and disagreement where the ranks of a mesh were given different configurations: on every rank alike. On a
  /// mesh collective: the ranks compare their configurations.
  switch_layer(const Mesh& mesh, const switch_config& config) : mesh_(mesh), config_(config) {
    if (!Kokkos::is_initialized())
      throw error("Kokkos is not running; make layers after Kokkos::initialize and let go of them before finalize");
    if constexpr (Mesh::rank > 0) detail::agree_on_config(mesh_.world(), config_);
    validate(config_);
    divides("d_ff", config_.d_ff);
    if (layout::experts_split) divides("d_model", config_.d_model); // its columns travel apart
    if (canonical()) divides("canonical", config_.canonical);
  }
  explicit switch_layer(const switch_config& config) requires(Mesh::rank == 0) : switch_layer(Mesh(), config) {}

  const switch_config& config() const { return config_; }

  /// Experts whose weights are here.
  part experts_here() const {
    if constexpr (layout::experts_split) return cut({0, config_.experts}, layout::expert_axis_index);
    return {0, config_.experts};
  }
  /// Columns of the hidden layer of each of them that are here.
  part d_ff_here() const {
    if constexpr (layout::d_ff_split) return cut({0, config_.d_ff}, layout::d_ff_axis_index);
    return {0, config_.d_ff};
  }
  /// Of `groups` routing groups, those whose tokens are here.
  part groups_here(std::int64_t groups) const { return groups_within(groups, Mesh::rank); }

  /// Truncated normal weights; the same numbers under every layout. Allocates. On a mesh collective: throws
  /// disagreement on every rank where the seeds differ.
  weights_type init(const Exec& exec, seed s) const {
    if constexpr (Mesh::rank > 0) agree_on(mesh_.world(), {{"seed", s.value}});
    weights_type w(config_, experts_here(), d_ff_here());
    initialize(exec, config_, experts_here(), d_ff_here(), s, w);
    return w;
  }
  /// Gradients, all zero. Allocates.
  gradients_type zeros(const Exec&) const { return gradients_type(config_, experts_here(), d_ff_here()); }

  /// weights -> packed, allocating it. Throws invalid_argument for weights of another configuration. Local.
  packed_type pack(const Exec& exec, const weights_type& w) const;
  /// The same into an existing one, of this configuration; allocates nothing, but canonical a copy of a piece of the
  /// weights.
  void pack(const Exec& exec, const weights_type& w, const packed_type& to) const;

  /// Memory for passes over `groups` routing groups (of all ranks) of `tokens` tokens each. Allocates all that forward
  /// and backward need; dropless with experts on several ranks, room for an equal share of the tokens, which grows to
  /// what a pass ever needed: tape.grown() counts. Collective on a mesh: throws disagreement on every rank where the
  /// extents differ or one rank runs out of memory, and invalid_argument, on every rank alike, for extents below 0 or
  /// whose product leaves 64 bits. Where one process runs out of memory, error. With gradient_sums::by_caller no
  /// backward over this tape sums gradients over the ranks, and there is no memory for it.
  tape_type make_tape(const Exec& exec, std::int64_t groups, std::int64_t tokens,
                      gradient_sums sums = gradient_sums::by_layer) const;

  /// x [groups here, tokens, M] -> y, the same shape. Communicates what the layout says (layer/traffic.hpp has the
  /// bytes): nothing with mesh<>; one all-gather of statistics over each axis that splits groups; one all-to-all of
  /// counts and two of slots where experts are split; where d_ff is, one all-reduce of the experts' outputs, or with an
  /// exchange an all-gather and a reduce-scatter of slots and an all-gather of y. Allocates nothing, but see make_tape.
  /// Throws invalid_argument for views that do not fit the tape, have gaps or no memory, and for a tape or packed
  /// weights of another configuration; on a mesh of several ranks that is a failure of this rank alone, which ends the
  /// job (mesh/phase.hpp): phases "router", "dispatch", "experts", "combine".
  template <class X, class Y>
  void forward(const Exec& exec, const packed_type& packed, const X& x, const Y& y, tape_type& tape,
               const forward_options<space>& options = {}) const;

  /// dy -> dx and gradients (=|+=) of <y, dy> + loss_scale * (sum of coefficient * auxiliary loss). Communicates the
  /// transpose of what forward did, and, unless the tape leaves that to the caller, one all-reduce over each axis that
  /// splits groups, of the gradients of what is replicated there; the router's is never summed over the axis of d_ff,
  /// whose ranks have the same tokens. Wants the packed weights and the x of that forward; may be called again, for
  /// another dy. Throws as forward, for gradients too. Phase "backward".
  template <class DY, class DX>
  void backward(const Exec& exec, const packed_type& packed, const DY& dy, const DX& dx, tape_type& tape,
                const gradients_type& gradients, const backward_options& options = {}) const;

  /// Losses (without coefficients) and metrics of the last forward, the same on every rank but for nonfinite_outputs
  /// (of the tokens here, and of the columns here where experts and d_ff are split).
  /// Waits for exec.
  router::summary summary(const Exec& exec, const tape_type& tape) const;

  /// Slots in use of every expert in the last forward, over all groups of all ranks. Waits for exec; makes a vector.
  std::vector<std::int64_t> expert_load(const Exec& exec, const tape_type& tape) const;

  /// Bytes that this rank sends to others in a forward and a backward over this tape, per axis and collective; of the
  /// last forward where the layer is dropless or canonical, before the first one nothing then. Does not communicate.
  layer_traffic<Mesh::rank> traffic(const tape_type& tape, bool training = true) const;

 private:
  const communicator& model() const { return mesh_.along(layout::d_ff_axis_index); }
  communicator over_model() const {
    if constexpr (layout::d_ff_split) return model();
    return self();
  }
  /// Do ranks hold columns of the slots on the token side?
  bool by_columns() const {
    if constexpr (layout::d_ff_split && layout::experts_split) return model().size() > 1;
    return false;
  }
  /// Every token has one row, whole and here: the experts' last product writes y itself.
  bool one_writer() const {
    constexpr bool whole = !layout::experts_split && !layout::d_ff_split;
    return whole && std::same_as<real, accumulate_t<value>> && config_.choices() == 1 && !canonical();
  }
  /// Of the gradients that are summed, the router's: the first.
  auto router_part(const staged<Kokkos::View<gradient*, space>>& all) const {
    return all.part(0, config_.d_model * config_.experts);
  }
  part cut(part whole, std::size_t axis) const {
    const part inside = part_of(whole.count, mesh_.extent(axis), mesh_.coordinate(axis));
    return {whole.begin + inside.begin, inside.count};
  }
  /// The groups of this rank and of all that differ from it in the axes from number `axes` on.
  part groups_within(std::int64_t groups, std::size_t axes) const { return layout::groups_within(mesh_, groups, axes); }
  void divides(const char* what, std::int64_t extent) const {
    if constexpr (layout::d_ff_split) {
      const std::int64_t ranks = model().size();
      detail::require(extent % ranks == 0, what, " = ", extent, ": cannot be split over axis ",
                      layout::d_ff_axis::label(), " of size ", ranks, " (remainder ", extent % ranks,
                      "); make it a multiple of ", ranks, " or change the mesh");
    }
  }
  /// Runs body as a phase of all ranks; where there is one, nobody waits and nothing ends.
  template <class Body>
  void in_phase(const char* name, const Body& body) const {
    if (Mesh::rank == 0 || mesh_.world().size() == 1)
      body();
    else
      run_phase(mesh_.world(), name, body);
  }
  /// The packed weights of one FFN per expert.
  experts::packed_ffn<Engine, Exec, value> allocate_ffn(const Exec& exec, const weights_type& w) const;
  void pack_ffn(const Exec& exec, const weights_type& w, const experts::packed_ffn<Engine, Exec, value>& to) const;

  /// What a layer must share with this one to use its packed weights, and its tapes of so many tokens per group.
  std::array<detail::fact, 7> packed_facts() const;
  std::array<detail::fact, 14> tape_facts(std::int64_t tokens) const;
  std::int64_t capacity_of(std::int64_t tokens) const;
  void check_made_here(const packed_type& packed, const tape_type& tape) const;
  tape_type allocate_tape(const Exec& exec, std::int64_t groups, std::int64_t tokens, gradient_sums sums) const;

  void begin(tape_type& tape, const forward_options<space>& options) const;
  void route(const Exec& exec, const packed_type& packed, tape_type& tape) const;
  experts::ffn_rows<space> rows(const tape_type& tape) const;
  void send(const Exec& exec, tape_type& tape) const;
  void make_model_sums(tape_type& tape, std::int64_t slots) const;
  void make_group_sums(tape_type& tape, std::int64_t groups) const;
  void sum_rows(const Exec& exec, const tape_type& tape, const staged<Kokkos::View<value*, space>>& rows) const;
  auto experts_backward(const Exec& exec, const packed_type& packed,
                        const typename tape_type::template matrix<const value>& dy, tape_type& tape,
                        const gradients_type& to, bool accumulate) const -> typename tape_type::template matrix<value>;
  void router_gradient(const Exec& exec, const packed_type& packed, tape_type& tape, const gradients_type& gradients,
                       bool accumulate) const;
  layer_traffic<Mesh::rank> predicted(const tape_type& tape, bool training) const;

  // canonical sums: detail/canonical_impl.hpp
  bool canonical() const { return config_.canonical > 0; }
  /// Pieces of the hidden layers, and those of them that are here.
  part hidden_pieces() const {
    if (!canonical()) return {0, 1};
    if constexpr (layout::d_ff_split) return cut({0, config_.canonical}, layout::d_ff_axis_index);
    return {0, config_.canonical};
  }
  weights_type piece_of(const Exec& exec, const weights_type& w, std::int64_t i) const;
  experts::ffn_settings piece_of(const experts::ffn_settings& all, std::int64_t i) const {
    experts::ffn_settings piece = all;
    piece.d_ff_begin += i * (d_ff_here().count / hidden_pieces().count);
    piece.adds_bias = all.adds_bias && i == 0;
    return piece;
  }
  void make_hidden(tape_type& tape, std::int64_t rows) const;
  void make_canonical(const Exec& exec, tape_type& tape, std::int64_t groups) const;
  template <class F>
  void sum_pieces(const Exec& exec, const tape_type& tape, const typename tape_type::template matrix<value>& to,
                  const F& f) const;
  void forward_in_pieces(const Exec& exec, const packed_type& packed, const tape_type& tape,
                         const typename tape_type::template matrix<const value>& x,
                         const typename tape_type::template matrix<value>& o) const;
  void backward_in_pieces(const Exec& exec, const packed_type& packed, tape_type& tape,
                          const typename tape_type::template matrix<const value>& x,
                          const typename tape_type::template matrix<const value>& d_o,
                          const typename tape_type::template matrix<value>& dx, const gradients_type& to,
                          bool accumulate) const;
  auto dq_pieces(const tape_type& tape) const -> typename tape_type::template matrix<real>;
  void sum_dq(const Exec& exec, const tape_type& tape) const;
  template <class Rows>
  void router_gradient_in_pieces(const Exec& exec, const packed_type& packed, const tape_type& tape, const Rows& x,
                                 const gradients_type& gradients, bool accumulate) const;
  void count_canonical(const tape_type& tape, layer_traffic<Mesh::rank>& all) const;
  void add_group_pieces(const Exec& exec, const tape_type& tape, std::int64_t size, std::size_t but,
                        const runs<gradient>& to, bool accumulate) const;

  Mesh mesh_;
  switch_config config_;
};

} // namespace switchyard

#include <switchyard/layer/detail/canonical_impl.hpp>
#include <switchyard/layer/detail/make_tape_impl.hpp>
#include <switchyard/layer/detail/pack_impl.hpp>
#include <switchyard/layer/detail/report_impl.hpp>
#include <switchyard/layer/detail/switch_layer_impl.hpp>

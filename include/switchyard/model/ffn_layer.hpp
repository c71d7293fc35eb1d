// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <optional>
#include <switchyard/layer/switch_layer.hpp>
#include <switchyard/model/attention_layer.hpp>

/// \file
/// The FFN sublayer of a block, pre-norm, in the residual stream:  y = x + D ∘ FFN(RMSNorm(x)),  the FFN being dense or
/// a Switch layer. A token that a Switch layer drops passes through unchanged. The backward as in attention_layer.hpp.
///
/// Where ranks share d_ff, the dense FFN in the forward and the gradient of its input in the backward are sums over
/// them (axis_sum.hpp); a Switch layer sees to its own.

namespace switchyard::model {

template <class Exec, precision P, class Mesh = mesh<>, class Rules = rules<>>
class ffn_layer {
 public:
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using acc = accumulate_t<value>;
  using dense_type = dense_layer<Exec, P>;
  using sparse_type = switch_layer<Exec, P, Mesh, Rules>;
  using layout = typename sparse_type::layout;
  using weights_type = ffn_parameters<typename P::weight_type, space>;
  using gradients_type = ffn_parameters<typename P::gradient_type, space>;
  using scratch_type = backward_scratch<Exec, P>;

  struct packed_type {
    vector<acc, space> norm; // [M]
    typename dense_type::packed_type dense;
    typename sparse_type::packed_type sparse;
  };
  struct tape_type {
    matrix<value, space> normed; // [rows, M]
    vector<acc, space> inverse;  // [rows]
    typename dense_type::tape_type dense;
    typename sparse_type::tape_type sparse;
    std::int64_t groups = 0, tokens = 0; // of routing: groups here, tokens of each
    // of the pass in flight
    matrix<value, space> x;
    dropout<acc> drop;
  };

  /// Sparse layers on a mesh: collective, as switch_layer's.
  ffn_layer(const Mesh& mesh, const transformer_config& c, bool sparse)
      : config_(c), dense_(c.dense_layers(), mesh.part_along(layout::d_ff_axis_index, c.d_ff)) {
    if (sparse) sparse_.emplace(mesh, c.switch_layers());
  }
  ffn_layer(const transformer_config& c, bool sparse) requires(Mesh::rank == 0) : ffn_layer(Mesh(), c, sparse) {}
  bool is_sparse() const { return sparse_.has_value(); }
  const sparse_type& sparse() const { return *sparse_; }

  packed_type pack(const Exec& exec, const weights_type& w) const {
    packed_type to;
    to.norm = switchyard::detail::make_raw<vector<acc, space>>("switchyard::model::norm", config_.d_model);
    convert(exec, w.norm, to.norm);
    if (sparse_)
      to.sparse = sparse_->pack(exec, w.sparse);
    else
      to.dense = dense_.pack(exec, w.dense);
    return to;
  }
  /// Allocates nothing.
  void pack(const Exec& exec, const weights_type& w, const packed_type& to) const {
    convert(exec, w.norm, to.norm);
    if (sparse_)
      sparse_->pack(exec, w.sparse, to.sparse);
    else
      dense_.pack(exec, w.dense, to.dense);
  }

  /// For the sequences `here` of a batch. Gradients over it are never summed over the ranks. Allocates; collective
  /// where the layer is sparse.
  tape_type make_tape(const Exec& exec, part here, std::int64_t batch, std::int64_t length) const {
    const std::int64_t rows = here.count * length;
    tape_type t;
    t.normed = switchyard::detail::make_raw<matrix<value, space>>("switchyard::model::normed", rows, config_.d_model);
    t.inverse = switchyard::detail::make_raw<vector<acc, space>>("switchyard::model::inverse", rows);
    t.groups = here.count / config_.sequences_per_group;
    t.tokens = length * config_.sequences_per_group;
    if (sparse_)
      t.sparse = sparse_->make_tape(exec, batch / config_.sequences_per_group, t.tokens, gradient_sums::by_caller);
    else
      t.dense = dense_.make_tape(exec, rows, here.begin * length);
    return t;
  }
  tape_type make_tape(const Exec& exec, std::int64_t batch, std::int64_t length) const {
    return make_tape(exec, {0, batch}, batch, length);
  }

  /// x [rows, M] -> y [rows, M], memory of its own. options.mask [groups, tokens per group]; t.drop is set. `sum` over
  /// the ranks that share d_ff.
  template <class Sum = no_sum>
  void forward(const Exec& exec, const packed_type& packed, const matrix<value, space>& x,
               const matrix<value, space>& y, tape_type& t, const scratch_type& s,
               const forward_options<space>& options, const Sum& sum = {}) const {
    Kokkos::Profiling::ScopedRegion region("switchyard::model::ffn_layer::forward");
    t.x = x;
    rms_norm(exec, x, packed.norm, config_.norm_epsilon, t.normed, t.inverse);
    const matrix<value, space> added = sparse_ ? s.d_normed : place_of(sum, s.d_normed);
    if (sparse_) {
      sparse_->forward(exec, packed.sparse, grouped(t.normed, t), grouped(added, t), t.sparse, options);
    } else {
      dense_.forward(exec, packed.dense, t.normed, added, t.dense, options);
      sum_over(exec, sum, added);
    }
    add_residual(exec, x, added, t.drop, y);
  }

  /// d: dy -> dx [rows, M]; gradients (=|+=). auxiliary: factor of the Switch layer's own losses.
  template <class Sum = no_sum>
  void backward(const Exec& exec, const packed_type& packed, const matrix<value, space>& d, tape_type& t,
                const scratch_type& s, const gradients_type& gradients, bool accumulate, double auxiliary,
                const Sum& sum = {}) const {
    Kokkos::Profiling::ScopedRegion region("switchyard::model::ffn_layer::backward");
    const auto ds = s.sublayer_gradient(exec, d, t.drop);
    const backward_options options{accumulate, auxiliary};
    const matrix<value, space> d_normed = sparse_ ? s.d_normed : place_of(sum, s.d_normed);
    if (sparse_) {
      sparse_->backward(exec, packed.sparse, grouped(ds, t), grouped(d_normed, t), t.sparse, gradients.sparse, options);
    } else {
      dense_.backward(exec, packed.dense, ds, d_normed, t.dense, gradients.dense, options);
      sum_over(exec, sum, d_normed);
    }
    rms_norm_backward(exec, t.x, packed.norm, t.inverse, d_normed, d, true, gradients.norm, accumulate, s.norm);
  }

 private:
  /// [rows, M] as [groups, tokens, M].
  static auto grouped(const matrix<value, space>& rows, const tape_type& t) {
    return Kokkos::View<value***, Kokkos::LayoutRight, space, Kokkos::MemoryUnmanaged>(
        rows.data(), static_cast<std::size_t>(t.groups), static_cast<std::size_t>(t.tokens), rows.extent(1));
  }

  transformer_config config_;
  dense_type dense_;
  std::optional<sparse_type> sparse_;
};

} // namespace switchyard::model

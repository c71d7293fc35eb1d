// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Profiling_ScopedRegion.hpp>
#include <switchyard/model/attention.hpp>
#include <switchyard/model/axis_sum.hpp>
#include <switchyard/model/cross_entropy.hpp>
#include <switchyard/model/parameters.hpp>
#include <switchyard/model/rms_norm.hpp>

/// \file
/// The attention sublayer of a block, pre-norm, in the residual stream:
///
///   n = RMSNorm(x),  q = n Wq,  k, v = (n or memory) (Wk, Wv),  y = x + D ∘ (attention(q, k, v) Wo)
///
/// The backward takes dy in d and leaves dx there: the residual stream's gradient is added to, never copied.
///
/// Where ranks share the heads, Wq, Wk, Wv have the columns and Wo the rows of those here: attention(...) Wo in the
/// forward, and the gradients of n and of memory in the backward, are sums over them. All else is the same on each.

namespace switchyard::model {

/// Memory for the backward of one sublayer after another, shared by all of a stack.
template <class Exec, precision P>
struct backward_scratch {
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using acc = accumulate_t<value>;

  matrix<value, space> d_sublayer, d_normed; // [rows, M]
  matrix<value, space> d_heads, d_projected; // [rows, H D], [rows, 3 H D]
  matrix<value, space> d_memory_projected;   // [memory rows, 2 H D]
  matrix<acc, space> norm;                   // [blocks of rows, M]
  stack<acc, space> bucket_sums;             // [batch, H, buckets]

  backward_scratch() = default;
  /// Allocates.
  backward_scratch(const transformer_config& c, std::int64_t batch, std::int64_t length, std::int64_t memory_length)
      : d_sublayer(make("d_sublayer", batch * length, c.d_model)),
        d_normed(make("d_normed", batch * length, c.d_model)), d_heads(make("d_heads", batch * length, c.d_heads())),
        d_projected(make("d_projected", batch * length, 3 * c.d_heads())),
        d_memory_projected(make("d_memory_projected", batch * memory_length, 2 * c.d_heads())),
        norm(make_norm_scratch<acc, space>(batch * length, c.d_model)),
        bucket_sums(switchyard::detail::make_raw<stack<acc, space>>("switchyard::model::bucket_sums", batch, c.heads,
                                                                    c.relative_buckets)) {}

  /// D ∘ d, or d itself where nothing is dropped.
  matrix<value, space> sublayer_gradient(const Exec& exec, const matrix<value, space>& d,
                                         const dropout<acc>& drop) const {
    if (!(drop.rate > 0)) return d;
    apply_dropout(exec, d, drop, d_sublayer);
    return d_sublayer;
  }

 private:
  static matrix<value, space> make(const char* what, std::int64_t rows, std::int64_t columns) {
    return switchyard::detail::make_raw<matrix<value, space>>(std::string("switchyard::model::") + what, rows, columns);
  }
};

/// Self-attention, or cross-attention to the rows of a memory.
template <class Exec, precision P>
class attention_layer {
 public:
  using space = typename Exec::memory_space;
  using value = typename P::value_type;
  using acc = accumulate_t<value>;
  using engine = gemm::default_engine<Exec, value>;
  using weights_type = attention_parameters<typename P::weight_type, space>;
  using gradients_type = attention_parameters<typename P::gradient_type, space>;
  using scratch_type = backward_scratch<Exec, P>;
  using packed_matrix = packed_linear<engine, Exec, value>;

  struct packed_type {
    vector<acc, space> norm; // [M]
    packed_matrix in;        // q, k, v of self-attention; q of cross-attention
    packed_matrix memory;    // k, v of cross-attention
    packed_matrix out;
  };

  /// What a forward leaves for its backward, and refers to: x and memory must stay as they are until then.
  struct tape_type {
    attention_shape shape;
    one_group<space> rows, memory_rows;
    matrix<value, space> normed;           // [rows, M]
    vector<acc, space> inverse;            // [rows]
    matrix<value, space> projected;        // [rows, 3 H D] q, k, v, or [rows, H D] q
    matrix<value, space> memory_projected; // [memory rows, 2 H D] k, v
    matrix<value, space> heads;            // [rows, H D]
    stack<acc, space> lse;                 // [batch, H, queries]
    // of the pass in flight
    matrix<value, space> x, memory;
    attention_options<acc, space> options;
    dropout<acc> drop; // of the sublayer
  };

  /// c.heads: those here.
  attention_layer(const transformer_config& c, bool cross) : config_(c), cross_(cross) {}

  packed_type pack(const Exec& exec, const weights_type& w) const {
    const std::int64_t m = config_.d_model, wide = config_.d_heads();
    packed_type to;
    to.norm = switchyard::detail::make_raw<vector<acc, space>>("switchyard::model::norm", m);
    if (cross_) {
      to.in = make_packed_linear<engine, Exec, value>(exec, m, {wide});
      to.memory = make_packed_linear<engine, Exec, value>(exec, m, {wide, wide});
    } else {
      to.in = make_packed_linear<engine, Exec, value>(exec, m, {wide, wide, wide});
    }
    to.out = make_packed_linear<engine, Exec, value>(exec, wide, {m});
    pack(exec, w, to);
    return to;
  }
  /// Allocates nothing.
  void pack(const Exec& exec, const weights_type& w, const packed_type& to) const {
    const std::int64_t wide = config_.d_heads();
    convert(exec, w.norm, to.norm);
    pack_linear(exec, w.q, to.in, 0, 0);
    pack_linear(exec, w.k, cross_ ? to.memory : to.in, cross_ ? 0 : 1, cross_ ? 0 : wide);
    pack_linear(exec, w.v, cross_ ? to.memory : to.in, cross_ ? 1 : 2, cross_ ? wide : 2 * wide);
    pack_linear(exec, w.o, to.out);
  }

  /// Allocates.
  tape_type make_tape(const Exec& exec, const attention_shape& shape, const one_group<space>& rows,
                      const one_group<space>& memory_rows) const {
    const auto make = [](const char* what, std::int64_t n, std::int64_t width) {
      return switchyard::detail::make_raw<matrix<value, space>>(std::string("switchyard::model::") + what, n, width);
    };
    const std::int64_t wide = config_.d_heads();
    tape_type t;
    t.shape = shape;
    t.rows = rows;
    t.memory_rows = memory_rows;
    t.normed = make("normed", rows.count, config_.d_model);
    t.inverse = switchyard::detail::make_raw<vector<acc, space>>("switchyard::model::inverse", rows.count);
    t.projected = make("projected", rows.count, cross_ ? wide : 3 * wide);
    if (cross_) t.memory_projected = make("memory_projected", memory_rows.count, 2 * wide);
    t.heads = make("heads", rows.count, wide);
    t.lse = switchyard::detail::make_raw<stack<acc, space>>("switchyard::model::lse", shape.batch, shape.heads,
                                                            shape.queries);
    reserve_attention<value>(exec, shape);
    return t;
  }

  /// x [rows, M] (and memory [memory rows, M]) -> y [rows, M], memory of its own. t.options and t.drop are set. `sum`
  /// (axis_sum.hpp) over the ranks that share the heads.
  template <class Sum = no_sum>
  void forward(const Exec& exec, const packed_type& packed, const matrix<value, space>& x,
               const matrix<value, space>& memory, const matrix<value, space>& y, tape_type& t,
               const Sum& sum = {}) const {
    Kokkos::Profiling::ScopedRegion region("switchyard::model::attention_layer::forward");
    const std::int64_t wide = config_.d_heads();
    t.x = x;
    t.memory = memory;
    rms_norm(exec, x, packed.norm, config_.norm_epsilon, t.normed, t.inverse);
    for (std::size_t i = 0; i < packed.in.forward.size(); ++i)
      linear<engine>(exec, t.rows, t.normed, packed.in.forward[i],
                     columns_of(t.projected, static_cast<std::int64_t>(i) * wide, wide));
    for (std::size_t i = 0; i < packed.memory.forward.size(); ++i)
      linear<engine>(exec, t.memory_rows, memory, packed.memory.forward[i],
                     columns_of(t.memory_projected, static_cast<std::int64_t>(i) * wide, wide));
    attention<value>(exec, t.shape, queries(t.projected, t), keys(t.projected, t.memory_projected, t, 0),
                     keys(t.projected, t.memory_projected, t, 1), t.options,
                     head_rows<value, space>(t.heads, t.shape.queries), t.lse);
    if constexpr (Sum::splits) {
      if (sum.active()) {
        const matrix<value, space> added = place_of(sum, y);
        linear<engine>(exec, t.rows, t.heads, packed.out.forward[0], added);
        sum_over(exec, sum, added);
        add_residual(exec, x, added, t.drop, y);
        return;
      }
    }
    linear_residual<engine>(exec, t.rows, t.heads, packed.out.forward[0], x, t.drop, y);
  }

  /// d: dy -> dx [rows, M]; d_memory [memory rows, M] = or, with add_memory, +=; gradients (=|+=). d_bias [buckets, H],
  /// where the forward had a bias, is written or, with add_bias, added to. d_memory is left as the part of the heads
  /// here, to be summed when all layers have added theirs.
  template <class DBias, class Sum = no_sum>
  void backward(const Exec& exec, const packed_type& packed, const matrix<value, space>& d,
                const matrix<value, space>& d_memory, bool add_memory, const tape_type& t, const scratch_type& s,
                const gradients_type& gradients, bool accumulate, const DBias& d_bias, bool add_bias,
                const Sum& sum = {}) const {
    Kokkos::Profiling::ScopedRegion region("switchyard::model::attention_layer::backward");
    const std::int64_t wide = config_.d_heads();
    const auto ds = s.sublayer_gradient(exec, d, t.drop);
    linear<engine>(exec, t.rows, ds, packed.out.transposed, s.d_heads);
    linear_weight_gradient<engine>(exec, t.rows, t.heads, ds, packed.out.forward[0], gradients.o, accumulate);

    const bool biased = t.options.bias.data() != nullptr;
    attention_backward<value>(
        exec, t.shape, queries(t.projected, t), keys(t.projected, t.memory_projected, t, 0),
        keys(t.projected, t.memory_projected, t, 1), t.options, head_rows<const value, space>(t.heads, t.shape.queries),
        t.lse, head_rows<const value, space>(s.d_heads, t.shape.queries), queries(s.d_projected, t),
        keys(s.d_projected, s.d_memory_projected, t, 0), keys(s.d_projected, s.d_memory_projected, t, 1),
        biased ? s.bucket_sums : stack<acc, space>());
    if (biased) relative_bias_backward(exec, s.bucket_sums, d_bias, add_bias);

    const auto d_in = columns_of(s.d_projected, 0, cross_ ? wide : 3 * wide);
    const matrix<value, space> d_normed = place_of(sum, s.d_normed);
    linear<engine>(exec, t.rows, d_in, packed.in.transposed, d_normed);
    sum_over(exec, sum, d_normed);
    const auto weight_gradient = [&](const auto& rows, const auto& x, const auto& dy, std::int64_t i, const auto& of,
                                     const auto& gradient) {
      linear_weight_gradient<engine>(exec, rows, x, columns_of(dy, i * wide, wide), of, gradient, accumulate);
    };
    weight_gradient(t.rows, t.normed, s.d_projected, 0, packed.in.forward[0], gradients.q);
    if (cross_) {
      linear<engine>(exec, t.memory_rows, s.d_memory_projected, packed.memory.transposed, d_memory, add_memory);
      weight_gradient(t.memory_rows, t.memory, s.d_memory_projected, 0, packed.memory.forward[0], gradients.k);
      weight_gradient(t.memory_rows, t.memory, s.d_memory_projected, 1, packed.memory.forward[1], gradients.v);
    } else {
      weight_gradient(t.rows, t.normed, s.d_projected, 1, packed.in.forward[1], gradients.k);
      weight_gradient(t.rows, t.normed, s.d_projected, 2, packed.in.forward[2], gradients.v);
    }
    rms_norm_backward(exec, t.x, packed.norm, t.inverse, d_normed, d, true, gradients.norm, accumulate, s.norm);
  }

 private:
  using heads_view = head_rows<value, space>;
  heads_view queries(const matrix<value, space>& projected, const tape_type& t) const {
    return heads_view(projected, t.shape.queries);
  }
  /// Keys (0) or values (1).
  heads_view keys(const matrix<value, space>& projected, const matrix<value, space>& memory_projected,
                  const tape_type& t, std::int64_t which) const {
    const std::int64_t wide = config_.d_heads();
    return cross_ ? heads_view(columns_of(memory_projected, which * wide, wide), t.shape.keys)
                  : heads_view(columns_of(projected, (which + 1) * wide, wide), t.shape.keys);
  }

  transformer_config config_;
  bool cross_;
};

} // namespace switchyard::model

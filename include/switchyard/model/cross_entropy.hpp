// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <functional>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/detail/cross_entropy_kernels.hpp>
#include <switchyard/model/linear.hpp>

/// \file
/// Projection to the vocabulary and softmax cross-entropy with z-term (Mesh TensorFlow; ST-MoE calls the router's twin
/// z-loss), fused in blocks of rows, so that no [rows, vocabulary] tensor of more than one block exists. Over the rows
/// t whose target y_t is a token, n of them:
///
///   forward    z_t = s x_t E^T,  lse_t = log sum_v exp(z_tv)
///              loss = sum_t (lse_t - z_ty) + c_z sum_t lse_t^2
///   backward   dz_tv = s w ((1 + 2 c_z lse_t) exp(z_tv - lse_t) - 1[v = y_t]),  w = scale / n or scale / normalizer
///              dx_t = T(dz_t E),   dE (=|+=) sum_t dz_t^T x_t
///
/// s is 1, or 1 / sqrt(M) where E is the token embedding too (T5). Rows whose target is `ignore` or not in the
/// vocabulary enter nothing; their dx is 0. Logits are in the accumulate type, dz is rounded to T. The backward makes
/// the logits again.

namespace switchyard::model {

struct cross_entropy_settings {
  double z = 0;            ///< c_z; 1e-4 in T5
  double logit_scale = 1;  ///< s
  std::int32_t ignore = 0; ///< target of rows that do not count, the padding token
};

/// The sums of one pass.
struct loss_sums {
  double cross_entropy = 0; ///< sum of lse - z_y, in nats
  double z = 0;             ///< sum of lse^2, without coefficient
  double targets = 0;       ///< n
  double correct = 0;       ///< targets that no other token outscores
};

/// The blocks of rows whose terms are summed first, each by one task. Then come the blocks, of all ranks, in order:
/// with a sequence to a block the loss has the same bytes wherever the sequences are.
struct loss_blocks {
  std::int64_t rows = 0;           ///< of a block
  std::int64_t here = 0;           ///< blocks of the rows of this rank
  std::int64_t first = 0, all = 0; ///< number of the first one here; blocks of all ranks
};

/// How much of the loss goes back.
struct loss_gradient {
  double scale = 1;
  double normalizer = 0; ///< what the sums are divided by; 0: the number of targets of this pass
};

/// What the backward needs of the forward, and the memory of a block.
template <class T, class Space>
struct cross_entropy_tape {
  using acc = accumulate_t<T>;
  std::int64_t rows = 0, block = 0;
  std::int64_t first = 0, vocabulary = 0; // number of logit 0 here, logits of all ranks
  one_group<Space> whole, rest;           // rows of a block, of the last block
  matrix<acc, Space> logits;              // [block, V]
  matrix<T, Space> d_logits;              // [block, V]
  vector<acc, Space> lse;                 // [rows]
  matrix<double, Space> row_sums;         // [rows, 4] as loss_sums
  loss_blocks blocks;
  matrix<double, Space> block_sums; // [blocks of all ranks, 4]
  vector<double, Space> sums;       // [4]

  // Where targets are more than tokens (distillation): called for each block of rows, the one after the loss of tokens
  // has been made, to change row_sums; the other in the place of what makes d_logits. Logits of the block are there.
  std::function<void(std::int64_t begin, std::int64_t count)> change_loss;
  std::function<void(std::int64_t begin, std::int64_t count, const loss_gradient&)> make_gradient;

  cross_entropy_tape() = default;
  /// For up to `rows` rows, all of them here, `block` at a time. Allocates.
  cross_entropy_tape(std::int64_t rows_, std::int64_t vocabulary_, std::int64_t block_ = 512)
      : cross_entropy_tape(rows_, vocabulary_, {64, (rows_ + 63) / 64, 0, (rows_ + 63) / 64}, block_) {}
  /// For up to `rows` rows here, and `logits_` logits, those from number `first` on of `vocabulary` (0: all are here).
  /// Allocates.
  cross_entropy_tape(std::int64_t rows_, std::int64_t logits_, const loss_blocks& blocks_, std::int64_t block_ = 512,
                     std::int64_t first_ = 0, std::int64_t vocabulary_ = 0)
      : rows(rows_), block(block_ < rows_ ? block_ : (rows_ > 0 ? rows_ : 1)), first(first_),
        vocabulary(vocabulary_ > 0 ? vocabulary_ : logits_), whole(block), rest(rows % block),
        logits(make<matrix<acc, Space>>("logits", block, logits_)),
        d_logits(make<matrix<T, Space>>("d_logits", block, logits_)), lse(make<vector<acc, Space>>("lse", rows)),
        row_sums(make<matrix<double, Space>>("row_sums", rows, detail::loss_terms)), blocks(blocks_),
        block_sums(make<matrix<double, Space>>("block_sums", blocks.all, detail::loss_terms)),
        sums("switchyard::model::loss_sums", static_cast<std::size_t>(detail::loss_terms)) {}

 private:
  template <class View, class... N>
  static View make(const char* what, N... n) {
    return switchyard::detail::make_raw<View>(std::string("switchyard::model::") + what, n...);
  }
};

/// table [vocabulary, M], the projection or the tied embedding -> packed. `to` has forward [M, vocabulary].
template <class Engine, class Exec, class T, class Table>
void pack_head(const Exec& exec, const Table& table, const packed_linear<Engine, Exec, T>& to) {
  const detail::as_group<const typename Table::non_const_value_type, typename Exec::memory_space> w(
      table.data(), 1, table.extent(0), table.extent(1));
  Engine::template pack<Exec, T>(exec, to.forward[0], detail::owned(w), gemm::orientation::transposed);
  Engine::template pack<Exec, T>(exec, to.transposed, detail::owned(w), gemm::orientation::forward);
}

namespace detail {
/// f(first row, rows) for each block of rows, whose logits are then in the tape.
template <class Engine, class Exec, class T, class Space, class X, class F>
void for_each_block(const Exec& exec, const cross_entropy_settings& set, const X& x,
                    const packed_linear<Engine, Exec, T>& head, const cross_entropy_tape<T, Space>& tape, const F& f) {
  for (std::int64_t begin = 0; begin < tape.rows; begin += tape.block) {
    const auto& here = tape.rows - begin < tape.block ? tape.rest : tape.whole;
    logits_of<Engine, T>(exec, set.logit_scale, here, rows_of(x, begin, here.count), head, tape.logits);
    f(begin, here.count);
  }
}
/// tape.row_sums -> tape.block_sums of the blocks here.
template <class Exec, class T, class Space>
void sum_blocks(const Exec& exec, const cross_entropy_tape<T, Space>& tape) {
  for_each_index("switchyard::model::loss_sums", exec, tape.blocks.here,
                 loss_sums_kernel<Space>{tape.row_sums, tape.blocks.rows, tape.blocks.first, tape.block_sums});
}
} // namespace detail

/// x [rows, M], targets [rows] -> the sums of the blocks here, in tape.block_sums.
template <class Engine, class Exec, class T, class Space, class X, class Targets>
void cross_entropy_here(const Exec& exec, const cross_entropy_settings& set, const X& x,
                        const packed_linear<Engine, Exec, T>& head, const Targets& targets,
                        const cross_entropy_tape<T, Space>& tape) {
  using kernel = detail::row_loss_kernel<accumulate_t<T>, Space>;
  detail::for_each_block(exec, set, x, head, tape, [&](std::int64_t begin, std::int64_t count) {
    for_each_index("switchyard::model::row_loss", exec, count,
                   kernel{tape.logits, targets, begin, set.ignore, tape.lse, tape.row_sums});
    if (tape.change_loss) tape.change_loss(begin, count);
  });
  detail::sum_blocks(exec, tape);
}
/// The sums of all blocks, once those of the other ranks are there, in tape.sums.
template <class Exec, class T, class Space>
void sum_loss(const Exec& exec, const cross_entropy_tape<T, Space>& tape) {
  detail::sum_rows(exec, tape.blocks.all, tape.block_sums, tape.sums, false);
}
/// x [rows, M], targets [rows], all of them here -> the sums in tape.
template <class Engine, class Exec, class T, class Space, class X, class Targets>
void cross_entropy(const Exec& exec, const cross_entropy_settings& set, const X& x,
                   const packed_linear<Engine, Exec, T>& head, const Targets& targets,
                   const cross_entropy_tape<T, Space>& tape) {
  cross_entropy_here(exec, set, x, head, targets, tape);
  sum_loss(exec, tape);
}

/// Logits of the block of rows that begins at `begin`, as the forward had them, into tape.logits.
template <class Engine, class Exec, class T, class Space, class X>
void logits_of_block(const Exec& exec, const cross_entropy_settings& set, const X& x,
                     const packed_linear<Engine, Exec, T>& head, const cross_entropy_tape<T, Space>& tape,
                     std::int64_t begin) {
  const auto& here = tape.rows - begin < tape.block ? tape.rest : tape.whole;
  detail::logits_of<Engine, T>(exec, set.logit_scale, here, detail::rows_of(x, begin, here.count), head, tape.logits);
}

/// dx [rows, M] = and gradient [logits here, M] (=|+=) of scale * loss / normalizer. x, head and targets as in the
/// forward. Where ranks share the vocabulary, dx is the part of the logits here.
template <class Engine, class Exec, class T, class Space, class X, class Targets, class DX, class Gradient>
void cross_entropy_backward(const Exec& exec, const cross_entropy_settings& set, const loss_gradient& how, const X& x,
                            const packed_linear<Engine, Exec, T>& head, const Targets& targets,
                            const cross_entropy_tape<T, Space>& tape, const DX& dx, const Gradient& gradient,
                            bool accumulate) {
  using kernel = detail::logit_gradient_kernel<T, Space>;
  if (tape.rows == 0 && !accumulate) Kokkos::deep_copy(exec, gradient, typename Gradient::value_type(0));
  for (std::int64_t begin = 0; begin < tape.rows; begin += tape.block) {
    const auto& here = tape.rows - begin < tape.block ? tape.rest : tape.whole;
    const auto x_here = detail::rows_of(x, begin, here.count);
    const auto d_here = detail::rows_of(tape.d_logits, 0, here.count);
    detail::logits_of<Engine, T>(exec, set.logit_scale, here, x_here, head, tape.logits);
    if (tape.make_gradient)
      tape.make_gradient(begin, here.count, how);
    else
      for_each_index("switchyard::model::logit_gradient", exec, here.count,
                     kernel{tape.logits, targets, begin, set.ignore, set.z, set.logit_scale, how.scale, how.normalizer,
                            tape.lse, tape.sums, tape.d_logits, tape.first, tape.vocabulary});
    linear<Engine>(exec, here, d_here, head.transposed, detail::rows_of(dx, begin, here.count));
    linear_weight_gradient<Engine>(exec, here, d_here, x_here, head.transposed, gradient, accumulate || begin > 0);
  }
}

/// The sums of the last forward. Waits for exec.
template <class Exec, class T, class Space>
loss_sums read_sums(const Exec& exec, const cross_entropy_tape<T, Space>& tape) {
  double values[detail::loss_terms] = {};
  Kokkos::deep_copy(exec, Kokkos::View<double*, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(values, detail::loss_terms),
                    tape.sums);
  exec.fence("switchyard: the loss is read on the host");
  return {values[0], values[1], values[2], values[3]};
}

} // namespace switchyard::model

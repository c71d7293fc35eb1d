// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/model/cross_entropy.hpp>
#include <switchyard/model/detail/shared_cross_entropy_kernels.hpp>

/// \file
/// The forward of cross_entropy.hpp where ranks share the vocabulary: rank r has some rows of E, and of every row t
///
///   m_r = max_v z_tv,  s_r = sum_v exp(z_tv - m_r),  y_r = z_ty where token y is among its own, else 0
///
/// These three numbers go to all ranks of the axis, each of which finds, in their order,
///
///   m = max_r m_r,  lse_t = m + log sum_r s_r exp(m_r - m),  z_ty = sum_r y_r
///
/// The backward is that of cross_entropy.hpp, whose tape knows which logits are here; its dx is then summed.

namespace switchyard::model {

/// What ranks tell each other of their rows.
template <class Real, class Space>
struct shared_rows {
  staged<matrix<Real, Space>> parts; // [ranks * rows, 3]
  std::vector<std::int64_t> counts;  // rows, as often as there are ranks

  shared_rows() = default;
  /// Allocates.
  shared_rows(std::int64_t rows, const communicator& along)
      : parts(matrix<Real, Space>("switchyard::model::shared_rows", static_cast<std::size_t>(along.size() * rows),
                                  static_cast<std::size_t>(detail::row_parts)),
              along),
        counts(static_cast<std::size_t>(along.size()), rows) {}
};

/// x [rows, M], targets [rows] -> this rank's part of `shared`; rank: its number along the axis.
template <class Engine, class Exec, class T, class Space, class X, class Targets>
void shared_cross_entropy(const Exec& exec, const cross_entropy_settings& set, const X& x,
                          const packed_linear<Engine, Exec, T>& head, const Targets& targets,
                          const cross_entropy_tape<T, Space>& tape, const shared_rows<accumulate_t<T>, Space>& shared,
                          std::int64_t rank) {
  using kernel = detail::row_part_kernel<accumulate_t<T>, Space>;
  detail::for_each_block(exec, set, x, head, tape, [&](std::int64_t begin, std::int64_t count) {
    for_each_index("switchyard::model::row_part", exec, count,
                   kernel{tape.logits, targets, begin, set.ignore, tape.first, tape.vocabulary, rank * tape.rows,
                          shared.parts.view()});
  });
}

/// The parts of all ranks, once they are there -> lse and the sums of the blocks here, in tape.
template <class Exec, class T, class Space, class Targets>
void join_cross_entropy(const Exec& exec, const cross_entropy_settings& set, const Targets& targets,
                        const cross_entropy_tape<T, Space>& tape, const shared_rows<accumulate_t<T>, Space>& shared) {
  using kernel = detail::row_join_kernel<accumulate_t<T>, Space>;
  for_each_index("switchyard::model::row_join", exec, tape.rows,
                 kernel{shared.parts.view(), static_cast<std::int64_t>(shared.counts.size()), targets, set.ignore,
                        tape.vocabulary, tape.lse, tape.row_sums});
  detail::sum_blocks(exec, tape);
}

} // namespace switchyard::model

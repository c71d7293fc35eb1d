// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/mesh/ordered_sum.hpp>

/// \file
/// Canonical sums: switch_config::canonical = V > 0. What a layout may have to add over ranks is cut at fixed points of
/// the whole, whatever the layout, and added in order (mesh/ordered_sum.hpp):
///
///   o   = sum over V pieces of d_ff     of T(h_v W2_v)       each piece is an FFN of its own, with d_ff / V columns
///   dX  = sum over V pieces of d_ff     of T(da_v W1_v^T)
///   dq  = sum over V pieces of d_model  of <dy_v, o_v>
///   dW  = sum over pieces of the groups of dW_g              V of them, or one for every group where there are fewer
///
/// Nothing else enters a sum that ranks share: losses are sums of groups already, and the routing is local. So y, dx,
/// every gradient and every loss have the same bytes under every layout, those of one process with the same V. For
/// proofs; it takes V times the memory of the rows and of the gradients, sends as much, and has no place in training.

namespace switchyard {

/// Memory of canonical sums, and which of their pieces are made here. Of pieces of the groups there are two kinds:
/// those whose tokens are here, for the router, and those whose rows come to the experts here.
template <class T, class Real, class G, class Space>
struct canonical_sums {
  using list = Kokkos::View<std::int64_t*, Space>;

  std::int64_t groups_each = 1; ///< groups in a piece of them
  part columns{0, 1};           ///< pieces of d_model made here
  part tokens, arrived;         ///< pieces of the groups: with tokens here, with rows of experts here

  ordered_sum<T, Space> rows;      // [V][rows, M]
  ordered_sum<Real, Space> dq;     // [V][T, K]
  ordered_sum<G, Space> gradients; // [pieces of groups][one parameter]
  Kokkos::View<G*, Space> made;    // all gradients of one piece of d_ff, each [E here][arrived][of one expert]
  list token_offset;               // [tokens + 1] first token of a piece
  list row_offset;                 // [E here * arrived + 1] first row of (expert, piece)

  /// Groups of a pass over `groups` -> pieces.
  part in_pieces(part groups) const { return {groups.begin / groups_each, groups.count / groups_each}; }
};

namespace detail {

template <class Space>
struct piece_offset_kernel {
  Kokkos::View<const std::int64_t*, Space> group_offset; // [E * groups + 1]
  Kokkos::View<std::int64_t*, Space> offset;             // [E * pieces + 1]
  std::int64_t groups, pieces, each;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    offset(i) = group_offset(i / pieces * groups + i % pieces * each);
  }
};

/// [E][pieces][each] -> [pieces][E][each]
template <class G>
struct piece_order_kernel {
  const G* from;
  G* to;
  std::int64_t experts, pieces, each;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t expert = i / each / pieces, piece = i / each % pieces;
    to[(piece * experts + expert) * each + i % each] = from[i];
  }
};

} // namespace detail
} // namespace switchyard

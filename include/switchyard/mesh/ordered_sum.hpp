// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/collectives.hpp>

/// \file
/// Sums whose bytes do not depend on who adds:
///
///   s = ((p_0 + p_1) + p_2) + ... + p_{n-1}
///
/// What is added is cut at fixed points of the whole into n pieces. Each p is made by itself, the same way wherever it
/// is made; every rank gets all of them, adds them in the order of their numbers, in float (double for double), and
/// rounds once. One process does the same. Slow: n times the memory, n times the bytes of a sum.

namespace switchyard {

/// Where a sum is written: runs of `run` consecutive elements, each `stride` after the one before. The sum's elements
/// in order fill one run after the other.
template <class T>
struct runs {
  T* to = nullptr;
  std::int64_t run = 1, stride = 1;
};

namespace detail {
template <class T, class Space>
struct add_pieces_kernel {
  Kokkos::View<const T*, Space> pieces; // [pieces, size]
  std::int64_t count, size;
  runs<T> sum;
  bool accumulate;

  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    accumulate_t<T> total = 0;
    for (std::int64_t p = 0; p < count; ++p) total += static_cast<accumulate_t<T>>(pieces(p * size + i));
    T& to = sum.to[i / sum.run * sum.stride + i % sum.run];
    to = static_cast<T>(accumulate ? static_cast<accumulate_t<T>>(to) + total : total);
  }
};
} // namespace detail

/// The pieces of one sum at a time.
template <class T, class Space>
class ordered_sum {
 public:
  ordered_sum() = default;
  /// For sums of `pieces` pieces of up to `elements` elements, over comm or over what was split from it. Allocates,
  /// zeros.
  ordered_sum(std::int64_t pieces, std::int64_t elements, const communicator& comm)
      : pieces_(pieces),
        values_(Kokkos::View<T*, Space>("switchyard::mesh::ordered_sum", static_cast<std::size_t>(pieces * elements)),
                comm) {}

  std::int64_t pieces() const { return pieces_; }

  /// Where piece number `piece` of a sum of `size` elements is made; the next one follows.
  T* piece(std::int64_t piece, std::int64_t size) const { return values_.view().data() + piece * size; }

  /// Each rank along the axis has the counts[rank] pieces of its own among `shared`, rank by rank; then all have all of
  /// those. Communicates: one all-gather, counted as an all-reduce. Waits for exec; allocates nothing.
  template <class Exec>
  void gather(const Exec& exec, const communicator& along, part shared, const std::vector<std::int64_t>& counts,
              std::int64_t size) const {
    all_gather(exec, along, values_.part(shared.begin * size, shared.count * size), counts, size,
               collective::all_reduce);
  }
  /// The same where the ranks have equally many of all pieces.
  template <class Exec>
  void gather(const Exec& exec, const communicator& along, std::int64_t size) const {
    gather(exec, along, {0, pieces_},
           std::vector<std::int64_t>(static_cast<std::size_t>(along.size()), pieces_ / along.size()), size);
  }

  /// to (=|+=) the sum of all pieces, which are here. Local; does not wait or allocate.
  template <class Exec>
  void add(const Exec& exec, std::int64_t size, const runs<T>& to, bool accumulate = false) const {
    for_each_index("switchyard::mesh::add_pieces", exec, size,
                   detail::add_pieces_kernel<T, Space>{values_.view(), pieces_, size, to, accumulate});
  }

 private:
  std::int64_t pieces_ = 0;
  staged<Kokkos::View<T*, Space>> values_;
};

} // namespace switchyard

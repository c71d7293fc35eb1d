// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <switchyard/mesh/communicator.hpp>
#include <switchyard/mesh/illegal.hpp>
#include <switchyard/mesh/name.hpp>

namespace switchyard {

/// The extent of an axis that is known only at run time.
inline constexpr std::int64_t run_time = -1;

/// One named axis of a mesh.
template <named Name, std::int64_t Extent = run_time>
struct axis {
  static_assert(Extent == run_time || Extent >= 1, "switchyard: an axis has at least one rank");
  using id = Name;
  static constexpr std::int64_t extent = Extent;
};

/// Where part r of n things cut into p parts lies: the first n % p parts have one more.
struct part {
  std::int64_t begin = 0, count = 0;
};
constexpr part part_of(std::int64_t things, std::int64_t parts, std::int64_t which) {
  const std::int64_t each = things / parts, more = things % parts;
  return {which * each + (which < more ? which : more), each + (which < more ? 1 : 0)};
}

/// A communicator seen as an n-dimensional array of ranks with named axes, the last one varying fastest.
///
///   mesh<axis<data, 4>, axis<model, 2>> m{mpi(MPI_COMM_WORLD)};        // 8 ranks
///   mesh<axis<data>, axis<model>>       m{mpi(MPI_COMM_WORLD), {4, 2}}; // extents at run time
///   mesh<>                              m;                              // this process alone
///
/// Construction is collective; it throws communicator_error on every rank when the number of ranks does not fit.
template <class... Axis>
class mesh {
  template <class Name>
  static constexpr int times = (0 + ... + (std::is_same_v<Name, typename Axis::id> ? 1 : 0));
  static_assert((detail::lawful<times<typename Axis::id> == 1, illegal::axis_is_repeated_in_mesh<typename Axis::id>> &&
                 ...));

 public:
  static constexpr std::size_t rank = sizeof...(Axis);
  /// The extents that the types say, run_time where they leave it open.
  static constexpr std::array<std::int64_t, rank> fixed_extents{Axis::extent...};
  static constexpr std::array<std::string_view, rank> labels{Axis::id::label()...};

  mesh() requires(rank == 0) : mesh(self()) {}
  explicit mesh(const communicator& world, std::array<std::int64_t, rank> extents = fixed_extents)
      : world_(world), extents_(extents) {
    check();
    std::int64_t stride = 1;
    for (std::size_t i = rank; i-- > 0;) {
      coordinates_[i] = world_.rank() / stride % extents_[i];
      stride *= extents_[i];
    }
    stride = 1;
    along_.assign(rank, self());
    for (std::size_t i = rank; i-- > 0;) { // ranks that differ in coordinate i only
      along_[i] = world_.split(static_cast<int>(world_.rank() - coordinates_[i] * stride), labels[i]);
      stride *= extents_[i];
    }
  }

  template <named Name>
  static constexpr bool has = (std::is_same_v<Name, typename Axis::id> || ...);

  /// Position of an axis, `rank` if the mesh has no such axis.
  template <class Name>
  static constexpr std::size_t index = [] {
    std::size_t found = rank, i = 0;
    ((found = std::is_same_v<Name, typename Axis::id> ? i : found, ++i), ...);
    return found;
  }();

  std::int64_t extent(std::size_t i) const { return extents_[i]; }
  const std::array<std::int64_t, rank>& extents() const { return extents_; }
  std::int64_t coordinate(std::size_t i) const { return coordinates_[i]; }
  const std::array<std::int64_t, rank>& coordinates() const { return coordinates_; }
  /// Of so many things that axis i splits, those of this rank; all of them where i is no axis, but `rank`.
  part part_along(std::size_t i, std::int64_t things) const {
    if constexpr (rank > 0)
      if (i < rank) return part_of(things, extents_[i], coordinates_[i]);
    return {0, things};
  }
  /// The ranks along axis i through this one.
  const communicator& along(std::size_t i) const { return along_[i]; }
  const communicator& world() const { return world_; }

 private:
  void check() const {
    std::int64_t ranks = 1;
    std::string shape;
    for (std::size_t i = 0; i != rank; ++i) {
      detail::require(extents_[i] >= 1, "axis ", labels[i], " = ", extents_[i],
                      ": must be at least 1; give the run-time extents to the mesh's constructor");
      detail::require(fixed_extents[i] == run_time || fixed_extents[i] == extents_[i], "axis ", labels[i], " = ",
                      extents_[i], ": its type says ", fixed_extents[i], "; leave the extent out of one of the two");
      ranks *= extents_[i];
      shape += detail::message(i ? " x " : "", labels[i], " ", extents_[i]);
    }
    if (ranks != world_.size())
      throw communicator_error(detail::message("mesh ", rank ? shape : "<>", " needs ", ranks,
                                               ranks == 1 ? " rank" : " ranks", ", communicator has ", world_.size(),
                                               "; start that many, or change the extents"));
  }

  communicator world_;
  std::array<std::int64_t, rank> extents_;
  std::array<std::int64_t, rank> coordinates_{};
  std::vector<communicator> along_;
};

} // namespace switchyard

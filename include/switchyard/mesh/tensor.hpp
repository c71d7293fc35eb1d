// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/placements.hpp>

/// \file
/// Tensors that know from their type where they lie.
///
///   using Wi = tensor_of<float, Mesh, Rules, dims::experts, dims::d_model, dims::d_ff>;   // placed by rules
///   Wi wi{mesh, {64, 768, 3072}};                   // global extents; the local part, zero
///   wi.view()                                       // View<float***, LayoutRight>: what this rank holds

namespace switchyard {

namespace detail {
/// Base of tensors that hold partial sums: their copies would be reduced twice.
struct partial_sums_are_moved_not_copied {
  partial_sums_are_moved_not_copied() = default;
  partial_sums_are_moved_not_copied(partial_sums_are_moved_not_copied&&) = default;
  partial_sums_are_moved_not_copied& operator=(partial_sums_are_moved_not_copied&&) = default;
};
struct copied_as_handles {};

/// double*** for rank 3.
template <class T, std::size_t Rank>
struct pointers {
  using type = typename pointers<T, Rank - 1>::type*;
};
template <class T>
struct pointers<T, 0> {
  using type = T;
};

/// Are these extents what the type says, and can the mesh cut them? The same answer on every rank.
template <class Mesh, class Dimensions, class Placements>
struct extent_check;
template <class... A, class... D, class... Pl>
struct extent_check<mesh<A...>, dimensions<D...>, placements<Pl...>> {
  static void run(const std::array<std::int64_t, sizeof...(A)>& where,
                  const std::array<std::int64_t, sizeof...(D)>& extents) {
    using all = dimensions<D...>;
    constexpr std::array<bool, sizeof...(D)> uneven{may_be_uneven<typename dimension_entry<D>::id>...};
    constexpr std::array<std::string_view, sizeof...(A)> axes{A::id::label()...};
    constexpr auto laid = codes<all, placements<Pl...>>;
    for (std::size_t d = 0; d < all::rank; ++d) {
      require(extents[d] >= 0, all::labels[d], " = ", extents[d], ": must not be negative");
      require(all::fixed_extents[d] == run_time || all::fixed_extents[d] == extents[d], all::labels[d], " = ",
              extents[d], ": its type says ", all::fixed_extents[d], "; leave the extent out of one of the two");
      const std::int64_t parts = ways(laid, where, d);
      if (uneven[d] || divides(parts, extents[d])) continue;
      std::string over;
      for (std::size_t a = 0; a < laid.size(); ++a)
        if (laid[a] == static_cast<int>(d))
          over += message(over.empty() ? "" : " and ", axes[a], " of size ", where[a]);
      require(false, all::labels[d], " = ", extents[d], ": cannot be split over axis ", over, " (remainder ",
              extents[d] % parts, "); make it a multiple of ", parts, " or change the mesh");
    }
  }
};
} // namespace detail

/// A tensor on a mesh: global extents, and the part of it that this rank holds, in a LayoutRight view of Space. A
/// handle like a view: copies share the values; one that holds partial sums is move-only. Local extents follow from the
/// type: part r of each split dimension (part_of), for two axes the inner one cuts what the outer one left.
template <storage_type T, class Mesh, class Dimensions, class Placements,
          class Space = Kokkos::DefaultExecutionSpace::memory_space>
class [[nodiscard]] tensor : private std::conditional_t<Placements::partial, detail::partial_sums_are_moved_not_copied,
                                                        detail::copied_as_handles> {
  static_assert(detail::tensor_rules<Mesh, Dimensions, Placements>::ok);

 public:
  using value_type = T;
  using mesh_type = Mesh;
  using dimensions_type = Dimensions;
  using placements_type = Placements;
  using space = Space;
  static constexpr std::size_t rank = Dimensions::rank;
  static constexpr bool partial = Placements::partial;
  using shape = std::array<std::int64_t, rank>;
  using view_type = Kokkos::View<typename detail::pointers<T, rank>::type, Kokkos::LayoutRight, Space>;
  using flat_view = Kokkos::View<T*, Space>;

  /// Allocates the local part, filled with zero. Communicates nothing. Throws invalid_argument, on every rank alike,
  /// for extents that the mesh cannot cut.
  tensor(const Mesh& where, const shape& extents) : mesh_(where), extents_(extents) {
    detail::extent_check<Mesh, Dimensions, Placements>::run(mesh_.extents(), extents_);
    view_ = allocate(std::make_index_sequence<rank>());
    flat_ = flat_view(view_.data(), view_.size());
  }
  /// The local part is `local`, which must have the local extents. Collective: where it does not fit on one rank, all
  /// throw.
  tensor(const Mesh& where, const shape& extents, const view_type& local) : mesh_(where), extents_(extents) {
    detail::extent_check<Mesh, Dimensions, Placements>::run(mesh_.extents(), extents_);
    const shape expected = local_extents();
    std::string complaint;
    for (std::size_t d = 0; d < rank && complaint.empty(); ++d)
      if (static_cast<std::int64_t>(local.extent(d)) != expected[d])
        complaint =
            detail::message("view.extent(", d, ") = ", local.extent(d), ": this rank holds ", expected[d], " of the ",
                            extents_[d], ' ', Dimensions::labels[d], "; give it a view of that extent");
    if (complaint.empty() && !local.span_is_contiguous())
      complaint = "view: its values must lie in a row, without gaps; Kokkos::deep_copy it into one of its own";
    agree(mesh_.world(), complaint);
    view_ = local;
    flat_ = flat_view(view_.data(), view_.size());
  }

  const Mesh& on_mesh() const { return mesh_; }
  const shape& extents() const { return extents_; } ///< global

  /// What this rank holds of a dimension.
  part here(std::size_t which) const {
    return detail::part_at(detail::codes<Dimensions, Placements>, mesh_.extents(), mesh_.coordinates(), which,
                           extents_[which]);
  }
  template <named Dimension>
  part here() const {
    static_assert(Dimensions::template has<Dimension>, "switchyard: the tensor has no such dimension");
    return here(Dimensions::template index<Dimension>);
  }
  shape local_extents() const {
    shape local;
    for (std::size_t d = 0; d < rank; ++d) local[d] = here(d).count;
    return local;
  }

  const view_type& view() const { return view_; } ///< the local part
  const flat_view& flat() const { return flat_; } ///< the same values in a row; valid as long as a view of them is

 private:
  template <std::size_t... I>
  view_type allocate(std::index_sequence<I...>) const {
    [[maybe_unused]] const shape local = local_extents();
    return view_type("switchyard::tensor", static_cast<std::size_t>(local[I])...);
  }

  Mesh mesh_;
  shape extents_;
  view_type view_;
  flat_view flat_; // the same memory, unmanaged
};

namespace detail {
template <class T>
inline constexpr bool is_tensor = false;
template <class T, class M, class D, class Pl, class Space>
inline constexpr bool is_tensor<tensor<T, M, D, Pl, Space>> = true;

template <class Tensor, class Placements>
using replaced = tensor<typename Tensor::value_type, typename Tensor::mesh_type, typename Tensor::dimensions_type,
                        Placements, typename Tensor::space>;

template <class Placements>
struct gradient_placements;
template <class... Pl>
struct gradient_placements<placements<Pl...>> {
  using type = placements<std::conditional_t<std::is_same_v<Pl, P>, R, Pl>...>;
};
} // namespace detail

template <class T>
concept placed_tensor = detail::is_tensor<std::remove_cvref_t<T>>;

/// A tensor placed by rules: on each axis the first rule whose dimension it has decides.
template <storage_type T, class Mesh, class Rules, class... D>
using tensor_of = tensor<T, Mesh, dimensions<D...>, placed_by<Mesh, Rules, D...>>;

/// The same, in a memory space.
template <class Space, storage_type T, class Mesh, class Rules, class... D>
using tensor_in = tensor<T, Mesh, dimensions<D...>, placed_by<Mesh, Rules, D...>, Space>;

/// The type of the gradient of a tensor: placed as it is. The gradient of partial sums is replicated, since every
/// rank's term enters the sum with factor one.
template <placed_tensor Tensor>
using grad_of = detail::replaced<Tensor, typename detail::gradient_placements<typename Tensor::placements_type>::type>;

} // namespace switchyard

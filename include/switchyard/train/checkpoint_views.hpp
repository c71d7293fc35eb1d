// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <switchyard/core/error.hpp>
#include <switchyard/io/dtype.hpp>
#include <switchyard/train/checkpoint_types.hpp>
#include <type_traits>
#include <utility>
#include <vector>

/// \file
/// Slices of Kokkos views. Those that the host can read are saved and loaded where they are, others by way of a mirror.

namespace switchyard::train {

/// Views that are saved and loaded together. Holds them, and the mirrors of those that the host cannot read.
///
///   views_to_save views;
///   views.add("decoder.0.ffn.wi", {experts, m, f}, {first_expert, 0, 0}, wi);   // this rank's experts
///   views.to_host();
///   save_checkpoint(comm, folder, step, views.slices(), state);
///   ...
///   load_checkpoint(comm, path, views.slices());
///   views.from_host();
class views_to_save {
 public:
  /// A view of this rank's box of the tensor `name` of that global shape: the box begins at `offset` and has the
  /// extents of the view. LayoutRight, without gaps. Throws invalid_argument where it has gaps or ranks differ.
  template <class View>
  void add(std::string name, std::vector<std::int64_t> shape, std::vector<std::int64_t> offset, const View& view,
           bool owned = true) {
    using T = typename View::non_const_value_type;
    static_assert(io::element<T>, "switchyard: a checkpoint stores bool, integers, half, bfloat16, float and double");
    static_assert(std::is_same_v<typename View::array_layout, Kokkos::LayoutRight> || View::rank() <= 1,
                  "switchyard: a slice is row-major; copy the view into one of LayoutRight");
    switchyard::detail::require(view.span_is_contiguous() && shape.size() == View::rank(), "view of \"", name,
                                "\": rank ", View::rank(), ", must be without gaps and of the rank of its tensor, ",
                                shape.size(), "; copy it into one that is");
    std::vector<std::int64_t> extent;
    for (std::size_t d = 0; d < View::rank(); ++d) extent.push_back(static_cast<std::int64_t>(view.extent(d)));
    const auto host = Kokkos::create_mirror_view(view); // the view itself where the host can read it
    if (host.data() != view.data()) {
      to_host_.push_back([host, view] { Kokkos::deep_copy(host, view); });
      from_host_.push_back([host, view] { Kokkos::deep_copy(view, host); });
    }
    keep_.push_back([view, host] {}); // what slices look at must stay
    slices_.push_back(make_slice(std::move(name), std::move(shape), std::move(offset), std::move(extent),
                                 std::span<T>(host.data(), host.size()), owned));
  }

  /// All of a tensor.
  template <class View>
  void add(std::string name, const View& view, bool owned = true) {
    std::vector<std::int64_t> shape;
    for (std::size_t d = 0; d < View::rank(); ++d) shape.push_back(static_cast<std::int64_t>(view.extent(d)));
    add(std::move(name), shape, std::vector<std::int64_t>(shape.size(), 0), view, owned);
  }

  /// In the order of add. Valid as long as this object, or a copy of it, lives.
  const std::vector<tensor_slice>& slices() const { return slices_; }

  /// Before a save: waits for what computes the views, and fills the mirrors.
  void to_host() const {
    Kokkos::fence("switchyard::train::views_to_save: views are read");
    for (const auto& copy : to_host_) copy();
  }

  /// After a load: fills the views from the mirrors.
  void from_host() const {
    for (const auto& copy : from_host_) copy();
    Kokkos::fence("switchyard::train::views_to_save: views are filled");
  }

 private:
  std::vector<tensor_slice> slices_;
  std::vector<std::function<void()>> to_host_, from_host_, keep_;
};

} // namespace switchyard::train

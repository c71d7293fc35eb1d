// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/mesh/communicator.hpp>

/// \file
/// Between the memory of a view and what a transport can read: the one place that stages.

namespace switchyard {

/// Host memory that a device copies from and to at full speed, and behind the host's back; plain host memory where
/// there is no device.
#ifdef KOKKOS_HAS_SHARED_HOST_PINNED_SPACE
using staging_space = Kokkos::SharedHostPinnedSpace;
#else
using staging_space = Kokkos::HostSpace;
#endif

/// What a view in such a memory space lies in, as a transport sees it.
template <class Space>
inline constexpr buffer_memory buffer_memory_of =
    Kokkos::SpaceAccessibility<Kokkos::HostSpace, Space>::accessible ? buffer_memory::host : buffer_memory::device;

/// A view and the memory that an exchange reads and writes for it: the view's own where the communicator takes that,
/// else a twin in pinned host memory, allocated once, with this. Copies are made in the order of exec, of what travels
/// and of nothing else. A handle: copies share both.
template <class View>
class staged {
  using value = typename View::non_const_value_type;

 public:
  static constexpr buffer_memory memory = buffer_memory_of<typename View::memory_space>;

  staged() = default;
  /// The host reads and writes wire() too: a twin wherever it cannot reach the view. Allocates that.
  explicit staged(const View& view) : staged(view, memory == buffer_memory::host) {}
  /// For exchanges over comm, and over what was split from it: a twin only where comm does not take the view's memory.
  staged(const View& view, const communicator& comm) : staged(view, comm.takes(memory)) {}

  const View& view() const { return view_; }
  bool has_twin() const { return has_twin_; }
  /// What an exchange reads and writes.
  value* wire() const { return has_twin_ ? twin_.data() : view_.data(); }
  /// The same for an exchange over comm. Throws invalid_argument where comm cannot read it.
  value* wire(const communicator& comm) const {
    if constexpr (memory == buffer_memory::device)
      detail::require(has_twin_ || comm.takes(memory),
                      "staged: made for a communicator that takes device memory; this one does not: make it with this "
                      "one, staged(view, comm)");
    return wire();
  }

  /// Elements [begin, begin + count) go where the exchange reads them, when exec gets there: fence it before.
  template <class Exec>
  void leave(const Exec& exec, std::int64_t begin, std::int64_t count) const {
    if (has_twin_ && count > 0) Kokkos::deep_copy(exec, some_of(twin_, begin, count), some_of(view_, begin, count));
  }
  /// Elements [begin, begin + count) come to the view, when exec gets there. Until then, nothing may arrive on the
  /// wire: every exchange waits for its exec first.
  template <class Exec>
  void arrive(const Exec& exec, std::int64_t begin, std::int64_t count) const {
    if (has_twin_ && count > 0) Kokkos::deep_copy(exec, some_of(view_, begin, count), some_of(twin_, begin, count));
  }

  /// Elements [begin, begin + count) of a row of values and of its twin, sharing their memory. Allocates nothing.
  staged part(std::int64_t begin, std::int64_t count) const requires(View::rank == 1) {
    const std::pair range(static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + count));
    staged some;
    some.view_ = Kokkos::subview(view_, range);
    some.has_twin_ = has_twin_;
    if (has_twin_) some.twin_ = Kokkos::subview(twin_, range);
    return some;
  }

 private:
  using twin = Kokkos::View<value*, staging_space>;

  staged(const View& view, bool direct) : view_(view), has_twin_(!direct) {
    if (has_twin_)
      twin_ = twin(Kokkos::view_alloc(view.label() + ", staged", Kokkos::WithoutInitializing), view.size());
  }

  template <class Any>
  static auto some_of(const Any& all, std::int64_t begin, std::int64_t count) {
    return Kokkos::View<value*, typename Any::memory_space, Kokkos::MemoryUnmanaged>(all.data() + begin,
                                                                                     static_cast<std::size_t>(count));
  }

  View view_;
  twin twin_;
  bool has_twin_ = false;
};

} // namespace switchyard

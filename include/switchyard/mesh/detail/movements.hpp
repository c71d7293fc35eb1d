// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstring>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/plan.hpp>

/// \file
/// The movements of a plan, as work on flat arrays: one instantiation per value type and space, however many meshes.

namespace switchyard::detail {

/// An array [outer, n, inner] against the same values with its middle dimension cut into `parts` and stored part by
/// part, as they travel: packs towards `cut`, or unpacks from it. What one part has of one outer index lies in a row on
/// both sides.
template <class T, class Space, bool Pack>
struct cut_kernel {
  static constexpr int block = std::is_same_v<Space, Kokkos::HostSpace> ? 4096 : 1; // elements that one call moves
  std::int64_t n, inner, outer, parts;
  Kokkos::View<T*, Space> whole, cut;

  KOKKOS_FUNCTION std::int64_t blocks() const { return ((n + parts - 1) / parts * inner + block - 1) / block; }
  std::int64_t calls() const { return outer * parts * blocks(); }
  KOKKOS_FUNCTION void operator()(std::int64_t call) const {
    const std::int64_t b = call % blocks(), p = call / blocks() % parts, o = call / blocks() / parts;
    const std::int64_t each = n / parts, more = n % parts, size = each + (p < more ? 1 : 0); // as part_of
    const std::int64_t begin = p * each + (p < more ? p : more), first = b * block;
    const std::int64_t left = size * inner - first;
    if (left <= 0) return;
    T* const here = whole.data() + ((o * n + begin) * inner + first);
    T* const there = cut.data() + (outer * begin * inner + o * size * inner + first);
    copy(Pack ? here : there, left < block ? left : block, Pack ? there : here);
  }

 private:
  KOKKOS_FUNCTION static void copy(const T* from, std::int64_t count, T* to) {
    KOKKOS_IF_ON_HOST((std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));))
    KOKKOS_IF_ON_DEVICE((for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];))
  }
};

/// out [outer, count, inner] = entries begin ... of the middle dimension of whole [outer, n, inner].
template <class T, class Space>
struct slice_kernel {
  std::int64_t n, inner, begin, count;
  Kokkos::View<const T*, Space> whole;
  Kokkos::View<T*, Space> out;
  KOKKOS_FUNCTION void operator()(std::int64_t i) const {
    const std::int64_t j = i % inner, k = i / inner % count, o = i / inner / count;
    out(i) = whole((o * n + begin + k) * inner + j);
  }
};

/// An array seen around one of its dimensions.
struct around {
  std::int64_t outer = 1, n = 1, inner = 1;
  std::int64_t size() const { return outer * n * inner; }
};
inline around look_around(const std::vector<std::int64_t>& extents, int which) {
  around a;
  for (int d = 0; d < static_cast<int>(extents.size()); ++d)
    (d < which ? a.outer : d == which ? a.n : a.inner) *= extents[static_cast<std::size_t>(d)];
  return a;
}

/// One step with everything it needs to run. Local extents before and after it are those of this rank.
template <class T, class Space>
class movement_runner {
 public:
  using flat = Kokkos::View<T*, Space>;

  /// Collective only in that every rank makes one. Allocates what travels.
  movement_runner(const reshard_step& what, const communicator& along, const std::vector<std::int64_t>& before,
                  const std::vector<std::int64_t>& after)
      : what_(what), along_(along), in_(look_around(before, what.cut)), out_(look_around(after, what.joined)) {
    const auto ranks = static_cast<std::size_t>(along.size());
    std::int64_t send = 0, receive = 0;
    send_.assign(ranks, 0);
    receive_.assign(ranks, 0);
    const std::int64_t around_cut = in_.outer * in_.inner, around_joined = out_.outer * out_.inner;
    for (std::size_t r = 0; r < ranks; ++r) {
      const auto p = static_cast<std::int64_t>(ranks), q = static_cast<std::int64_t>(r);
      const std::int64_t cut = around_cut * part_of(in_.n, p, q).count;
      const std::int64_t joined = around_joined * part_of(out_.n, p, q).count;
      switch (what.kind) {
      case movement::reduce_scatter:
        send_[r] = cut;
        break;
      case movement::all_to_all:
        send_[r] = cut, receive_[r] = joined;
        break;
      case movement::all_gather:
        receive_[r] = joined;
        break;
      default:
        break;
      }
      send += send_[r];
      receive += receive_[r];
    }
    if (what.kind == movement::reduce_scatter) receive = out_.size() * along.size(); // everybody's term of my part
    if (what.kind == movement::all_reduce) send = in_.size(), receive = send + along.size();
    const auto buffer = [&](std::int64_t n) {
      return staged<flat>(flat("switchyard::mesh::reshard", static_cast<std::size_t>(n)), along);
    };
    outgoing_ = buffer(send);
    incoming_ = buffer(receive);
  }

  std::int64_t size_after() const { return out_.size(); }

  bool communicates() const { return what_.kind != movement::none && what_.kind != movement::slice; }

  template <class Exec>
  void run(const Exec& exec, const flat& in, const flat& out) const {
    prepare(exec, in);
    switch (what_.kind) {
    case movement::none:
      break;
    case movement::slice: {
      const part mine = part_of(in_.n, along_.size(), along_.rank());
      each("switchyard::mesh::slice", exec, out_.size(),
           slice_kernel<T, Space>{in_.n, in_.inner, mine.begin, mine.count, in, out});
      break;
    }
    case movement::reduce_scatter:
      return reduce_scatter_sum(exec, along_, outgoing_, send_, incoming_, out);
    case movement::all_to_all:
      all_to_all(exec, along_, outgoing_, send_, incoming_, receive_, 1);
      break;
    case movement::all_reduce:
      all_reduce_sum(exec, along_, outgoing_, incoming_);
      break;
    case movement::all_gather:
      all_gather(exec, along_, incoming_, receive_, 1);
      break;
    }
    finish(exec, out);
  }

  /// run() in two halves, of a movement that communicates: afterwards `in` is free, and after wait() on what this
  /// returns, finish() makes `out`. Of an all-reduce the first exchange is over then, and the second is under way.
  template <class Exec>
  started<flat> start(const Exec& exec, const flat& in) const {
    prepare(exec, in);
    switch (what_.kind) {
    case movement::reduce_scatter: {
      const parts_exchange parts(along_, send_);
      return start_all_to_all(exec, along_, outgoing_, parts.out, incoming_, parts.in, 1, collective::reduce_scatter);
    }
    case movement::all_reduce: {
      const std::vector<std::int64_t> counts = sum_own_part(exec, along_, outgoing_, incoming_);
      return start_all_gather(exec, along_, outgoing_, counts, 1, collective::all_reduce);
    }
    case movement::all_gather:
      return start_all_gather(exec, along_, incoming_, receive_, 1);
    default:
      return start_all_to_all(exec, along_, outgoing_, send_, incoming_, receive_, 1);
    }
  }

  template <class Exec>
  void finish(const Exec& exec, const flat& out) const {
    switch (what_.kind) {
    case movement::none:
    case movement::slice:
      break;
    case movement::reduce_scatter:
      add_arrived(exec, along_, outgoing_, send_, incoming_, parts_exchange(along_, send_), out, 0);
      break;
    case movement::all_reduce:
      Kokkos::deep_copy(exec, out, outgoing_.view());
      break;
    case movement::all_to_all:
    case movement::all_gather:
      unpack(exec, out);
      break;
    }
  }

 private:
  template <class Exec, class Kernel>
  static void each(const char* name, const Exec& exec, std::int64_t n, const Kernel& kernel) {
    for_each_index(name, exec, n, kernel);
  }
  /// Where the exchange reads it.
  template <class Exec>
  void prepare(const Exec& exec, const flat& in) const {
    switch (what_.kind) {
    case movement::none:
    case movement::slice:
      break;
    case movement::reduce_scatter:
    case movement::all_to_all:
      pack(exec, in);
      break;
    case movement::all_reduce:
      Kokkos::deep_copy(exec, outgoing_.view(), in);
      break;
    case movement::all_gather: {
      const auto first = static_cast<std::size_t>(first_unit(receive_, nullptr, along_.rank()));
      Kokkos::deep_copy(exec, Kokkos::subview(incoming_.view(), std::pair(first, first + in.size())), in);
      break;
    }
    }
  }
  template <class Exec>
  void pack(const Exec& exec, const flat& in) const {
    const cut_kernel<T, Space, true> kernel{in_.n, in_.inner, in_.outer, along_.size(), in, outgoing_.view()};
    each("switchyard::mesh::pack", exec, kernel.calls(), kernel);
  }
  template <class Exec>
  void unpack(const Exec& exec, const flat& out) const {
    const cut_kernel<T, Space, false> kernel{out_.n, out_.inner, out_.outer, along_.size(), out, incoming_.view()};
    each("switchyard::mesh::unpack", exec, kernel.calls(), kernel);
  }

  reshard_step what_;
  communicator along_;
  around in_, out_; // before, around the dimension that is cut; after, around the one that is joined
  std::vector<std::int64_t> send_, receive_;
  staged<flat> outgoing_, incoming_;
};

} // namespace switchyard::detail

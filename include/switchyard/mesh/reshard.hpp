// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <optional>
#include <switchyard/mesh/detail/movements.hpp>

/// \file
/// The only thing in the algebra that communicates. plan.hpp has the table.

namespace switchyard {

/// A reshard with its buffers: made once, run often, without allocation.
template <placed_tensor From, placed_tensor To>
class resharder {
  static_assert(std::is_same_v<resharded<From, To>, To>);

 public:
  /// Every rank makes one. Allocates. Throws invalid_argument, on every rank alike, for extents that the mesh cannot
  /// cut.
  resharder(const typename From::mesh_type& where, const typename From::shape& extents) {
    using dims = typename From::dimensions_type;
    detail::extent_check<typename From::mesh_type, dims, typename From::placements_type>::run(where.extents(), extents);
    detail::extent_check<typename To::mesh_type, dims, typename To::placements_type>::run(where.extents(), extents);
    auto now = detail::codes<dims, typename From::placements_type>;
    constexpr auto to = detail::codes<dims, typename To::placements_type>;
    const auto local = [&] {
      std::vector<std::int64_t> result;
      for (std::size_t d = 0; d < From::rank; ++d)
        result.push_back(detail::part_at(now, where.extents(), where.coordinates(), d, extents[d]).count);
      return result;
    };
    constexpr auto steps = plan_of<From, To>;
    for (std::size_t i = 0; i < steps.count; ++i) {
      const auto axis = static_cast<std::size_t>(steps.steps[i].axis);
      const std::vector<std::int64_t> before = local();
      now[axis] = to[axis];
      runners_.emplace_back(steps.steps[i], where.along(axis), before, local());
      if (i + 1 < steps.count)
        between_.emplace_back("switchyard::mesh::reshard", static_cast<std::size_t>(runners_.back().size_after()));
    }
  }

  /// to = from, elsewhere. Collective along the axes that change; waits for exec; allocates nothing; the same bytes on
  /// every run. Sums are in float for 16-bit types, which travel as such, in the order of the ranks.
  template <class Exec>
  void operator()(const Exec& exec, const From& from, const To& to) const {
    if (runners_.empty()) Kokkos::deep_copy(exec, to.flat(), from.flat());
    for (std::size_t i = 0; i < runners_.size(); ++i) run(i, exec, from, to);
  }

  /// The same in two halves, with the last movement that communicates under way between them; all before it are over
  /// when start returns. Collective as the whole; `from` is free then. Nothing to wait for where nothing communicates.
  /// One at a time: the buffers are in use until finish.
  template <class Exec>
  std::optional<started<typename From::flat_view>> start(const Exec& exec, const From& from, const To& to) const {
    const std::size_t last = last_exchange();
    if (last == runners_.size()) {
      (*this)(exec, from, to);
      return std::nullopt;
    }
    for (std::size_t i = 0; i < last; ++i) run(i, exec, from, to);
    return runners_[last].start(exec, last == 0 ? from.flat() : between_[last - 1]);
  }
  /// After wait() on what start returned. Local.
  template <class Exec>
  void finish(const Exec& exec, const To& to) const {
    const std::size_t last = last_exchange();
    if (last == runners_.size()) return;
    runners_[last].finish(exec, after(last, to));
    for (std::size_t i = last + 1; i < runners_.size(); ++i) runners_[i].run(exec, between_[i - 1], after(i, to));
  }

 private:
  const typename From::flat_view& after(std::size_t i, const To& to) const {
    return i + 1 == runners_.size() ? to.flat() : between_[i];
  }
  template <class Exec>
  void run(std::size_t i, const Exec& exec, const From& from, const To& to) const {
    runners_[i].run(exec, i == 0 ? from.flat() : between_[i - 1], after(i, to));
  }
  std::size_t last_exchange() const {
    for (std::size_t i = runners_.size(); i-- > 0;)
      if (runners_[i].communicates()) return i;
    return runners_.size();
  }

  std::vector<detail::movement_runner<typename From::value_type, typename From::space>> runners_;
  std::vector<typename From::flat_view> between_;
};

/// x, placed as To says: placements<...>, or a tensor type that differs from x's in nothing else. Where that is x's own
/// placement, x itself. Partial sums are handed over with std::move: they are reduced once. Collective along the axes
/// that change; waits for exec; allocates; the same bytes on every run.
template <class To, class Exec, placed_tensor X>
auto reshard(const Exec& exec, X&& x) {
  using from = std::remove_cvref_t<X>;
  using to = resharded<from, To>;
  constexpr bool once = !from::partial || !std::is_lvalue_reference_v<X>;
  static_assert(detail::lawful<once, illegal::partial_sums_are_used_twice<from>>);
  if constexpr (std::is_same_v<from, to> && once) {
    return to(std::forward<X>(x));
  } else {
    const resharder<from, to> move(x.on_mesh(), x.extents());
    to result(x.on_mesh(), x.extents());
    move(exec, x, result);
    return result;
  }
}

/// A reshard under way: std::move(handle).wait(exec), once, is the tensor. Move-only. One that is dropped says so on
/// stderr, keeps its buffers until the program ends, and makes no collective call.
template <placed_tensor From, placed_tensor To>
class [[nodiscard]] started_reshard {
 public:
  /// As reshard.
  template <class Exec>
  started_reshard(const Exec& exec, const From& x)
      : move_(x.on_mesh(), x.extents()), result_(x.on_mesh(), x.extents()), exchange_(move_.start(exec, x, result_)) {}

  /// Local. Polling it between two pieces of work lets the transport progress.
  bool ready() { return !exchange_ || exchange_->ready(); }
  /// Local; waits for what this rank sends and receives, not for exec.
  template <class Exec>
  To wait(const Exec& exec) && {
    if (exchange_) exchange_->wait(exec);
    move_.finish(exec, result_);
    return std::move(result_);
  }

 private:
  resharder<From, To> move_;
  To result_;
  std::optional<started<typename From::flat_view>> exchange_;
};

/// As reshard, but returns when the last exchange is under way: an all-reduce's second one. Collective, as reshard:
/// every rank starts the same in the same order, and waits in any. x may be overwritten as soon as it returns.
/// Allocates; waits for exec; the same bytes as reshard.
template <class To, class Exec, placed_tensor X>
auto start_reshard(const Exec& exec, X&& x) {
  using from = std::remove_cvref_t<X>;
  constexpr bool once = !from::partial || !std::is_lvalue_reference_v<X>;
  static_assert(detail::lawful<once, illegal::partial_sums_are_used_twice<from>>);
  return started_reshard<from, resharded<from, To>>(exec, x);
}

/// dy, where dy is the gradient of reshard<To>(exec, x), as the gradient of x, of type From: the transposed movement.
///
///   slice <-> all_gather      all_to_all <-> all_to_all      reduce_scatter -> all_gather      all_reduce -> none
///
/// On an axis where dy is P (every rank's consumer of a replicated value gives a term), the transpose of all_gather is
/// reduce_scatter and a replicated x has an all_reduce. Collective as reshard; allocates.
template <placed_tensor From, class Exec, placed_tensor G>
auto reshard_backward(const Exec& exec, G&& dy) {
  return reshard<typename grad_of<From>::placements_type>(exec, std::forward<G>(dy));
}

/// dw as the gradient of a W: what the mesh still owes is paid, the type is grad_of<W> but for dw's own value type.
/// A gradient that has not been here is not one. Collective along the axes where something is owed; allocates.
template <placed_tensor W, class Exec, placed_tensor G>
auto gradient_of(const Exec& exec, G&& dw) {
  using given = std::remove_cvref_t<G>;
  constexpr bool fits = std::is_same_v<typename W::mesh_type, typename given::mesh_type> &&
                        std::is_same_v<typename W::dimensions_type, typename given::dimensions_type> &&
                        std::is_same_v<typename W::space, typename given::space>;
  static_assert(detail::lawful<fits, illegal::not_a_gradient_of<W, given>>);
  if constexpr (fits) return reshard<typename grad_of<W>::placements_type>(exec, std::forward<G>(dw));
}

} // namespace switchyard

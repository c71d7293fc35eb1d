// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cmath>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/communicator.hpp>
#include <switchyard/model/parameters.hpp>
#include <switchyard/train/detail/fill_over_ranks.hpp>
#include <switchyard/train/detail/optimizer_kernels.hpp>

/// \file
/// Clipping by the norm of all gradients together:  g <- g min(1, limit / |g|),  |g|^2 = sum over all parameters.
///
/// Every parameter counts once, wherever and how often it lies on ranks. The squares of each matrix (of each expert, of
/// a stack) are one number, which its owner puts in its global place and hands to all others; the list is then summed
/// in one order on every rank, so that splitting experts and batches changes no bit. Of a matrix that ranks share each
/// part is a number of its own.

namespace switchyard::train {

/// Which part of a parameter is here, for the norm.
struct parameter_place {
  bool owned = true;       ///< this rank counts it: of equal copies, exactly one does
  std::int64_t first = 0;  ///< global number of the first matrix of the stack here
  std::int64_t whole = -1; ///< matrices in the whole stack; -1: as many as are here
  std::int64_t share = 0;  ///< number of the part of each matrix that is here
  std::int64_t shares = 1; ///< parts of each matrix
};

/// What is known of the gradients of a step.
struct gradient_norm {
  double norm = 0;
  double scale = 1;   ///< what gradients are to be multiplied with
  bool finite = true; ///< no NaN, no infinity, and squares that a double can sum
};

/// The norm of a set of gradients, with the memory to compute it.
template <class Exec, class Gradients>
class norm_of_gradients {
 public:
  using space = typename Exec::memory_space;

  /// place(name, view) -> parameter_place says what of each parameter is here. Allocates.
  template <class Place>
  norm_of_gradients(const Gradients& shapes, const Place& place) {
    std::int64_t blocks = 0;
    for_each_parameter(
        [&](const std::string& name, const auto& view) {
          const detail::matrices m = detail::matrices_of(view);
          const parameter_place p = place(name, view);
          const std::int64_t each = m.rows * m.columns, in_each = (each + element_block - 1) / element_block;
          const std::int64_t whole = p.whole < 0 ? m.count : p.whole;
          here_.push_back({m.count, each, in_each, blocks, numbers_ + p.first * p.shares + p.share, p.shares, p.owned});
          numbers_ += whole * p.shares;
          blocks += m.count * in_each;
        },
        shapes);
    sums_ = decltype(sums_)("switchyard::train::squares", static_cast<std::size_t>(blocks));
    host_ = Kokkos::create_mirror_view(sums_);
    list_.resize(static_cast<std::size_t>(numbers_));
  }
  explicit norm_of_gradients(const Gradients& shapes)
      : norm_of_gradients(shapes, [](const std::string&, const auto&) { return parameter_place{}; }) {}

  /// limit: largest norm, 0 for none. scale and finite follow from the norm alone, so all ranks decide alike.
  /// Collective over comm, one all-gather (none for one rank); waits for exec; allocates no view; deterministic.
  gradient_norm operator()(const Exec& exec, const communicator& comm, const Gradients& gradients, double limit) {
    std::size_t at = 0;
    for_each_parameter(
        [&](const std::string&, const auto& g) {
          const entry& p = here_[at++];
          using kernel = detail::squares_kernel<typename std::decay_t<decltype(g)>::non_const_value_type>;
          for_each_index("switchyard::train::squares", exec, p.count * p.blocks,
                         kernel{g.data(), p.each, p.blocks, sums_.data() + p.begin});
        },
        gradients);
    Kokkos::deep_copy(exec, host_, sums_);
    exec.fence("switchyard: the norm of the gradients decides whether there is an update");

    std::fill(list_.begin(), list_.end(), 0.0);
    for (const entry& p : here_)
      for (std::int64_t m = 0; p.owned && m < p.count; ++m)
        for (std::int64_t b = 0; b < p.blocks; ++b)
          list_[static_cast<std::size_t>(p.number + m * p.stride)] +=
              host_(static_cast<std::size_t>(p.begin + m * p.blocks + b));
    detail::fill_over_ranks(comm, list_.data(), list_.size(), all_);
    double squares = 0;
    for (const double square : list_) squares += square;

    gradient_norm result;
    result.norm = std::sqrt(squares);
    result.finite = std::isfinite(squares);
    if (!result.finite)
      result.scale = 0;
    else if (limit > 0 && result.norm > limit)
      result.scale = limit / result.norm;
    return result;
  }

 private:
  static constexpr std::int64_t element_block = detail::element_block;
  struct entry {
    std::int64_t count, each, blocks; // matrices, their elements, and blocks of these
    std::int64_t begin, number;       // in sums_, in list_
    std::int64_t stride;              // from one matrix to the next in list_
    bool owned;
  };

  std::vector<entry> here_;
  std::int64_t numbers_ = 0; // matrices, or parts of them, of all parameters
  model::vector<double, space> sums_;
  typename model::vector<double, space>::host_mirror_type host_;
  std::vector<double> list_, all_;
};

} // namespace switchyard::train

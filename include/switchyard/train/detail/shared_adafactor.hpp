// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <map>
#include <string>
#include <switchyard/core/for_each_index.hpp>
#include <switchyard/mesh/collectives.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/model/parameters.hpp>
#include <switchyard/train/detail/shared_adafactor_kernels.hpp>

/// \file
/// Adafactor on matrices whose rows or columns several ranks share. What it needs of a whole matrix [R, C] are sums:
///
///   columns shared    row_i: sum over all j of g_ij^2            column_j and mean(row) are local
///   rows shared       column_j: sum over all i, and of mean(row) sum over all i of row_i
///   both              of RMS(u) and RMS(w), sums of squares
///
/// So an update is three passes over the parameters, with two sums over the ranks of an axis between them: of the
/// factors of all its matrices, then of their squares. The result is that of one process, to the rounding of a sum in
/// another order; factors that ranks have in common have the same bytes on each.

namespace switchyard::train::detail {

/// No matrix is shared.
struct whole_matrices {
  static constexpr bool any = false;
  static constexpr int passes() { return 1; }
};

/// What an update is multiplied with.
struct adafactor_step {
  double rate, clip, epsilon2, beta1, decay;
  bool parameter_scale;
};

/// The matrices that ranks share, and the sums over these ranks. Parameters are known by their number in
/// for_each_parameter's order.
template <class Exec, class Real>
class shared_adafactor {
 public:
  static constexpr bool any = true;
  using space = typename Exec::memory_space;

  /// For a set of the model's parameters. Allocates.
  template <class Model, class Set>
  shared_adafactor(const Model& model, const Set& set) : world_(model.mesh().world()) {
    std::map<int, std::size_t> axes; // number of the mesh's axis -> place in axes_
    std::vector<std::array<std::int64_t, 2>> sizes;
    std::int64_t count = 0, columns = 0, rows = 0; // matrices, their columns, and the most rows of a parameter
    model.for_each_parameter_slice(
        [&](const std::string&, const parameter_slice& slice, const auto& view) {
          entry e;
          const auto axis = static_cast<std::size_t>(slice.split_axis);
          if (slice.split_axis >= 0 && model.mesh().extent(axis) > 1) {
            const auto [at, is_new] = axes.try_emplace(slice.split_axis, axes.size());
            if (is_new) {
              axes_.push_back({model.mesh().along(axis), {}, {}, {}});
              sizes.push_back({0, 0});
            }
            const std::size_t d = slice.shape.size();
            const matrices here = matrices_of(view);
            e.axis = static_cast<int>(at->second);
            e.rows = slice.shape[d - 2];
            e.columns = slice.shape[d - 1];
            e.by_rows = slice.extent[d - 2] != e.rows;
            auto& [factors, squares] = sizes[at->second];
            e.factors = factors;
            e.squares = squares;
            e.matrix = count;
            e.column = columns;
            factors += e.by_rows ? here.count * (here.columns + 1) : here.row_count();
            squares += 2 * here.count;
            count += here.count;
            columns += here.count * here.columns;
            rows = std::max(rows, here.row_count());
          }
          entries_.push_back(e);
        },
        set);
    for (std::size_t i = 0; i < axes_.size(); ++i) {
      const std::int64_t scratch = std::max(sizes[i][0], sizes[i][1]) + axes_[i].along.size();
      axes_[i].factors = memory(sizes[i][0], axes_[i].along);
      axes_[i].squares = memory(sizes[i][1], axes_[i].along);
      axes_[i].scratch = memory(scratch, axes_[i].along);
    }
    mean_ = decltype(mean_)("switchyard::train::shared_mean", static_cast<std::size_t>(count));
    step_ = decltype(step_)("switchyard::train::shared_step", static_cast<std::size_t>(count));
    inverse_ = decltype(inverse_)("switchyard::train::shared_inverse", static_cast<std::size_t>(columns));
    sums_ = decltype(sums_)("switchyard::train::shared_sums", static_cast<std::size_t>(2 * rows));
  }

  int passes() const { return axes_.empty() ? 1 : 3; }
  bool shares(std::size_t number) const { return entries_[number].axis >= 0; }
  Real* mean(std::size_t number) const { return mean_.data() + entries_[number].matrix; }
  Real* inverse(std::size_t number) const { return inverse_.data() + entries_[number].column; }

  /// The factor that is local, and this rank's part of the other one.
  template <class G>
  void begin(const Exec& exec, std::size_t number, const adafactor_state<G, Real>& a) const {
    const entry& e = entries_[number];
    double* to = axes_[static_cast<std::size_t>(e.axis)].factors.view().data() + e.factors;
    const std::int64_t blocks = (a.shape.columns + column_block - 1) / column_block;
    if (e.by_rows) {
      run(exec, "rows", a.shape.row_count(), adafactor_rows_kernel<G, Real>{a});
      run(exec, "column_sums", a.shape.count * blocks, column_sums_kernel<G, Real>{a, blocks, to});
      run(exec, "row_totals", a.shape.count, row_totals_kernel<G, Real>{a, to + a.shape.count * a.shape.columns});
    } else {
      run(exec, "row_sums", a.shape.row_count(), row_sums_kernel<G, Real>{a, to});
      run(exec, "columns", a.shape.count * blocks, adafactor_columns_kernel<G, Real>{a, blocks});
    }
  }

  /// The other factor, and this rank's part of the sums of squares.
  template <class G, class W>
  void go_on(const Exec& exec, std::size_t number, const adafactor_state<G, Real>& a, const W* weight) const {
    const entry& e = entries_[number];
    const axis_memory& axis = axes_[static_cast<std::size_t>(e.axis)];
    const double* from = axis.factors.view().data() + e.factors;
    const auto mean_of = [&](Real* to, std::int64_t n, const double* sums, std::int64_t things, Real keep) {
      run(exec, "factors", n, mean_kernel<Real>{to, sums, static_cast<double>(things), keep});
    };
    if (e.by_rows) {
      const std::int64_t columns = a.shape.count * a.shape.columns;
      mean_of(a.column, columns, from, e.rows, a.beta2);
      mean_of(a.mean, a.shape.count, from + columns, e.rows, Real(0));
      run(exec, "inverse", columns, inverse_root_kernel<Real>{a.column, a.inverse});
    } else {
      mean_of(a.row, a.shape.row_count(), from, e.columns, a.beta2);
      run(exec, "means", a.shape.count, adafactor_means_kernel<G, Real>{a});
    }
    run(exec, "sums", a.shape.row_count(), adafactor_sums_kernel<W, G, Real>{a, weight, sums_.data()});
    run(exec, "matrix_sums", a.shape.count,
        matrix_sums_kernel{a.shape.rows, sums_.data(), axis.squares.view().data() + e.squares});
  }

  /// The update itself.
  template <class G, class W>
  void finish(const Exec& exec, std::size_t number, const adafactor_state<G, Real>& a, W* weight, Real* first,
              const adafactor_step& how) const {
    const entry& e = entries_[number];
    const double* squares = axes_[static_cast<std::size_t>(e.axis)].squares.view().data() + e.squares;
    Real* step = step_.data() + e.matrix;
    const matrices whole{a.shape.count, 1, e.rows * e.columns};
    run(exec, "steps", a.shape.count,
        adafactor_steps_kernel<Real>{whole, squares, step, how.rate, how.clip, how.epsilon2, how.parameter_scale});
    run(exec, "apply", a.shape.row_count(),
        adafactor_apply_kernel<W, G, Real>{a, weight, first, step, static_cast<Real>(how.beta1),
                                           static_cast<Real>(how.decay)});
  }

  /// After pass 0 the sums of factors, after pass 1 those of squares. Collective: an all-reduce over each axis.
  void sum(const Exec& exec, int pass) const {
    if (pass > 1) return;
    run_phase(world_, "optimizer", [&] {
      for (const axis_memory& axis : axes_)
        all_reduce_sum(exec, axis.along, pass == 0 ? axis.factors : axis.squares, axis.scratch);
    });
  }

 private:
  using vector = model::vector<double, space>;
  struct entry {
    int axis = -1;                                                 // in axes_; -1: the matrices are whole here
    std::int64_t rows = 0, columns = 0;                            // of a whole matrix
    bool by_rows = false;                                          // are rows shared, not columns?
    std::int64_t factors = 0, squares = 0, matrix = 0, column = 0; // where its numbers begin
  };
  struct axis_memory {
    communicator along;
    staged<vector> factors; // columns shared: [E, R]; rows shared: [E, C], then [E]
    staged<vector> squares; // [E, 2] of updates and weights
    staged<vector> scratch;
  };
  static staged<vector> memory(std::int64_t n, const communicator& along) {
    return staged<vector>(vector("switchyard::train::shared", static_cast<std::size_t>(n)), along);
  }
  template <class Kernel>
  static void run(const Exec& exec, const char* what, std::int64_t n, const Kernel& kernel) {
    for_each_index(std::string("switchyard::train::adafactor_") + what, exec, n, kernel);
  }

  communicator world_;
  std::vector<entry> entries_;
  std::vector<axis_memory> axes_;
  model::vector<Real, space> mean_, step_; // [matrices]
  model::vector<Real, space> inverse_;     // [columns of all] 1 / sqrt(column), from one pass to the next
  vector sums_;                            // [rows, 2] of the parameter at work
};

} // namespace switchyard::train::detail

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/gemm/detail/tensor_math.hpp>

namespace switchyard::gemm::detail {

/// Where the work of a block lies: elements [k, k + rows) x [n, n + columns) of dW[group], the sum over `rows`.
struct gradient_place {
  std::int64_t group, k, n, begin, end;
};

/// 64 rows of both sides at a time, of one place after another. Which rows those are is read one step ahead.
template <class Kernel, class Machine>
struct gradient_loader {
  using math = typename Kernel::math;
  using T = typename math::type;
  static constexpr int Rows = line_numbers / load_share::step;

  const Kernel& kernel;
  load_share share{Machine::thread()};
  std::int64_t work = Machine::block(), row = 0;
  gradient_place at{};
  const typename Kernel::left_type* left[Rows] = {};
  const typename Kernel::right_type* right[Rows] = {};

  KOKKOS_FUNCTION explicit gradient_loader(const Kernel& of) : kernel(of) { find(); }

  /// The first place that sums anything, from `work` on.
  KOKKOS_FUNCTION void find() {
    for (; work < kernel.work_count; work += Machine::blocks()) {
      at = kernel.place_of(work);
      if (at.begin < at.end) break;
    }
    row = at.begin;
    if (work < kernel.work_count) name_rows();
  }
  KOKKOS_FUNCTION void name_rows() {
    SWITCHYARD_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const std::int64_t r = row + share.line + i * load_share::step;
      left[i] = r < at.end ? kernel.a(r) : nullptr;
      right[i] = r < at.end ? kernel.d(r) : nullptr;
    }
  }

  /// The next 64 rows, zeros behind the last; nothing where all work is done.
  KOKKOS_FUNCTION void next(std::uint32_t left_tile, std::uint32_t right_tile) {
    if (work >= kernel.work_count) return;
    SWITCHYARD_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const int line = share.line + i * load_share::step;
      SWITCHYARD_UNROLL
      for (int c = 0; c < math::rows; c += line_numbers) {
        const std::int64_t column = at.k + c + share.chunk * chunk_numbers;
        fetch_chunk<Kernel::Direct, Machine, T>(left_tile + chunk_offset(c + line, share.chunk), left[i] + column,
                                                left[i] == nullptr ? 0 : kernel.k_count - column);
      }
      SWITCHYARD_UNROLL
      for (int c = 0; c < math::columns; c += line_numbers) {
        const std::int64_t column = at.n + c + share.chunk * chunk_numbers;
        fetch_chunk<Kernel::Direct, Machine, T>(right_tile + chunk_offset(c + line, share.chunk), right[i] + column,
                                                right[i] == nullptr ? 0 : kernel.n_count - column);
      }
    }
    row += line_numbers;
    if (row < at.end) {
      name_rows();
    } else {
      work += Machine::blocks();
      find();
    }
  }
};

/// dW[g] (=|+=) sum over the rows of g of a(row)^T d(row). One block has all the rows of its elements: no sum crosses
/// blocks, and its order is fixed.
template <class Math, class A, class D, class Space, bool Gathered_directly>
struct tensor_gradient {
  using math = Math;
  using left_type = A;
  using right_type = D;
  static constexpr bool Direct = Gathered_directly;
  static constexpr int threads = Math::threads;

  row_groups<Space> groups;
  rows<A, Space> a;
  rows<D, Space> d;
  Kokkos::View<float***, Kokkos::LayoutRight, Space> gradient; // [groups, K, N]
  std::int64_t k_count, n_count, k_tiles, n_tiles, work_count; // groups * k_tiles * n_tiles
  bool accumulate;

  static constexpr std::size_t shared_bytes =
      static_cast<std::size_t>(Math::stages) * (Math::rows + Math::columns) * line_bytes_shared;

  KOKKOS_FUNCTION gradient_place place_of(std::int64_t work) const {
    const std::int64_t group = work / (k_tiles * n_tiles);
    const tile_and_panel at = in_strips(work - group * k_tiles * n_tiles, k_tiles, n_tiles);
    return {group, at.tile * Math::rows, at.panel * Math::columns, groups.offset(group), groups.offset(group + 1)};
  }

  template <class Machine>
  KOKKOS_FUNCTION void run() const {
    gradient_loader<tensor_gradient, Machine> loader(*this);
    pipeline<Math, Machine, gradient_loader<tensor_gradient, Machine>> steps(loader);
    for (std::int64_t work = Machine::block(); work < work_count; work += Machine::blocks()) {
      const gradient_place at = place_of(work);
      typename Math::sums sum;
      set_zero(sum);
      for (std::int64_t row = at.begin; row < at.end; row += line_numbers) steps.template step<true>(sum);
      Math::template finish<Machine>(sum);
      write<Machine>(at, sum);
    }
  }

  /// Four lanes write 32 bytes of a row.
  template <class Machine>
  KOKKOS_FUNCTION void write(const gradient_place& at, const typename Math::sums& sum) const {
    const int thread = Machine::thread(), lane = thread & 31;
    const std::int64_t k = at.k + Math::row_of(thread) + lane / 4;
    const std::int64_t n = at.n + Math::column_of(thread) + lane % 4 * 2;
    float* const to = gradient.data() + (at.group * k_count + k) * n_count + n;
    const bool even = n_count % 2 == 0 && reinterpret_cast<std::uintptr_t>(gradient.data()) % 8 == 0;
    SWITCHYARD_UNROLL
    for (int i = 0; i < 2 * Math::row_tiles; ++i) {
      if (k + 8 * i >= k_count) continue;
      float* const row = to + 8 * i * n_count;
      SWITCHYARD_UNROLL
      for (int j = 0; j < Math::blocks; ++j) {
        const std::int64_t left = n_count - n - 8 * j;
        const float(&s)[4] = sum[i / 2][j];
        if (left > 1 && even) {
          float old[2] = {0, 0};
          if (accumulate) Machine::load_pair(row + 8 * j, old);
          Machine::store_pair(row + 8 * j, old[0] + s[i % 2 * 2], old[1] + s[i % 2 * 2 + 1]);
        } else {
          if (left > 0) row[8 * j] = (accumulate ? row[8 * j] : 0) + s[i % 2 * 2];
          if (left > 1) row[8 * j + 1] = (accumulate ? row[8 * j + 1] : 0) + s[i % 2 * 2 + 1];
        }
      }
    }
  }
};

} // namespace switchyard::gemm::detail

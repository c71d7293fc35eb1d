// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/core/for_each_index.hpp>
#include <switchyard/model/detail/rms_norm_kernels.hpp>

/// \file
/// Root-mean-square normalization (Zhang and Sennrich, 2019; T5's "layer norm": no mean, no bias). Row by row:
///
///   forward    r = 1 / sqrt(mean_i x_i^2 + epsilon)       y_i = T(r x_i g_i)
///   backward   c = sum_j g_j dy_j x_j
///              dx_i (=|+=) T(r g_i dy_i - r^3 / M c x_i)  dg_i (=|+=) sum over rows of r x_i dy_i
///
/// Statistics are in the accumulate type. The sum over rows runs over blocks of 32 rows, then over the blocks in order.

namespace switchyard::model {

/// x [rows, M], scale [M] -> y [rows, M] and inverse [rows], the r of each row, for the backward.
template <class Exec, class X, class Scale, class Y, class Inverse>
void rms_norm(const Exec& exec, const X& x, const Scale& scale, double epsilon, const Y& y, const Inverse& inverse) {
  using T = typename Y::non_const_value_type;
  using kernel = detail::rms_norm_kernel<T, typename Scale::non_const_value_type, typename Exec::memory_space>;
  for_each_index("switchyard::model::rms_norm", exec, detail::extent(x, 0),
                 kernel{x, scale, static_cast<accumulate_t<T>>(epsilon), y, inverse});
}

/// Memory that the backward of up to `rows` rows needs: [blocks, M]. Allocates.
template <class Real, class Space>
matrix<Real, Space> make_norm_scratch(std::int64_t rows, std::int64_t d_model) {
  return switchyard::detail::make_raw<matrix<Real, Space>>(
      "switchyard::model::norm_scratch", (rows + detail::norm_block - 1) / detail::norm_block, d_model);
}

/// dy [rows, M] -> dx [rows, M], written or (add) added to what is there, as it is the gradient of a residual stream;
/// d_scale [M] written or (accumulate) added to. x, scale and inverse as in the forward. dx is memory of its own.
template <class Exec, class X, class Scale, class Inverse, class DY, class DX, class DScale, class Scratch>
void rms_norm_backward(const Exec& exec, const X& x, const Scale& scale, const Inverse& inverse, const DY& dy,
                       const DX& dx, bool add, const DScale& d_scale, bool accumulate, const Scratch& scratch) {
  using T = typename DX::non_const_value_type;
  using space = typename Exec::memory_space;
  using kernel = detail::rms_norm_gradient_kernel<T, typename Scale::non_const_value_type, space>;
  const std::int64_t rows = detail::extent(x, 0), blocks = (rows + detail::norm_block - 1) / detail::norm_block;
  for_each_index("switchyard::model::rms_norm_backward", exec, blocks, kernel{x, scale, inverse, dy, dx, add, scratch});
  detail::sum_rows(exec, blocks, scratch, d_scale, accumulate);
}

} // namespace switchyard::model

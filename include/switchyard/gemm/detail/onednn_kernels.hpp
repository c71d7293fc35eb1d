// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <oneapi/dnnl/dnnl_ukernel.hpp>
#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/host_tasks.hpp>
#include <utility>
#include <vector>

// The only file that sees oneDNN's header.

namespace switchyard::gemm::detail {

template <class T>
struct onednn_type;
template <>
struct onednn_type<float> {
  static constexpr auto data = dnnl::memory::data_type::f32;
  static constexpr auto order = dnnl::ukernel::pack_type::no_trans; // of B: row after row
  static constexpr int rows_together = 1;
  static constexpr int depth = 128; // rows of B in one call: they stay in the first-level cache
};
template <>
struct onednn_type<bfloat16> {
  static constexpr auto data = dnnl::memory::data_type::bf16;
  static constexpr auto order = dnnl::ukernel::pack_type::pack32; // of B: rows in pairs, 32 bits per column
  static constexpr int rows_together = 2;
  static constexpr int depth = 256;
};

/// Rows k, k + 1, ... of a panel [any, width] = the first n numbers of row(0), row(1), ... 16-bit rows lie in pairs,
/// 32 bits per column, and are written as such: that is what the compiler makes vector code of.
template <class T, class Row>
void place_rows(std::int64_t k, std::int64_t count, std::int64_t n, std::int64_t width, T* panel, const Row& row) {
  std::int64_t i = 0;
  if constexpr (onednn_type<T>::rows_together == 1) {
    for (; i < count; ++i) convert(row(i), n, panel + (k + i) * width);
  } else {
    const auto single = [&](std::int64_t r) { // half of a pair
      for (std::int64_t j = 0; j < n; ++j) panel[((k + r) / 2 * width + j) * 2 + (k + r) % 2] = T(row(r)[j]);
    };
    if (k % 2 == 1 && count > 0) single(i++);
    for (; i + 1 < count; i += 2) {
      const auto* KOKKOS_RESTRICT first = row(i);
      const auto* KOKKOS_RESTRICT second = row(i + 1);
      T* KOKKOS_RESTRICT to = panel + (k + i) * width;
      for (std::int64_t j = 0; j < n; ++j) {
        const std::uint32_t pair = std::uint32_t{T(first[j]).bits} | std::uint32_t{T(second[j]).bits} << 16;
        std::memcpy(static_cast<void*>(to + 2 * j), &pair, sizeof(pair));
      }
    }
    if (i < count) single(i);
  }
}

/// C [height, width] (=|+=) A [height, depth] B [depth, width]: code generated for this CPU, float sums.
/// Throws dnnl::error where there is none.
template <class T>
class onednn_kernel {
 public:
  onednn_kernel() = default;
  onednn_kernel(std::int64_t height, std::int64_t width, std::int64_t depth, std::int64_t a_stride, bool add)
      : kernel_(height, width, depth, 1, a_stride, width, width, onednn_type<T>::data, onednn_type<T>::data,
                dnnl::memory::data_type::f32) {
    kernel_.set_add_C(add);
    kernel_.finalize();
    if (order(kernel_) != onednn_type<T>::order)
      throw dnnl::error(dnnl_unimplemented, "switchyard: oneDNN wants B in an unknown order");
    kernel_.generate();
  }

  std::size_t scratch() const { return kernel_.get_scratchpad_size(); }

  void operator()(const T* a, const T* b, float* c, void* scratch) const {
    kernel_.set_hw_context(); // tile registers, where the CPU has them
    kernel_.execute(a, b, whole_, c, scratch);
  }
  static void leave() { dnnl::ukernel::brgemm::release_hw_context(); }

 private:
  template <class Kernel> // a member before oneDNN 3.8, static since
  static dnnl::ukernel::pack_type order(const Kernel& kernel) {
    if constexpr (requires { Kernel::get_B_pack_type(onednn_type<T>::data, onednn_type<T>::data); })
      return Kernel::get_B_pack_type(onednn_type<T>::data, onednn_type<T>::data);
    else
      return kernel.get_B_pack_type();
  }

  dnnl::ukernel::brgemm kernel_;
  std::vector<std::pair<dnnl::memory::dim, dnnl::memory::dim>> whole_{{0, 0}};
};

/// All kernels for one packed matrix. A product's K is cut into `chunks` equal parts of `depth`, the last one padded
/// with zeros. A tile of rows is padded to the next multiple of `step`, one kernel per height.
template <class T>
struct onednn_kernels {
  static constexpr int step = 8, heights = 8, tile = step * heights; // rows of a product's tile
  static constexpr int gradient_tile = 64;                           // rows of a gradient's tile
  static constexpr std::array<int, 5> depths{256, 128, 64, 32, 16};  // token rows that one call of a gradient sums
  static constexpr int block = 512, block_stride = block + 32;       // token rows packed at once

  std::int64_t width, panels, depth, chunks;
  std::size_t scratch = 0; // bytes that oneDNN wants for itself

  onednn_kernels(std::int64_t rows, std::int64_t columns)
      : panels(ceil_div(columns, 64)), chunks(ceil_div(rows, onednn_type<T>::depth)) {
    width = round_up(ceil_div(columns, panels), 16);
    depth = round_up(ceil_div(rows, chunks), chunks > 1 ? 32 : onednn_type<T>::rows_together);
    for (int add = 0; add < 2; ++add) {
      for (int h = 0; h < heights; ++h) make(product_[add][h], (h + 1) * step, depth, depth, add);
      for (std::size_t d = 0; d < depths.size(); ++d)
        make(gradient_[add][d], gradient_tile, depths[d], block_stride, add);
    }
  }

  /// sum [height, width] = left · panel; left is [chunks, height, depth], height a multiple of step.
  void multiply(const T* left, std::int64_t height, const T* panel, float* sum, void* space) const {
    const auto h = static_cast<std::size_t>(height / step - 1);
    for (std::int64_t c = 0; c < chunks; ++c)
      product_[c > 0][h](left + c * height * depth, panel + c * depth * width, sum, space);
  }

  /// sum [gradient_tile, width] = left · right over `rows` token rows, a multiple of 16, in the order of `depths`.
  void reduce(const T* left, const T* right, std::int64_t rows, float* sum, void* space) const {
    std::int64_t done = 0;
    for (std::size_t d = 0; d < depths.size(); ++d)
      for (; rows - done >= depths[d]; done += depths[d])
        gradient_[done > 0][d](left + done, right + done * width, sum, space);
  }

  /// Does a row get the same bytes from every height? That is what row_invariant promises, and what only the code
  /// generated for this very CPU can answer.
  bool heights_agree() const {
    std::vector<T> left(static_cast<std::size_t>(tile * depth)), panel(static_cast<std::size_t>(depth * width));
    std::uint32_t state = 1;
    for (auto* numbers : {&left, &panel})
      for (T& x : *numbers) {
        state = state * 1664525u + 1013904223u;
        x = T(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
      }
    std::vector<float> all(static_cast<std::size_t>(tile * width)), some(all.size());
    std::vector<char> space(scratch);
    for (std::size_t add = 0; add < 2; ++add)
      for (std::size_t h = heights; h-- > 0;) {
        auto& sum = h + 1 == heights ? all : some;
        std::fill(sum.begin(), sum.end(), 0.0f);
        product_[add][h](left.data(), panel.data(), sum.data(), space.data());
        if (std::memcmp(sum.data(), all.data(), (h + 1) * step * static_cast<std::size_t>(width) * sizeof(float)) != 0)
          return false;
      }
    onednn_kernel<T>::leave();
    return true;
  }

 private:
  void make(onednn_kernel<T>& kernel, std::int64_t height, std::int64_t deep, std::int64_t a_stride, int add) {
    kernel = onednn_kernel<T>(height, width, deep, a_stride, add != 0);
    scratch = std::max(scratch, kernel.scratch());
  }

  onednn_kernel<T> product_[2][heights];
  onednn_kernel<T> gradient_[2][depths.size()];
};

/// Empty where this CPU, or this build of oneDNN, has no such kernels.
template <class T>
std::shared_ptr<const onednn_kernels<T>> make_onednn_kernels(std::int64_t rows, std::int64_t columns) {
  if (rows < 1 || columns < 1) return {};
  try {
    auto kernels = std::make_shared<const onednn_kernels<T>>(rows, columns);
    if (kernels->heights_agree()) return kernels;
  } catch (const dnnl::error&) { // no kernels then
  }
  return {};
}

} // namespace switchyard::gemm::detail

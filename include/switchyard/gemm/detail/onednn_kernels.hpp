// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <array>
#include <concepts>
#include <memory>
#include <oneapi/dnnl/dnnl_ukernel.h>
#include <switchyard/gemm/detail/micro_kernels.hpp>
#include <vector>

// The only file that sees oneDNN's header. That of its C interface: nvcc 13 breaks off over the C++ one.

namespace switchyard::gemm::detail {

template <class T>
struct onednn_type;
template <>
struct onednn_type<float> {
  static constexpr auto data = dnnl_f32;
  static constexpr auto order = dnnl_pack_type_no_trans; // of B: row after row
  static constexpr int depth = 128;                      // rows of B in one call: they stay in the first-level cache
};
template <>
struct onednn_type<bfloat16> {
  static constexpr auto data = dnnl_bf16;
  static constexpr auto order = dnnl_pack_type_pack32; // of B: rows in pairs, 32 bits per column
  static constexpr int depth = 256;
};

struct no_onednn_kernel {}; // thrown and caught in this file

inline void require_success(dnnl_status_t status) {
  if (status != dnnl_success) throw no_onednn_kernel{};
}

/// C [height, width] (=|+=) A [height, depth] B [depth, width]: code generated for this CPU, float sums.
/// Throws no_onednn_kernel where there is none.
template <class T>
class onednn_kernel {
 public:
  onednn_kernel() = default;
  onednn_kernel(std::int64_t height, std::int64_t width, std::int64_t depth, std::int64_t a_stride, bool add) {
    dnnl_brgemm_t made = nullptr;
    require_success(dnnl_brgemm_create(&made, height, width, depth, 1, a_stride, width, width, onednn_type<T>::data,
                                       onednn_type<T>::data, dnnl_f32));
    kernel_.reset(made);
    require_success(dnnl_brgemm_set_add_C(made, add));
    require_success(dnnl_brgemm_finalize(made));
    if (order_of_b(dnnl_brgemm_get_B_pack_type) != onednn_type<T>::order) throw no_onednn_kernel{};
    require_success(dnnl_brgemm_generate(made));
  }

  std::size_t scratch() const {
    std::size_t bytes = 0;
    require_success(dnnl_brgemm_get_scratchpad_size(kernel_.get(), &bytes));
    return bytes;
  }

  void operator()(const T* a, const T* b, float* c, void* scratch) const {
    constexpr dnnl_dim_t whole[2] = {0, 0};                     // A and B from their beginning
    require_success(dnnl_brgemm_set_hw_context(kernel_.get())); // tile registers, where the CPU has them
    require_success(dnnl_brgemm_execute(kernel_.get(), a, b, whole, c, scratch));
  }

 private:
  template <class Ask> // about this kernel before oneDNN 3.8, about the types since
  dnnl_pack_type_t order_of_b(Ask ask) const {
    dnnl_pack_type_t order{};
    if constexpr (std::invocable<Ask, dnnl_pack_type_t*, dnnl_data_type_t, dnnl_data_type_t>)
      require_success(ask(&order, onednn_type<T>::data, onednn_type<T>::data));
    else
      require_success(ask(kernel_.get(), &order));
    return order;
  }

  struct destroy {
    void operator()(dnnl_brgemm_t kernel) const { dnnl_brgemm_destroy(kernel); }
  };
  std::unique_ptr<dnnl_brgemm, destroy> kernel_;
};

/// One kernel per height of a tile, in steps of 8 rows, and per number of token rows that a gradient sums at once.
template <class T>
class onednn_kernels final : public micro_kernels<T> {
 public:
  static constexpr int heights = micro_kernels<T>::tile / 8;
  static constexpr std::array<int, 5> depths{256, 128, 64, 32, 16}; // token rows that one call of a gradient sums

  onednn_kernels(std::int64_t rows, std::int64_t columns) {
    this->panels = ceil_div(columns, 64);
    this->chunks = ceil_div(rows, onednn_type<T>::depth);
    this->width = round_up(ceil_div(columns, this->panels), 16);
    this->depth = round_up(ceil_div(rows, this->chunks), this->chunks > 1 ? 32 : rows_together<T>);
    this->step = 8;
    for (int add = 0; add < 2; ++add) {
      for (int h = 0; h < heights; ++h) make(product_[add][h], (h + 1) * 8, this->depth, this->depth, add);
      for (std::size_t d = 0; d < depths.size(); ++d)
        make(gradient_[add][d], micro_kernels<T>::tile, depths[d], gradient_stride, add);
    }
  }

  void multiply(const T* left, std::int64_t height, const T* panel, float* sum, void* space) const override {
    const auto h = static_cast<std::size_t>(height / 8 - 1);
    for (std::int64_t c = 0; c < this->chunks; ++c)
      product_[c > 0][h](left + c * height * this->depth, panel + c * this->depth * this->width, sum, space);
  }

  /// In the order of `depths`; always a whole tile, [tile, width].
  void reduce(const T* left, std::int64_t, std::int64_t, const T* right, std::int64_t rows, float* sum, std::int64_t,
              sums, void* space) const override {
    std::int64_t done = 0;
    for (std::size_t d = 0; d < depths.size(); ++d)
      for (; rows - done >= depths[d]; done += depths[d])
        gradient_[done > 0][d](left + done, right + done * this->width, sum, space);
  }

  void leave() const override { require_success(dnnl_brgemm_release_hw_context()); }

  /// Does a row get the same bytes from every height? That is what row_invariant promises, and what only the code
  /// generated for this very CPU can answer.
  bool heights_agree() const {
    std::vector<T> left(static_cast<std::size_t>(this->tile * this->depth)),
        panel(static_cast<std::size_t>(this->depth * this->width));
    std::uint32_t state = 1;
    for (auto* numbers : {&left, &panel})
      for (T& x : *numbers) {
        state = state * 1664525u + 1013904223u;
        x = T(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
      }
    std::vector<float> all(static_cast<std::size_t>(this->tile * this->width)), some(all.size());
    std::vector<char> space(this->scratch);
    for (std::size_t add = 0; add < 2; ++add)
      for (std::size_t h = heights; h-- > 0;) {
        auto& sum = h + 1 == heights ? all : some;
        std::fill(sum.begin(), sum.end(), 0.0f);
        product_[add][h](left.data(), panel.data(), sum.data(), space.data());
        if (std::memcmp(sum.data(), all.data(), (h + 1) * 8 * static_cast<std::size_t>(this->width) * sizeof(float)) !=
            0)
          return false;
      }
    leave();
    return true;
  }

 private:
  void make(onednn_kernel<T>& kernel, std::int64_t height, std::int64_t deep, std::int64_t a_stride, int add) {
    kernel = onednn_kernel<T>(height, this->width, deep, a_stride, add != 0);
    this->scratch = std::max(this->scratch, kernel.scratch());
  }

  onednn_kernel<T> product_[2][heights];
  onednn_kernel<T> gradient_[2][depths.size()];
};

/// The kernels above, as a source for host_engine.
struct onednn_source {
  static constexpr const char* name = "onednn";

  /// Null where this CPU, or this build of oneDNN, has none.
  template <class T>
  static std::shared_ptr<const micro_kernels<T>> make(std::int64_t rows, std::int64_t columns) {
    if constexpr (supports<T>) {
      if (rows < 1 || columns < 1) return {};
      try {
        auto kernels = std::make_shared<const onednn_kernels<T>>(rows, columns);
        if (kernels->heights_agree()) return kernels;
      } catch (const no_onednn_kernel&) { // no kernels then
      }
    }
    return {};
  }

  template <class T>
  static bool best() {
    return true;
  }

  template <class T>
  static constexpr bool supports = std::same_as<T, float> || std::same_as<T, bfloat16>;
};

} // namespace switchyard::gemm::detail

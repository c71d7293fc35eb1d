// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <Kokkos_Core.hpp>
#include <switchyard/config.hpp>

#if SWITCHYARD_HAS_CUBLAS && defined(KOKKOS_ENABLE_CUDA)

#include <cublas_v2.h>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <switchyard/core/precision.hpp>
#include <switchyard/gemm/detail/cuda_launch.hpp>
#include <switchyard/gemm/detail/library_calls.hpp>
#include <type_traits>
#include <vector>

// The only file that sees cuBLAS.

namespace switchyard::gemm::detail {

inline void require_success(cublasStatus_t result, const char* what) {
  switchyard::detail::require(result == CUBLAS_STATUS_SUCCESS, "cuBLAS, ", what, ": ", cublasGetStatusString(result));
}

/// A handle bound to the stream of one instance, with a workspace that it keeps, and memory for what lies between a
/// product and its epilogue. Calls in one stream come one after another, so they share it.
class cublas_handle {
 public:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20; // what NVIDIA advises for Hopper

  explicit cublas_handle(const Kokkos::Cuda& exec)
      : stream_(exec.cuda_stream()),
        workspace_(memory("switchyard::gemm::cublas_workspace", workspace_bytes + alignment)) {
    require_success(cudaSetDevice(exec.cuda_device()), "cudaSetDevice");
    cublasHandle_t made = nullptr;
    require_success(cublasCreate(&made), "cublasCreate");
    handle_.reset(made);
    require_success(cublasSetStream(made, stream_), "cublasSetStream");
    require_success(cublasSetWorkspace(made, aligned(workspace_.data()), workspace_bytes), "cublasSetWorkspace");
  }
  cublas_handle(const cublas_handle&) = delete;
  cublas_handle& operator=(const cublas_handle&) = delete;

  bool serves(const Kokkos::Cuda& exec) const { return exec.cuda_stream() == stream_; }

  /// At least as much memory for sums and for rows. Allocates where there is less. What was there before is kept: calls
  /// that are under way, or captured in a graph, go on with it.
  void reserve(std::size_t sum_bytes, std::size_t row_bytes) {
    const auto grow = [&](bytes& view, const char* name, std::size_t size) {
      if (view.size() >= size) return;
      if (view.size() > 0) replaced_.push_back(view);
      view = memory(name, size);
    };
    grow(sums_, "switchyard::gemm::cublas_sums", sum_bytes);
    grow(rows_, "switchyard::gemm::cublas_rows", row_bytes);
  }
  template <class T>
  T* sums() const {
    return reinterpret_cast<T*>(sums_.data());
  }
  template <class T>
  T* rows() const {
    return reinterpret_cast<T*>(rows_.data());
  }
  std::int64_t sum_bytes() const { return static_cast<std::int64_t>(sums_.size()); }
  std::int64_t row_bytes() const { return static_cast<std::int64_t>(rows_.size()); }

  /// C = op(L) op(R) (+ C), summed in accumulate_t<T>. Queued on the handle's stream.
  template <class T, class C>
  void multiply(const batched_call& c, const T* left, const T* right, C* sums, bool add, bool tf32) const {
    if (c.m == 0 || c.n == 0 || c.count == 0) return;
    const accumulate_t<T> alpha = 1, beta = add ? 1 : 0;
    const auto how = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    require_success(cublasGemmStridedBatchedEx_64(handle_.get(), how(c.left_transposed), how(c.right_transposed), c.m,
                                                  c.n, c.k, &alpha, left, type_of<T>(), c.left_pitch, c.left_stride,
                                                  right, type_of<T>(), c.right_pitch, c.right_stride, &beta, sums,
                                                  type_of<C>(), c.pitch, c.stride, c.count, compute_type<T>(tf32),
                                                  CUBLAS_GEMM_DEFAULT),
                    "cublasGemmStridedBatchedEx");
  }

 private:
  template <class T>
  static constexpr cudaDataType type_of() {
    if constexpr (std::same_as<T, double>) return CUDA_R_64F;
    if constexpr (std::same_as<T, bfloat16>) return CUDA_R_16BF;
    if constexpr (std::same_as<T, half>) return CUDA_R_16F;
    return CUDA_R_32F;
  }
  template <class T>
  static cublasComputeType_t compute_type(bool tf32) {
    if (std::same_as<T, double>) return CUBLAS_COMPUTE_64F;
    return std::same_as<T, float> && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  }

  // A view's data lie behind a header of Kokkos, at a multiple of 128 bytes; cuBLAS refuses a workspace that is not at
  // one of 256.
  static constexpr std::size_t alignment = 256;
  static char* aligned(char* p) {
    const auto beyond = reinterpret_cast<std::uintptr_t>(p) % alignment;
    return beyond == 0 ? p : p + (alignment - beyond);
  }

  using bytes = Kokkos::View<char*, Kokkos::CudaSpace>;
  static bytes memory(const char* name, std::size_t size) {
    return bytes(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(name)), size);
  }

  struct destroy {
    void operator()(cublasHandle_t handle) const { cublasDestroy(handle); } // waits for the device
  };

  cudaStream_t stream_;
  bytes workspace_, sums_, rows_;
  std::vector<bytes> replaced_;
  std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, destroy> handle_; // the last member: goes before its memory
};

/// The handle of exec's stream: of the packed matrices that live, else a new one. A model has hundreds of them, and a
/// workspace each would be gigabytes; so this remembers, and does not own, one per stream. Allocates where it is new.
inline std::shared_ptr<cublas_handle> handle_of(const Kokkos::Cuda& exec) {
  static std::mutex guard;
  static std::map<cudaStream_t, std::weak_ptr<cublas_handle>> known;
  const std::lock_guard lock(guard);
  auto& here = known[exec.cuda_stream()];
  auto handle = here.lock();
  if (!handle) here = handle = std::make_shared<cublas_handle>(exec);
  return handle;
}

} // namespace switchyard::gemm::detail

#endif

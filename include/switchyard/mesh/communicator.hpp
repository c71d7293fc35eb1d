// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <switchyard/core/error.hpp>
#include <utility>
#include <vector>

/// \file
/// Who takes part. A communicator is a handle: cheap to copy, held by value, the same type for one process, for MPI and
/// for the counting and faulting ones of the tests. This header needs no MPI.

namespace switchyard {

/// What a backend implements: two movements of bytes in host memory and a way to make smaller communicators.
/// Every member is collective. Sums are made of these movements plus local additions in rank order
/// (mesh/collectives.hpp), so no reduction ever depends on an algorithm of the transport.
class communicator_backend {
 public:
  virtual ~communicator_backend() = default; // makes no collective call

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Ranks of equal color form a communicator, ordered by their rank here.
  virtual std::shared_ptr<communicator_backend> split(int color) = 0;

  /// counts[r] units of `unit` bytes go to (come from) rank r, in rank order, without gaps.
  virtual void all_to_all(const void* send, const std::vector<std::int64_t>& send_counts, void* receive,
                          const std::vector<std::int64_t>& receive_counts, std::size_t unit) = 0;

  /// data holds every rank's part in rank order; this rank's is filled in, the others' arrive.
  virtual void all_gather(void* data, const std::vector<std::int64_t>& counts, std::size_t unit) = 0;
};

/// A group of ranks that call the same collectives in the same order.
class communicator {
 public:
  explicit communicator(std::shared_ptr<communicator_backend> backend) : backend_(std::move(backend)) {
    if (!backend_) throw communicator_error("communicator(nullptr): needs a backend; use self() for one process");
  }

  int rank() const { return backend_->rank(); }
  int size() const { return backend_->size(); }
  communicator split(int color) const { return communicator(backend_->split(color)); }

  void all_to_all(const void* send, const std::vector<std::int64_t>& send_counts, void* receive,
                  const std::vector<std::int64_t>& receive_counts, std::size_t unit) const {
    backend_->all_to_all(send, send_counts, receive, receive_counts, unit);
  }
  void all_gather(void* data, const std::vector<std::int64_t>& counts, std::size_t unit) const {
    backend_->all_gather(data, counts, unit);
  }

 private:
  std::shared_ptr<communicator_backend> backend_;
};

namespace detail {
class self_backend final : public communicator_backend {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::shared_ptr<communicator_backend> split(int) override { return std::make_shared<self_backend>(); }
  void all_to_all(const void* send, const std::vector<std::int64_t>& counts, void* receive,
                  const std::vector<std::int64_t>&, std::size_t unit) override {
    const auto bytes = static_cast<std::size_t>(counts[0]) * unit;
    if (bytes > 0) std::memcpy(receive, send, bytes);
  }
  void all_gather(void*, const std::vector<std::int64_t>&, std::size_t) override {}
};
} // namespace detail

/// This process alone. Needs no MPI.
inline communicator self() {
  return communicator(std::make_shared<detail::self_backend>());
}

} // namespace switchyard

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <algorithm>
#include <array>
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <switchyard/mesh/agree.hpp>
#include <switchyard/mesh/detail/forwarding.hpp>
#include <thread>

/// \file
/// NCCL for what lies in the memory of GPUs, beside another communicator for all else. The only file of the library
/// that includes <nccl.h>. NCCL 2.13 or newer.

namespace switchyard {

namespace detail {

/// What went wrong, "" for nothing.
inline std::string cuda_complaint(cudaError_t code, const char* call) {
  return code == cudaSuccess ? std::string() : message(call, " failed: ", cudaGetErrorString(code));
}

/// Sets the device for as long as it lives: events belong to the device that is set.
class on_device {
 public:
  explicit on_device(int device) {
    if (cudaGetDevice(&before_) == cudaSuccess && before_ != device) cudaSetDevice(device);
  }
  on_device(const on_device&) = delete;
  on_device& operator=(const on_device&) = delete;
  ~on_device() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

/// What all communicators that came from one nccl() share: NCCL's communicator of all its ranks and one stream.
/// Messages are between pairs, so parts need no communicator of their own; and since kernels of NCCL wait for their
/// peers, what ranks call in one order on any of their communicators runs in that order.
class nccl_ranks {
 public:
  nccl_ranks() = default;
  nccl_ranks(const nccl_ranks&) = delete;
  nccl_ranks& operator=(const nccl_ranks&) = delete;
  /// NCCL's communicator stays until the process ends. ncclCommDestroy and ncclCommAbort both may wait for the other
  /// ranks of the node (NVIDIA/nccl 863, 1777), which after an error here may be waiting for this one.
  ~nccl_ranks() {
    if (stream_ != nullptr) cudaStreamDestroy(stream_); // local: what is under way runs to its end
  }

  /// Collective, once, on the device that is set. Throws on every rank alike.
  void join(const communicator& host) {
    std::string complaint = cuda_complaint(cudaGetDevice(&device_), "cudaGetDevice");
    cudaDeviceProp properties{};
    if (complaint.empty())
      complaint = cuda_complaint(cudaGetDeviceProperties(&properties, device_), "cudaGetDeviceProperties");
    if (complaint.empty()) // does not wait for the default stream, and that does not wait for it
      complaint =
          cuda_complaint(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    agree(host, complaint);
    int version = 0;
    if (ncclGetVersion(&version) != ncclSuccess) version = -1;
    agree_on(host, {{"the version of NCCL", version}});
    different_devices(host, properties.uuid);
    if (host.size() == 1) return;

    ncclUniqueId id{};
    if (host.rank() == 0) complaint = nccl_complaint(ncclGetUniqueId(&id), "ncclGetUniqueId");
    agree(host, complaint);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(host.size()), 0);
    counts[0] = sizeof(id);
    host.all_gather(&id, counts, 1);
    agree(host, nccl_complaint(ncclCommInitRank(&comm_, host.size(), id, host.rank()), "ncclCommInitRank"));
  }

  int device() const { return device_; }
  cudaStream_t stream() const { return stream_; }

  /// f(comm) makes calls of one group until one fails. They run behind what the stream has already.
  template <class F>
  void group(const F& f) {
    if (!broken_.empty()) throw communicator_error(broken_);
    ncclResult_t first = ncclGroupStart();
    if (first == ncclSuccess) {
      first = f(comm_);
      const ncclResult_t last = ncclGroupEnd(); // in any case: a group that stays open takes in all that follows
      if (first == ncclSuccess) first = last;
    }
    check(nccl_complaint(first, "an exchange over NCCL"));
  }
  void check_cuda(cudaError_t code, const char* call) { check(cuda_complaint(code, call)); }

  /// Is the stream beyond the event, without an error?
  bool passed(cudaEvent_t event) {
    const cudaError_t code = cudaEventQuery(event);
    if (code == cudaErrorNotReady)
      static_cast<void>(cudaGetLastError()); // or the next one who asks takes it for an error of his own
    else
      check_cuda(code, "cudaEventQuery");
    ncclResult_t state = ncclSuccess; // also where it has passed: an error may have ended it
    if (comm_ != nullptr) check(nccl_complaint(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError"));
    if (state != ncclInProgress) check(nccl_complaint(state, "an exchange over NCCL"));
    return code == cudaSuccess;
  }

 private:
  std::string nccl_complaint(ncclResult_t code, const char* call) const {
    if (code == ncclSuccess) return {};
    const char* const more = ncclGetLastError(comm_);
    return message(call, " failed: ", ncclGetErrorString(code), "; ", more != nullptr ? more : "no more is known");
  }
  /// Nothing is aborted here, see the destructor: the error ends the phase, and with it all ranks.
  void check(const std::string& complaint) {
    if (complaint.empty()) return;
    broken_ = complaint;
    throw communicator_error(complaint);
  }

  /// NCCL hangs or fails obscurely where two ranks have the same GPU.
  static void different_devices(const communicator& host, const cudaUUID_t& mine) {
    using uuid = std::array<char, sizeof(mine.bytes)>;
    std::vector<uuid> all(static_cast<std::size_t>(host.size()));
    std::copy(std::begin(mine.bytes), std::end(mine.bytes), all[static_cast<std::size_t>(host.rank())].begin());
    host.all_gather(all.data(), std::vector<std::int64_t>(all.size(), 1), sizeof(uuid));
    for (std::size_t r = 1; r < all.size(); ++r)
      for (std::size_t s = 0; s < r; ++s)
        if (all[r] == all[s])
          throw disagreement(message("nccl(host): ranks ", s, " and ", r,
                                     " are on the same GPU; give each one of its own, for example by "
                                     "--kokkos-map-device-id-by=mpi_rank"));
  }

  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  ncclComm_t comm_ = nullptr; // none where there is one rank
  std::string broken_;
};

/// All that the stream has when this is made.
class nccl_exchange final : public exchange_in_flight {
 public:
  explicit nccl_exchange(std::shared_ptr<nccl_ranks> all) : all_(std::move(all)) {
    const on_device here(all_->device());
    all_->check_cuda(cudaEventCreateWithFlags(&over_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    const cudaError_t recorded = cudaEventRecord(over_, all_->stream());
    if (recorded != cudaSuccess) cudaEventDestroy(over_);
    all_->check_cuda(recorded, "cudaEventRecord");
  }
  nccl_exchange(const nccl_exchange&) = delete;
  nccl_exchange& operator=(const nccl_exchange&) = delete;
  ~nccl_exchange() override { cudaEventDestroy(over_); } // local

  bool ready() override { return all_->passed(over_); }
  void wait() override {
    while (!all_->passed(over_)) std::this_thread::yield();
  }

 private:
  std::shared_ptr<nccl_ranks> all_;
  cudaEvent_t over_ = nullptr;
};

class nccl_backend final : public forwarding_backend {
  using counts = std::vector<std::int64_t>;

 public:
  /// Collective over host, some of the ranks of `all`; number: of this rank among those.
  nccl_backend(std::shared_ptr<communicator_backend> host, std::shared_ptr<nccl_ranks> all, int number)
      : forwarding_backend(std::move(host)), all_(std::move(all)), number_(number),
        peers_(static_cast<std::size_t>(size())) {
    peers_[here()] = number;
    inner().all_gather({collective::all_gather, peers_.data(), counts(peers_.size(), 1), sizeof(int)});
  }

  bool takes(buffer_memory where) const override { return where == buffer_memory::device || inner().takes(where); }
  std::shared_ptr<communicator_backend> split(int color, std::string_view name) override {
    return std::make_shared<nccl_backend>(inner().split(color, name), all_, number_);
  }

  void all_to_all(const all_to_all_call& call) override {
    if (call.memory == buffer_memory::host) return inner().all_to_all(call);
    post(call)->wait();
  }
  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override {
    if (call.memory == buffer_memory::host) return inner().start(call);
    return post(call);
  }
  /// Messages between pairs too: the same bytes as a ring moves, and parts of any lengths.
  void all_gather(const all_gather_call& call) override {
    if (call.memory == buffer_memory::host) return inner().all_gather(call);
    check_counts(call.counts, size());
    counts begins(call.counts.size(), 0), in = call.counts;
    for (std::size_t r = 1; r < begins.size(); ++r) begins[r] = begins[r - 1] + call.counts[r - 1];
    counts out(in.size(), in[here()]);
    const counts out_begins(in.size(), begins[here()]);
    out[here()] = in[here()] = 0;
    post({call.kind, call.data, out, call.data, in, call.unit, &out_begins, &begins, call.memory})->wait();
  }

 private:
  std::size_t here() const { return static_cast<std::size_t>(rank()); }

  std::unique_ptr<exchange_in_flight> post(const all_to_all_call& call) const {
    for (const counts* v : {&call.send_counts, &call.receive_counts, call.send_begins, call.receive_begins})
      if (v != nullptr) check_counts(*v, size());
    const auto bytes = [&](std::int64_t units) { return static_cast<std::size_t>(units) * call.unit; };
    const auto to_send = [&](int r) {
      return static_cast<const char*>(call.send) + bytes(first_unit(call.send_counts, call.send_begins, r));
    };
    const auto to_receive = [&](int r) {
      return static_cast<char*>(call.receive) + bytes(first_unit(call.receive_counts, call.receive_begins, r));
    };
    const std::int64_t own = call.send_counts[here()];
    require(own == call.receive_counts[here()], "receive_counts[", rank(), "] = ", call.receive_counts[here()],
            ": this rank sends itself ", own, " units");
    if (bytes(own) > 0)
      all_->check_cuda(
          cudaMemcpyAsync(to_receive(rank()), to_send(rank()), bytes(own), cudaMemcpyDefault, all_->stream()),
          "cudaMemcpyAsync");
    if (size() > 1)
      all_->group([&](ncclComm_t comm) {
        ncclResult_t result = ncclSuccess;
        for (int other = 1; other < size() && result == ncclSuccess; ++other) { // everybody begins with another peer
          const int to = (rank() + other) % size(), from = (rank() + size() - other) % size();
          const auto t = static_cast<std::size_t>(to), f = static_cast<std::size_t>(from);
          if (const std::size_t n = bytes(call.send_counts[t]); n > 0)
            result = ncclSend(to_send(to), n, ncclUint8, peers_[t], comm, all_->stream());
          if (const std::size_t n = bytes(call.receive_counts[f]); n > 0 && result == ncclSuccess)
            result = ncclRecv(to_receive(from), n, ncclUint8, peers_[f], comm, all_->stream());
        }
        return result;
      });
    return std::make_unique<nccl_exchange>(all_);
  }

  std::shared_ptr<nccl_ranks> all_;
  int number_;
  std::vector<int> peers_; // numbers of the ranks here among all of NCCL's
};

} // namespace detail

/// The ranks of host, whose exchanges of views in device memory go over NCCL, device to device, and all others over
/// host: counts that the host reads, agreement, phases, failures. Each rank takes the CUDA device that is set, as
/// Kokkos::initialize does; no two may have the same. Parts that are split from it use the same NCCL communicator,
/// which is held until the process ends: make one, not one per mesh. Collective over host; throws on every rank alike.
///
/// Exchanges run on one stream of their own, in the order of the calls. What they send must be complete when they are
/// called: those of mesh/exchanges.hpp wait for their execution space. Two ranks connect with their first message,
/// which waits for both. Whoever waits for an exchange asks NCCL for errors meanwhile, and throws communicator_error; a
/// peer that dies without one is for the launcher, or for the abort of the host's communicator, to notice.
inline communicator nccl(const communicator& host) {
  const auto all = std::make_shared<detail::nccl_ranks>();
  all->join(host);
  return communicator(std::make_shared<detail::nccl_backend>(host.backend(), all, host.rank()));
}

} // namespace switchyard

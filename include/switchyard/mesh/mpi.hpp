// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1 // the C++ bindings warn, and nobody needs them
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <Kokkos_Macros.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <limits>
#include <mpi.h>
#if defined(OPEN_MPI) && __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif
#include <string>
#include <switchyard/mesh/two_level.hpp>

/// \file
/// The MPI communicator. The only file of the library that includes <mpi.h>.

namespace switchyard {

/// Which buffers MPI is given as they are; the others are staged in pinned host memory.
enum class mpi_buffers {
  automatic, ///< host memory, and that of devices where MPI says, when asked, that it reads it
  direct,    ///< all: for an MPI that reads device memory and does not say so
  staged     ///< none, not even views in host memory: for an MPI that says so and does not, and for tests
};

struct mpi_options {
  /// Bytes of the largest single message. Above it an exchange is made of several: some transports fail beyond 2 GiB
  /// although every count fits into int (open-mpi/ompi 5383). The same on every rank.
  std::int64_t largest_message = std::int64_t{1} << 30;
  /// automatic: as SWITCHYARD_MPI_BUFFERS in the environment says, if it is set, in the words of mpi_buffers.
  mpi_buffers buffers = mpi_buffers::automatic;
  /// Exchanges in two levels, inside a node and between nodes (mesh/two_level.hpp). The same on every rank.
  bool two_level = false;
  /// The node of a rank of comm: any number, equal on ranks of one node. Empty: ranks that share memory are on one.
  std::function<std::int64_t(int rank)> node_of = {};
};

namespace detail {

inline void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw communicator_error(message(call, " failed: ", std::string(text, static_cast<std::size_t>(length))));
}

/// Does MPI say that it reads the memory of the devices that this Kokkos is for? Open MPI and MPICH can be asked.
inline bool mpi_reads_device_memory() {
  int yes = 0;
#if defined(KOKKOS_ENABLE_CUDA) && defined(OMPI_HAVE_MPI_EXT_CUDA)
  yes = MPIX_Query_cuda_support();
#elif defined(KOKKOS_ENABLE_HIP) && defined(OMPI_HAVE_MPI_EXT_ROCM)
  yes = MPIX_Query_rocm_support();
#elif defined(KOKKOS_ENABLE_CUDA) && defined(MPIX_GPU_SUPPORT_CUDA)
  MPIX_GPU_query_support(MPIX_GPU_SUPPORT_CUDA, &yes);
#elif defined(KOKKOS_ENABLE_HIP) && defined(MPIX_GPU_SUPPORT_HIP)
  MPIX_GPU_query_support(MPIX_GPU_SUPPORT_HIP, &yes);
#elif defined(KOKKOS_ENABLE_SYCL) && defined(MPIX_GPU_SUPPORT_ZE)
  MPIX_GPU_query_support(MPIX_GPU_SUPPORT_ZE, &yes);
#endif
  return yes == 1;
}

/// What is meant by automatic; where that makes no sense, why.
inline std::string read_environment(mpi_buffers& buffers) {
  const char* const said = std::getenv("SWITCHYARD_MPI_BUFFERS");
  if (buffers != mpi_buffers::automatic || said == nullptr) return {};
  const std::string_view word = said;
  if (word == "direct") buffers = mpi_buffers::direct;
  if (word == "staged") buffers = mpi_buffers::staged;
  if (word == "automatic" || buffers != mpi_buffers::automatic) return {};
  return message("SWITCHYARD_MPI_BUFFERS = ", word, ": must be automatic, direct or staged");
}

/// A unit of contiguous bytes, so that counts are rows and stay far from the limit of int.
class mpi_unit {
 public:
  explicit mpi_unit(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      throw communicator_error(message("unit = ", bytes, " bytes: MPI takes at most ", std::numeric_limits<int>::max(),
                                       "; exchange smaller rows"));
    check_mpi(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type_), "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  mpi_unit(const mpi_unit&) = delete;
  mpi_unit& operator=(const mpi_unit&) = delete;
  ~mpi_unit() { MPI_Type_free(&type_); } // local
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

/// Messages between pairs of ranks, each of at most `largest` units, so that no count ever leaves int.
class mpi_messages final : public exchange_in_flight {
 public:
  explicit mpi_messages(std::size_t unit, std::int64_t largest_message)
      : unit_bytes_(unit), unit_(unit),
        largest_(std::clamp<std::int64_t>(largest_message / std::max<std::int64_t>(1, static_cast<std::int64_t>(unit)),
                                          1, std::numeric_limits<int>::max())) {}
  mpi_messages(const mpi_messages&) = delete;
  mpi_messages& operator=(const mpi_messages&) = delete;
  ~mpi_messages() override { // local: what is still under way is left to MPI
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized) return;
    for (MPI_Request& r : requests_)
      if (r != MPI_REQUEST_NULL) MPI_Request_free(&r);
  }

  void receive(void* to, std::int64_t count, int rank, MPI_Comm comm) {
    for (std::int64_t done = 0; done < count; done += largest_) {
      const int now = static_cast<int>(std::min(largest_, count - done));
      expected_.push_back(now);
      requests_.push_back(MPI_REQUEST_NULL);
      check_mpi(MPI_Irecv(at(to, done), now, unit_.get(), rank, tag, comm, &requests_.back()), "MPI_Irecv");
    }
  }
  void send(const void* from, std::int64_t count, int rank, MPI_Comm comm) {
    for (std::int64_t done = 0; done < count; done += largest_) {
      const int now = static_cast<int>(std::min(largest_, count - done));
      requests_.push_back(MPI_REQUEST_NULL);
      check_mpi(MPI_Isend(at(from, done), now, unit_.get(), rank, tag, comm, &requests_.back()), "MPI_Isend");
    }
  }

  bool ready() override {
    int done = 1;
    if (!complete_)
      check_all(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses()), "MPI_Testall");
    if (done && !complete_) check_lengths();
    return done != 0;
  }
  void wait() override {
    if (complete_) return;
    check_all(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses()), "MPI_Waitall");
    check_lengths();
  }

 private:
  static constexpr int tag = 1; // messages of one pair do not overtake each other, so one tag does for all exchanges

  void* at(void* base, std::int64_t units) const {
    return static_cast<char*>(base) + static_cast<std::size_t>(units) * unit_bytes_;
  }
  const void* at(const void* base, std::int64_t units) const {
    return static_cast<const char*>(base) + static_cast<std::size_t>(units) * unit_bytes_;
  }
  MPI_Status* statuses() {
    statuses_.resize(requests_.size());
    return statuses_.data();
  }
  /// Several messages at once: the error that says something stands in a status.
  void check_all(int code, const char* call) const {
    if (code == MPI_ERR_IN_STATUS)
      for (const MPI_Status& status : statuses_)
        if (status.MPI_ERROR != MPI_ERR_PENDING) check_mpi(status.MPI_ERROR, call);
    check_mpi(code, call);
  }
  /// A message that is longer than its receive is an error of MPI's; one that is shorter is only seen here.
  void check_lengths() {
    complete_ = true;
    for (std::size_t i = 0; i < expected_.size(); ++i) { // receives come first
      int units = 0;
      check_mpi(MPI_Get_count(&statuses_[i], unit_.get(), &units), "MPI_Get_count");
      if (units != expected_[i])
        throw communicator_error(message("rank ", statuses_[i].MPI_SOURCE, " sent ", units, " units of ", unit_bytes_,
                                         " bytes where ", expected_[i],
                                         " were expected; all ranks must agree on the "
                                         "counts of an exchange"));
    }
  }

  std::size_t unit_bytes_;
  mpi_unit unit_;
  std::int64_t largest_;
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
  std::vector<int> expected_;
  bool complete_ = false;
};

class mpi_backend final : public communicator_backend {
 public:
  /// Takes ownership of `owned`, a communicator of the library's own.
  mpi_backend(MPI_Comm owned, const mpi_options& options) : comm_(owned), options_(options) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    device_memory_ = options_.buffers == mpi_buffers::automatic && mpi_reads_device_memory();
  }
  mpi_backend(const mpi_backend&) = delete;
  mpi_backend& operator=(const mpi_backend&) = delete;
  ~mpi_backend() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    // MPI_Comm_free is collective in name only where no communication is pending: it marks and returns.
    if (!finalized) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool takes(buffer_memory where) const override {
    if (options_.buffers != mpi_buffers::automatic) return options_.buffers == mpi_buffers::direct;
    return where == buffer_memory::host || device_memory_;
  }

  std::shared_ptr<communicator_backend> split(int color, std::string_view) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, color, rank_, &part), "MPI_Comm_split");
    return std::make_shared<mpi_backend>(part, options_);
  }

  /// Messages between pairs of ranks rather than MPI_Alltoallv: whether counts leave int, or a message is too large, is
  /// known to its sender and its receiver and to no other rank, so the ranks could not agree on which of two to call.
  void all_to_all(const all_to_all_call& call) override {
    const auto messages = post(call);
    if (messages) messages->wait();
  }

  std::unique_ptr<exchange_in_flight> start(const all_to_all_call& call) override { return post(call); }

  void all_gather(const all_gather_call& call) override {
    check_counts(call.counts, size_);
    if (call.unit == 0) return;
    std::int64_t total = 0;
    for (const std::int64_t count : call.counts) total += count;
    if (total * static_cast<std::int64_t>(call.unit) <= options_.largest_message) { // the same sum on every rank
      const mpi_unit type(call.unit);
      counts_.assign(call.counts.begin(), call.counts.end());
      begin_.assign(call.counts.size(), 0);
      for (std::size_t r = 1; r < counts_.size(); ++r) begin_[r] = begin_[r - 1] + counts_[r - 1];
      check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, call.data, counts_.data(), begin_.data(), type.get(),
                               comm_),
                "MPI_Allgatherv");
      return;
    }
    mpi_messages messages(call.unit, options_.largest_message);
    std::vector<char*> part(call.counts.size());
    char* next = static_cast<char*>(call.data);
    for (std::size_t r = 0; r < part.size(); ++r) {
      part[r] = next;
      next += static_cast<std::size_t>(call.counts[r]) * call.unit;
    }
    for (int other = 1; other < size_; ++other) {
      const int from = (rank_ + size_ - other) % size_;
      messages.receive(part[std::size_t(from)], call.counts[std::size_t(from)], from, comm_);
    }
    for (int other = 1; other < size_; ++other)
      messages.send(part[std::size_t(rank_)], call.counts[std::size_t(rank_)], (rank_ + other) % size_, comm_);
    messages.wait();
  }

  /// The first rank of those that share memory with this one. Collective.
  int first_rank_of_node() const {
    MPI_Comm node = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
    int first = rank_;
    const int code = MPI_Bcast(&first, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    check_mpi(code, "MPI_Bcast");
    return first;
  }

  void fail(const failure& what) override {
    std::fprintf(stderr, "%s\n", describe(what).c_str());
    std::fflush(stderr);
    MPI_Abort(comm_, 1);
  }

 private:
  std::unique_ptr<mpi_messages> post(const all_to_all_call& call) const {
    check_counts(call.send_counts, size_);
    check_counts(call.receive_counts, size_);
    if (call.send_begins != nullptr) check_counts(*call.send_begins, size_);
    if (call.receive_begins != nullptr) check_counts(*call.receive_begins, size_);
    auto messages = std::make_unique<mpi_messages>(std::max<std::size_t>(call.unit, 1), options_.largest_message);
    if (call.unit == 0) return messages;
    const auto to_receive = [&](int rank) {
      return static_cast<char*>(call.receive) +
             static_cast<std::size_t>(first_unit(call.receive_counts, call.receive_begins, rank)) * call.unit;
    };
    const auto to_send = [&](int rank) {
      return static_cast<const char*>(call.send) +
             static_cast<std::size_t>(first_unit(call.send_counts, call.send_begins, rank)) * call.unit;
    };
    const std::int64_t own = call.send_counts[std::size_t(rank_)];
    require(own == call.receive_counts[std::size_t(rank_)], "receive_counts[", rank_,
            "] = ", call.receive_counts[std::size_t(rank_)], ": this rank sends itself ", own, " units");
    // Everybody starts with another peer, so that not all of them send to rank 0 first. What a rank sends itself is
    // a message too where it lies in the memory of a device.
    const int first = call.memory == buffer_memory::device ? 0 : 1;
    for (int other = first; other < size_; ++other) {
      const int from = (rank_ + size_ - other) % size_;
      messages->receive(to_receive(from), call.receive_counts[std::size_t(from)], from, comm_);
    }
    for (int other = first; other < size_; ++other) {
      const int to = (rank_ + other) % size_;
      messages->send(to_send(to), call.send_counts[std::size_t(to)], to, comm_);
    }
    if (own > 0 && first == 1)
      std::memcpy(to_receive(rank_), to_send(rank_), static_cast<std::size_t>(own) * call.unit);
    return messages;
  }

  MPI_Comm comm_;
  mpi_options options_;
  int rank_ = 0, size_ = 1;
  bool device_memory_ = false;
  std::vector<int> counts_, begin_;
};

} // namespace detail

/// The ranks of `comm`, on a duplicate of it: the library's messages never meet the user's. Collective over `comm`.
/// MPI must be initialized (any thread level: the library calls MPI from the calling thread only, outside parallel
/// regions). Throws communicator_error otherwise, and disagreement where ranks differ in an option that must not.
inline communicator mpi(MPI_Comm comm, const mpi_options& options = {}) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (!initialized || finalized)
    throw communicator_error("mpi(comm): MPI is not running; call MPI_Init before it and MPI_Finalize after the last "
                             "mesh is gone, or use self() for one process");
  if (comm == MPI_COMM_NULL) throw communicator_error("mpi(MPI_COMM_NULL): there are no ranks; give a communicator");
  detail::require(options.largest_message > 0, "largest_message = ", options.largest_message, ": must be positive");
  mpi_options meant = options;
  std::string complaint = detail::read_environment(meant.buffers);
  MPI_Comm copy = MPI_COMM_NULL;
  detail::check_mpi(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  const auto backend = std::make_shared<detail::mpi_backend>(copy, meant);
  const communicator ranks(backend);
  std::int64_t node = 0;
  if (complaint.empty() && meant.node_of) try {
      node = meant.node_of(ranks.rank());
    } catch (const std::exception& e) { // on one rank, perhaps
      complaint = detail::message("node_of(", ranks.rank(), "): ", e.what());
    }
  agree(ranks, complaint);
  agree_on(ranks, {{"largest_message", meant.largest_message}, {"two_level", meant.two_level}});
  if (!meant.two_level) return ranks;
  return two_level(ranks, meant.node_of ? node : backend->first_rank_of_node());
}

} // namespace switchyard

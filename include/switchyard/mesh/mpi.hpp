// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1 // the C++ bindings warn, and nobody needs them
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <limits>
#include <mpi.h>
#include <string>
#include <switchyard/mesh/communicator.hpp>

/// \file
/// The MPI communicator. The only file of the library that includes <mpi.h>.

namespace switchyard {

namespace detail {

inline void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw communicator_error(message(call, " failed: ", std::string(text, static_cast<std::size_t>(length))));
}

inline int mpi_count(std::int64_t count) {
  if (count < 0 || count > std::numeric_limits<int>::max())
    throw communicator_error(message("count = ", count, ": MPI takes at most ", std::numeric_limits<int>::max(),
                                     " units in one message; use more groups, so that a rank sends less at once"));
  return static_cast<int>(count);
}

/// A unit of contiguous bytes, so that counts are rows and stay far from the limit of int.
class mpi_unit {
 public:
  explicit mpi_unit(std::size_t bytes) {
    check_mpi(MPI_Type_contiguous(mpi_count(static_cast<std::int64_t>(bytes)), MPI_BYTE, &type_),
              "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  mpi_unit(const mpi_unit&) = delete;
  mpi_unit& operator=(const mpi_unit&) = delete;
  ~mpi_unit() { MPI_Type_free(&type_); } // local
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

class mpi_backend final : public communicator_backend {
 public:
  /// Takes ownership of `owned`, a communicator of the library's own.
  explicit mpi_backend(MPI_Comm owned) : comm_(owned) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
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

  std::shared_ptr<communicator_backend> split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, color, rank_, &part), "MPI_Comm_split");
    return std::make_shared<mpi_backend>(part);
  }

  void all_to_all(const void* send, const std::vector<std::int64_t>& send_counts, void* receive,
                  const std::vector<std::int64_t>& receive_counts, std::size_t unit) override {
    const mpi_unit type(unit);
    place(send_counts, send_counts_, send_begin_);
    place(receive_counts, receive_counts_, receive_begin_);
    check_mpi(MPI_Alltoallv(send, send_counts_.data(), send_begin_.data(), type.get(), receive, receive_counts_.data(),
                            receive_begin_.data(), type.get(), comm_),
              "MPI_Alltoallv");
  }

  void all_gather(void* data, const std::vector<std::int64_t>& counts, std::size_t unit) override {
    const mpi_unit type(unit);
    place(counts, receive_counts_, receive_begin_);
    check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, receive_counts_.data(), receive_begin_.data(),
                             type.get(), comm_),
              "MPI_Allgatherv");
  }

 private:
  static void place(const std::vector<std::int64_t>& counts, std::vector<int>& as_int, std::vector<int>& begin) {
    as_int.resize(counts.size());
    begin.resize(counts.size());
    std::int64_t sum = 0;
    for (std::size_t r = 0; r < counts.size(); ++r) {
      as_int[r] = mpi_count(counts[r]);
      begin[r] = mpi_count(sum);
      sum += counts[r];
    }
  }

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  std::vector<int> send_counts_, send_begin_, receive_counts_, receive_begin_;
};

} // namespace detail

/// The ranks of `comm`, on a duplicate of it: the library's messages never meet the user's. Collective over `comm`.
/// MPI must be initialized (any thread level: the library calls MPI from the calling thread only, outside parallel
/// regions). Throws communicator_error otherwise.
inline communicator mpi(MPI_Comm comm) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (!initialized || finalized)
    throw communicator_error("mpi(comm): MPI is not running; call MPI_Init before it and MPI_Finalize after the last "
                             "mesh is gone, or use self() for one process");
  if (comm == MPI_COMM_NULL) throw communicator_error("mpi(MPI_COMM_NULL): there are no ranks; give a communicator");
  MPI_Comm copy = MPI_COMM_NULL;
  detail::check_mpi(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  return communicator(std::make_shared<detail::mpi_backend>(copy));
}

} // namespace switchyard

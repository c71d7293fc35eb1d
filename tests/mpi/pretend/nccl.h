// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime_api.h>
#include <mpi.h>
#include <vector>

// As much of NCCL as mesh/nccl.hpp needs, over MPI and on the pretended streams. A group sets out when the stream gets
// there. What NCCL leaves undefined ends the program.

enum ncclResult_t { ncclSuccess, ncclSystemError, ncclRemoteError, ncclInProgress };
enum ncclDataType_t { ncclUint8 };
struct ncclUniqueId {
  char internal[128];
};

namespace pretend {
struct message {
  const void* from;
  void* to;
  int bytes, peer;
};
struct nccl_state {
  MPI_Comm ranks = MPI_COMM_NULL;
  ncclResult_t next_send = ncclSuccess, state = ncclSuccess; ///< what is said next
  bool open = false;                                         ///< a group
  std::vector<message> group;
  stream* on = nullptr;
  int made = 0; ///< communicators
};
inline nccl_state nccl;
inline void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "pretended NCCL: %s\n", what);
  std::abort();
}
} // namespace pretend
using ncclComm_t = pretend::nccl_state*;

inline const char* ncclGetErrorString(ncclResult_t code) {
  return code == ncclRemoteError ? "remote error" : "system error";
}
inline const char* ncclGetLastError(ncclComm_t) {
  return "a cable is out";
}
inline ncclResult_t ncclGetVersion(int* version) {
  *version = 21300;
  return ncclSuccess;
}
inline ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  for (int i = 0; i < 128; ++i) id->internal[i] = static_cast<char>(i + pretend::nccl.made);
  return ncclSuccess;
}
/// Of all ranks that there are.
inline ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  auto& n = pretend::nccl;
  if (n.ranks == MPI_COMM_NULL) MPI_Comm_dup(MPI_COMM_WORLD, &n.ranks);
  int size = 0, here = 0;
  MPI_Comm_size(n.ranks, &size);
  MPI_Comm_rank(n.ranks, &here);
  ncclUniqueId first = id;
  MPI_Bcast(&first, sizeof(first), MPI_BYTE, 0, n.ranks);
  pretend::expect(ranks == size && rank == here, "other ranks than there are");
  pretend::expect(std::memcmp(&first, &id, sizeof(id)) == 0, "ranks have different ids");
  ++n.made;
  *comm = &n;
  return ncclSuccess;
}
inline ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->state;
  return ncclSuccess;
}
inline ncclResult_t ncclGroupStart() {
  pretend::expect(!pretend::nccl.open && pretend::nccl.group.empty(), "a group in a group");
  pretend::nccl.open = true;
  return ncclSuccess;
}
namespace pretend {
inline ncclResult_t add(const message& m, ncclComm_t comm, stream* s) {
  expect(comm->open, "a message outside of a group");
  expect(m.bytes > 0, "an empty message");
  comm->group.push_back(m);
  comm->on = s;
  return std::exchange(comm->next_send, ncclSuccess);
}
} // namespace pretend
inline ncclResult_t ncclSend(const void* from, std::size_t n, ncclDataType_t, int peer, ncclComm_t comm,
                             cudaStream_t s) {
  return pretend::add({from, nullptr, static_cast<int>(n), peer}, comm, s);
}
inline ncclResult_t ncclRecv(void* to, std::size_t n, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t s) {
  return pretend::add({nullptr, to, static_cast<int>(n), peer}, comm, s);
}
inline ncclResult_t ncclGroupEnd() {
  auto& n = pretend::nccl;
  n.open = false;
  if (n.group.empty()) return ncclSuccess;
  n.on->tasks.push_back([group = std::exchange(n.group, {}), requests = std::vector<MPI_Request>()]() mutable {
    if (requests.empty())
      for (const pretend::message& m : group) {
        requests.emplace_back();
        if (m.to != nullptr)
          MPI_Irecv(m.to, m.bytes, MPI_BYTE, m.peer, 0, pretend::nccl.ranks, &requests.back());
        else
          MPI_Isend(m.from, m.bytes, MPI_BYTE, m.peer, 0, pretend::nccl.ranks, &requests.back());
      }
    int done = 0;
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    return done == 1;
  });
  return ncclSuccess;
}

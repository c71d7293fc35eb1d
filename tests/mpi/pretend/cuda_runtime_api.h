// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstddef>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

// As much of CUDA as mesh/nccl.hpp needs, on the host: a stream is a queue of tasks, and they are worked on, in their
// order, whenever somebody asks for an event. Names and signatures are CUDA's; the compile gate has the real ones.

enum cudaError_t { cudaSuccess, cudaErrorNotReady, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyDefault };
enum : unsigned { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  cudaUUID_t uuid;
};

namespace pretend {
struct stream {
  std::deque<std::function<bool()>> tasks; ///< true: it is done
  void work() {
    while (!tasks.empty() && tasks.front()()) tasks.pop_front();
  }
};
struct event {
  std::shared_ptr<bool> passed = std::make_shared<bool>(false);
  stream* on = nullptr;
  bool asked = false;
};
struct machine {
  int gpu = 0;                          ///< of this rank
  cudaError_t last = cudaSuccess;       ///< what cudaGetLastError would say
  cudaError_t next_query = cudaSuccess; ///< of an event, where it is not cudaSuccess
  int streams = 0, events = 0;          ///< that exist
};
inline machine here;
} // namespace pretend
using cudaStream_t = pretend::stream*;
using cudaEvent_t = pretend::event*;

inline const char* cudaGetErrorString(cudaError_t code) {
  return code == cudaErrorUnknown ? "a pretended error" : "none";
}
inline cudaError_t cudaGetLastError() {
  return std::exchange(pretend::here.last, cudaSuccess);
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  properties->uuid = {};
  properties->uuid.bytes[15] = static_cast<char>(pretend::here.gpu);
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = new pretend::stream;
  ++pretend::here.streams;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t s) {
  delete s;
  --pretend::here.streams;
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t s) {
  s->tasks.push_back([=] {
    std::memcpy(to, from, bytes);
    return true;
  });
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = new pretend::event;
  ++pretend::here.events;
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  --pretend::here.events;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  e->on = s;
  s->tasks.push_back([passed = e->passed] { return *passed = true; });
  return cudaSuccess;
}
inline cudaError_t cudaEventQuery(cudaEvent_t e) {
  if (std::exchange(e->asked, true)) e->on->work(); // the first one comes too early
  const cudaError_t answer = *e->passed ? pretend::here.next_query : cudaErrorNotReady;
  if (answer != cudaSuccess) pretend::here.last = answer;
  return answer;
}

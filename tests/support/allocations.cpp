// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "allocations.hpp"
#include <Kokkos_Core.hpp>
#include <cstring>

namespace switchyard_test {

namespace {
std::int64_t allocations = 0, allocated = 0;
bool poisoning = false;

void seen(Kokkos::Profiling::SpaceHandle space, const char*, const void* pointer, std::uint64_t size) {
  ++allocations;
  allocated += static_cast<std::int64_t>(size);
  if (poisoning && std::strncmp(space.name, "Host", 4) == 0 && pointer != nullptr)
    std::memset(const_cast<void*>(pointer), 0xff, size);
}
} // namespace

allocation_watch::allocation_watch(bool poison) {
  allocations = allocated = 0;
  poisoning = poison;
  Kokkos::Tools::Experimental::set_allocate_data_callback(seen);
}
allocation_watch::~allocation_watch() {
  Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr);
}

std::int64_t allocation_watch::count() const {
  return allocations;
}
std::int64_t allocation_watch::bytes() const {
  return allocated;
}

} // namespace switchyard_test

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <cstdint>

namespace switchyard_test {

/// Watches Kokkos' allocations while it lives: counts them, and fills new host memory with NaN bytes where asked, so
/// that whatever is not initialized shows. One at a time.
class allocation_watch {
 public:
  explicit allocation_watch(bool poison);
  allocation_watch(const allocation_watch&) = delete;
  allocation_watch& operator=(const allocation_watch&) = delete;
  ~allocation_watch();

  std::int64_t count() const;
  std::int64_t bytes() const;
};

} // namespace switchyard_test

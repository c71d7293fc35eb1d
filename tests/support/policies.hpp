// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string>
#include <switchyard/layer/config.hpp>
#include <vector>

namespace switchyard_test {

struct named_config {
  std::string name;
  switchyard::switch_config config;
  bool training = false;
  bool masked = false;
};

/// Every policy, loss, activation and exploration at least once, most of them where tokens are dropped.
std::vector<named_config> every_policy();

/// Combinations that every_policy() has not: rarer ones, for the tests of numbers.
std::vector<named_config> rarer_policies();

} // namespace switchyard_test

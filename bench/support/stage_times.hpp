// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

/// \file
/// Where the time of a pass goes, without a timer in the library: Kokkos says when a kernel with a name begins and
/// ends, and on host spaces a kernel has run when its call returns.

namespace bench {

/// Stages of a layer in the order of a pass, with the seconds of one call: the medians over `calls` calls. What the
/// kernels leave over - fills, launches, what happens between them - is the last stage, "rest".
std::vector<std::pair<std::string, double>> stage_times(const std::function<void()>& call, int calls);

/// The same with stages of the caller's: stage(label, region) of every kernel, where region is the names of the open
/// ones, each with a ';' behind it. In the order of their names, "rest" last.
std::vector<std::pair<std::string, double>>
stage_times(const std::function<void()>& call, int calls,
            const std::function<std::string(const std::string&, const std::string&)>& stage);

} // namespace bench

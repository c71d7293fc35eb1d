// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "layer_jobs.hpp"
#include "policies.hpp"
#include "together.hpp"
#include <algorithm>
#include <cmath>
#include <limits>

namespace layer_test {

namespace sy = switchyard;
using namespace switchyard_test;

std::vector<shape> shapes(bool has_replica, bool has_data, bool has_model) {
  std::vector<shape> all;
  const std::int64_t n = mpi_test::ranks();
  for (std::int64_t r = 1; r <= n; ++r)
    for (std::int64_t d = 1; r * d <= n; ++d) {
      if (n % (r * d) != 0) continue;
      const shape s{r, d, n / r / d};
      if (has_replica && s.replica == 1 && n > 1) continue;
      if ((has_replica || s.replica == 1) && (has_data || s.data == 1) && (has_model || s.model == 1)) all.push_back(s);
    }
  return all;
}

std::vector<named_job> jobs(std::int64_t model_ranks, int canonical, std::int64_t most_groups) {
  std::vector<named_job> all;
  std::uint64_t seed = 1;
  std::vector<named_config> policies = every_policy();
  for (const char* name : {"one expert takes all", "one expert takes all, dropless", "not a number"}) {
    sy::switch_config c = policies.front().config;
    c.dropless = std::string(name).ends_with("dropless");
    policies.push_back({name, c});
  }
  for (const named_config& n : policies) {
    ++seed;
    sy::switch_config c = n.config;
    const std::int64_t cuts = std::max<std::int64_t>(model_ranks, canonical); // a multiple of the ranks
    c.d_model = cuts * ((c.d_model + cuts - 1) / cuts);
    c.d_ff = cuts * ((c.d_ff + cuts - 1) / cuts);
    c.canonical = canonical;
    c.exchange_chunks = 1 + static_cast<int>(seed % 3); // how slots travel changes nothing
    if (c.experts > 1 && c.k <= 3) c.experts += static_cast<std::int64_t>(seed % 4) - 1; // 3 to 6
    const std::int64_t groups = seed % 7 == 0 ? 1 : seed % 11 == 0 ? 0 : most_groups;
    const std::int64_t tokens = 11;
    job j = random_job(c, groups, tokens, seed);
    j.training = n.training;
    j.step = 3;
    j.replays = 2;
    j.accumulate = true;
    j.loss_scale = 2;
    if (n.masked)
      for (std::int64_t i = 0; i < groups * tokens; ++i) j.mask.push_back((i * 7 + 3) % 10 < 6 ? 1 : 0);
    if (n.name.starts_with("one expert"))
      for (double& x : j.x) x = std::abs(x);
    if (n.name.starts_with("one expert"))
      for (std::size_t i = 0; i < j.weights.router.size(); ++i)
        j.weights.router[i] = i % static_cast<std::size_t>(c.experts) == 1 ? 1 : 0;
    if (n.name == "not a number" && !j.x.empty()) j.x[j.x.size() / 2] = std::numeric_limits<double>::quiet_NaN();
    all.push_back({n.name, j});
  }
  return all;
}

} // namespace layer_test

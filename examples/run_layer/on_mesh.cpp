// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "on_mesh.hpp"
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>

namespace run_layer {
namespace {

using switchyard::part;
using parts = std::vector<part>;
using extents = std::vector<std::int64_t>;

/// Calls f(element of the part, element of the whole) for a row-major tensor.
template <class F>
void for_each(const extents& whole, const parts& here, const F& f) {
  std::int64_t size = 1;
  for (const part& p : here) size *= p.count;
  for (std::int64_t i = 0; i < size; ++i) {
    std::int64_t rest = i, at = 0, stride = 1;
    for (std::size_t d = whole.size(); d-- > 0;) {
      at += (here[d].begin + rest % here[d].count) * stride;
      rest /= here[d].count;
      stride *= whole[d];
    }
    f(static_cast<std::size_t>(i), static_cast<std::size_t>(at));
  }
}

std::vector<double> cut(const std::vector<double>& from, const extents& whole, const parts& here) {
  std::vector<double> to;
  if (!from.empty()) for_each(whole, here, [&](std::size_t, std::size_t at) { to.push_back(from[at]); });
  return to;
}

/// Gathers the values and parts of all ranks.
class gathering {
 public:
  gathering(const switchyard::communicator& world, const rank_part& here) : world_(world) {
    const std::vector<std::int64_t> mine{here.groups.begin,  here.groups.count, here.experts.begin,
                                         here.experts.count, here.d_ff.begin,   here.d_ff.count};
    const std::vector<std::int64_t> all = of_ranks(mine);
    for (std::size_t r = 0; r < all.size(); r += 6)
      ranks_.push_back({{all[r], all[r + 1]}, {all[r + 2], all[r + 3]}, {all[r + 4], all[r + 5]}});
  }

  /// The values of all ranks, one behind the other.
  template <class T>
  std::vector<T> of_ranks(const std::vector<T>& mine) const {
    const auto ranks = static_cast<std::size_t>(world_.size()), here = static_cast<std::size_t>(world_.rank());
    std::vector<std::int64_t> counts(ranks, 0);
    counts[here] = static_cast<std::int64_t>(mine.size());
    world_.all_gather(counts.data(), std::vector<std::int64_t>(ranks, 1), sizeof(std::int64_t));
    const auto before = std::accumulate(counts.begin(), counts.begin() + world_.rank(), std::int64_t{0});
    std::vector<T> all(static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
    std::copy(mine.begin(), mine.end(), all.begin() + before);
    world_.all_gather(all.data(), counts, sizeof(T));
    return all;
  }

  /// The whole tensor; `where` says which part of it a rank has. Ranks with the same part have the same values.
  template <class T, class Where>
  std::vector<T> join(const std::vector<T>& mine, const extents& whole, const Where& where) const {
    const std::vector<T> all = of_ranks(mine);
    std::vector<T> result;
    if (all.empty()) return result;
    result.resize(static_cast<std::size_t>(
        std::accumulate(whole.begin(), whole.end(), std::int64_t{1}, std::multiplies<std::int64_t>())));
    std::size_t first = 0;
    for (const rank_part& rank : ranks_) {
      std::size_t size = 0;
      for_each(whole, where(rank), [&](std::size_t i, std::size_t at) {
        result[at] = all[first + i];
        ++size;
      });
      first += size;
    }
    return result;
  }

 private:
  const switchyard::communicator& world_;
  std::vector<rank_part> ranks_;
};

} // namespace

placement parse_placement(std::string_view mesh, std::string_view layout) {
  placement where;
  bool seen[2] = {false, false};
  for (std::string_view rest = mesh; !rest.empty() || mesh.empty();) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    const auto equals = one.find('=');
    const std::string_view axis = one.substr(0, equals);
    const int which = axis == "data" ? 0 : axis == "model" ? 1 : -1;
    const std::string_view number = equals == one.npos ? "" : one.substr(equals + 1);
    std::int64_t extent = 0;
    const auto read = std::from_chars(number.data(), number.data() + number.size(), extent);
    if (which < 0 || seen[which] || read.ec != std::errc{} || read.ptr != number.data() + number.size() || extent < 1)
      fail("--mesh ", mesh, ": must be data=<ranks>,model=<ranks>, each once and at least 1; one may be left out");
    seen[which] = true;
    (which == 0 ? where.data : where.model) = extent;
  }
  for (const auto known :
       {layout::data, layout::model, layout::data_model, layout::expert_data, layout::expert_model_data})
    if (layout == name(known)) {
      where.layout = known;
      return where;
    }
  fail("--layout ", layout, ": must be data, model, data_model, expert_data or expert_model_data");
}

problem part_of_problem(const problem& p, const rank_part& here) {
  const switchyard::switch_config& c = p.config;
  const parts tokens{here.groups, {0, p.tokens}, {0, c.d_model}};
  const parts in{here.experts, {0, c.d_model}, here.d_ff}, out{here.experts, here.d_ff, {0, c.d_model}};
  problem mine;
  mine.config = c;
  mine.groups = here.groups.count;
  mine.tokens = p.tokens;
  mine.x = cut(p.x, {p.groups, p.tokens, c.d_model}, tokens);
  mine.weight = {p.weight.router, cut(p.weight.wi, {c.experts, c.d_model, c.d_ff}, in),
                 cut(p.weight.wi_gate, {c.experts, c.d_model, c.d_ff}, in),
                 cut(p.weight.wo, {c.experts, c.d_ff, c.d_model}, out)};
  if (p.dy) mine.dy = cut(*p.dy, {p.groups, p.tokens, c.d_model}, tokens);
  if (p.mask) mine.mask = cut(*p.mask, {p.groups, p.tokens}, {here.groups, {0, p.tokens}});
  return mine;
}

answer join(const switchyard::communicator& world, const problem& p, const rank_part& here, const answer& a) {
  const switchyard::switch_config& c = p.config;
  const gathering all(world, here);
  const auto by_group = [&](const auto& mine, std::int64_t rows, std::int64_t columns) {
    return all.join(mine, {p.groups, rows, columns}, [&](const rank_part& r) {
      return parts{r.groups, {0, rows}, {0, columns}};
    });
  };
  const auto by_expert = [&](const std::vector<double>& mine, bool in) {
    const extents whole = in ? extents{c.experts, c.d_model, c.d_ff} : extents{c.experts, c.d_ff, c.d_model};
    return all.join(mine, whole, [&](const rank_part& r) {
      const part m{0, c.d_model};
      return in ? parts{r.experts, m, r.d_ff} : parts{r.experts, r.d_ff, m};
    });
  };
  answer result = a; // losses and the router's gradient are those of all ranks already
  result.y = by_group(a.y, p.tokens, c.d_model);
  result.probs = by_group(a.probs, p.tokens, c.experts);
  result.expert_index = by_group(a.expert_index, p.tokens, p.choices());
  result.slot = by_group(a.slot, p.tokens, p.choices());
  result.kept = by_group(a.kept, p.tokens, p.choices());
  result.token_index = by_group(a.token_index, c.experts, p.capacity());
  result.gate = p.by_experts() ? by_group(a.gate, c.experts, p.capacity()) : by_group(a.gate, p.tokens, p.choices());
  result.dx = by_group(a.dx, p.tokens, c.d_model);
  result.gradient.wi = by_expert(a.gradient.wi, true);
  result.gradient.wi_gate = by_expert(a.gradient.wi_gate, true);
  result.gradient.wo = by_expert(a.gradient.wo, false);
  return result;
}

void gather_ranks(const switchyard::communicator& world, traffic_report& report) {
  const gathering all(world, {});
  for (sent_bytes& row : report) {
    row.predicted = all.of_ranks(row.predicted);
    row.sent = all.of_ranks(row.sent);
  }
}

std::string report_text(const placement& where, std::string_view precision, const traffic_report& report) {
  nlohmann::ordered_json communication = nlohmann::ordered_json::array();
  for (const sent_bytes& row : report) {
    const auto sum = [](const std::vector<std::int64_t>& v) {
      return std::accumulate(v.begin(), v.end(), std::int64_t{0});
    };
    communication.push_back({{"axis", row.axis},
                             {"collective", row.collective},
                             {"pass", row.pass},
                             {"predicted_bytes", sum(row.predicted)},
                             {"sent_bytes", sum(row.sent)},
                             {"predicted_bytes_of_ranks", row.predicted},
                             {"sent_bytes_of_ranks", row.sent}});
  }
  const nlohmann::ordered_json all{{"mesh", {{"data", where.data}, {"model", where.model}}},
                                   {"layout", name(where.layout)},
                                   {"precision", precision},
                                   {"communication", communication}};
  return all.dump(1) + '\n';
}

} // namespace run_layer

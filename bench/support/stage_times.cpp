// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "support/stage_times.hpp"
#include "support/measure.hpp"
#include <Kokkos_Core.hpp>
#include <array>
#include <cstring>
#include <map>

namespace bench {
namespace {

struct span {
  std::string label, region; // the outermost two regions, joined
  double seconds;
};

// Kokkos' callbacks are plain functions: what they write to must be found without an argument.
std::vector<span> spans;
std::vector<std::string> regions;
std::string open_label;
double opened = 0;
int depth = 0; // a kernel inside a kernel belongs to the outer one

void begin(const char* label, std::uint32_t, std::uint64_t*) {
  if (depth++ > 0) return;
  open_label = label;
  opened = seconds_now();
}
void end(std::uint64_t) {
  if (--depth > 0) return;
  const double now = seconds_now();
  std::string region;
  for (const auto& r : regions) region += r + ";";
  spans.push_back({open_label, region, now - opened});
}
void push(const char* name) {
  regions.emplace_back(name);
}
void pop() {
  regions.pop_back();
}

void listen(bool on) {
  namespace tools = Kokkos::Tools::Experimental;
  tools::set_begin_parallel_for_callback(on ? begin : nullptr);
  tools::set_end_parallel_for_callback(on ? end : nullptr);
  tools::set_begin_parallel_reduce_callback(on ? begin : nullptr);
  tools::set_end_parallel_reduce_callback(on ? end : nullptr);
  tools::set_begin_parallel_scan_callback(on ? begin : nullptr);
  tools::set_end_parallel_scan_callback(on ? end : nullptr);
  tools::set_push_region_callback(on ? push : nullptr);
  tools::set_pop_region_callback(on ? pop : nullptr);
}

constexpr std::array stage_order{
    "logits",           "selection", "slots",   "losses", "gather", "first_product",   "second_product", "combine",
    "combine_backward", "d_hidden",  "d_input", "d_wo",   "d_wi",   "router_d_logits", "router_dx",      "router_dw"};

/// All kernels that only one stage has. A kernel named here after its stage, "switchyard::...::first_product", is
/// that stage wherever it runs.
std::string stage_of(const std::string& label) {
  static const std::map<std::string, std::string> known{{"router::decide", "selection"},
                                                        {"router::count_slots", "losses"},
                                                        {"router::gates", "selection"},
                                                        {"router::scale_input", "logits"},
                                                        {"router::count_choices", "slots"},
                                                        {"router::scan_choices", "slots"},
                                                        {"router::assign_slots", "slots"},
                                                        {"router::sum_groups", "losses"},
                                                        {"router::sum_experts", "losses"},
                                                        {"router::balance", "losses"},
                                                        {"router::summary", "losses"},
                                                        {"router::loss_gradient", "losses"},
                                                        {"dispatch::group_offset", "gather"},
                                                        {"dispatch::list_rows", "gather"},
                                                        {"dispatch::fill_blocks", "gather"},
                                                        {"combine::forward", "combine"},
                                                        {"combine::backward", "combine_backward"},
                                                        {"router::backward", "router_d_logits"}};
  const std::string prefix = "switchyard::";
  const std::string name = label.starts_with(prefix) ? label.substr(prefix.size()) : label;
  if (const auto at = known.find(name); at != known.end()) return at->second;
  const std::string last = name.substr(name.rfind(':') + 1);
  for (const char* stage : stage_order)
    if (last == stage) return stage;
  return {};
}

/// Products share a label: they are told apart by their region and their turn in the pass.
std::map<std::string, double> stages_of_call() {
  static constexpr std::array forward{"first_product", "second_product"};
  static constexpr std::array backward{"d_hidden", "d_input", "router_dx"};
  static constexpr std::array gradient{"d_wo", "d_wi", "router_dw"};
  std::size_t forward_turn = 0, backward_turn = 0, gradient_turn = 0;
  std::map<std::string, double> sum;
  for (const auto& s : spans) {
    std::string stage = stage_of(s.label);
    const bool in_backward = s.region.find("::backward;") != std::string::npos;
    const bool product = s.label == "switchyard::gemm::product";
    if (s.region.find("bench::router;") != std::string::npos) { // a room alone
      if (product) stage = sum.contains("router_d_logits") ? "router_dx" : "logits";
      if (s.label == "switchyard::gemm::weight_gradient") stage = "router_dw";
    } else if (product) {
      if (s.region.find("switchyard::router;") != std::string::npos)
        stage = "logits";
      else if (!in_backward && forward_turn < forward.size())
        stage = forward[forward_turn++];
      else if (in_backward && backward_turn < backward.size())
        stage = backward[backward_turn++];
    } else if (s.label == "switchyard::gemm::weight_gradient" && gradient_turn < gradient.size()) {
      stage = gradient[gradient_turn++];
    }
    sum[stage.empty() ? s.label : stage] += s.seconds;
  }
  return sum;
}

} // namespace

namespace {

/// Median seconds of every stage of one call, and of what its kernels leave over.
std::map<std::string, double> medians(const std::function<void()>& call, int calls,
                                      const std::function<std::map<std::string, double>()>& stages) {
  std::map<std::string, std::vector<double>> all;
  listen(true);
  for (int n = 0; n < calls; ++n) {
    spans.clear();
    const double start = seconds_now();
    call();
    double rest = seconds_now() - start;
    for (const auto& [stage, seconds] : stages()) {
      all[stage].push_back(seconds);
      rest -= seconds;
    }
    all["rest"].push_back(rest);
  }
  listen(false);
  std::map<std::string, double> result;
  for (const auto& [stage, seconds] : all) result[stage] = quartiles_of(seconds).median;
  return result;
}

} // namespace

std::vector<std::pair<std::string, double>> stage_times(const std::function<void()>& call, int calls) {
  auto all = medians(call, calls, stages_of_call);
  std::vector<std::pair<std::string, double>> ordered;
  const auto take = [&](const std::string& stage) {
    const auto at = all.find(stage);
    if (at == all.end()) return;
    ordered.emplace_back(stage, at->second);
    all.erase(at);
  };
  for (const char* stage : stage_order) take(stage);
  const double rest = all["rest"];
  all.erase("rest");
  while (!all.empty()) take(std::string(all.begin()->first)); // a kernel that no stage knows, under its own name
  ordered.emplace_back("rest", rest);
  return ordered;
}

std::vector<std::pair<std::string, double>>
stage_times(const std::function<void()>& call, int calls,
            const std::function<std::string(const std::string&, const std::string&)>& stage) {
  const auto all = medians(call, calls, [&] {
    std::map<std::string, double> sum;
    for (const auto& s : spans) sum[stage(s.label, s.region)] += s.seconds;
    return sum;
  });
  std::vector<std::pair<std::string, double>> ordered;
  for (const auto& [name, seconds] : all)
    if (name != "rest") ordered.emplace_back(name, seconds);
  ordered.emplace_back("rest", all.at("rest"));
  return ordered;
}

} // namespace bench

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "config.hpp"
#include "problem.hpp"
#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace run_layer {
namespace {

using nlohmann::json;
using namespace switchyard;

constexpr std::array known_keys{"routing",
                                "k",
                                "renormalize",
                                "second_expert",
                                "threshold",
                                "order",
                                "capacity_factor",
                                "capacity_rounding",
                                "min_capacity",
                                "activation",
                                "gated",
                                "load_balance",
                                "load_balance_form",
                                "load_balance_scope",
                                "router_z",
                                "importance",
                                "exchange_chunks",
                                "canonical"};

template <class Strings>
std::string listed(const Strings& strings) {
  std::string all;
  for (const auto& s : strings) all += (all.empty() ? "" : ", ") + std::string(s);
  return all;
}

std::string shown(const json& value) {
  constexpr std::size_t most = 60;
  const std::string text = value.dump();
  return text.size() <= most ? text : text.substr(0, most) + "...";
}

/// The text as one JSON object without repeated keys.
json parse_object(std::string_view text) {
  std::set<std::string> seen;
  const auto watch_keys = [&seen](int depth, json::parse_event_t event, json& key) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(key.get<std::string>()).second)
      fail("key ", shown(key), ": it stands there twice; keep one");
    return true;
  };
  json object;
  try {
    object = json::parse(text, watch_keys);
  } catch (const json::exception& problem) {
    fail("the text is not JSON (", problem.what(), "); write one object {\"key\": value, ...}");
  }
  if (!object.is_object()) fail("the text is ", object.type_name(), ": must be one object {\"key\": value, ...}");
  for (const auto& [key, value] : object.items())
    if (std::find(known_keys.begin(), known_keys.end(), key) == known_keys.end())
      fail("key ", json(key).dump(), ": unknown; the keys are ", listed(known_keys));
  return object;
}

/// Reads the keys of an object into variables, which keep their value where the key is missing.
class reader {
 public:
  explicit reader(const json& object) : object_(object) {}

  void number(const char* key, double& to) const {
    with(key, [&](const json& value) {
      if (!value.is_number()) wrong(key, value, "a number");
      to = value.get<double>();
    });
  }
  void boolean(const char* key, bool& to) const {
    with(key, [&](const json& value) {
      if (!value.is_boolean()) wrong(key, value, "true or false");
      to = value.get<bool>();
    });
  }
  template <class T>
  void whole(const char* key, T& to) const {
    with(key, [&](const json& value) {
      if (!value.is_number_integer()) wrong(key, value, "a whole number");
      constexpr auto limit = std::numeric_limits<std::int32_t>::max();
      const bool large = value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{limit};
      if (large || value.get<std::int64_t>() < -limit) wrong(key, value, "below 2^31 in size");
      to = value.get<T>();
    });
  }
  /// One of several words.
  template <class Enum, std::size_t N>
  void word(const char* key, Enum& to, const std::pair<const char*, Enum> (&words)[N]) const {
    with(key, [&](const json& value) {
      std::vector<std::string> allowed;
      for (const auto& [name, meaning] : words) {
        if (value == name) return void(to = meaning);
        allowed.push_back(json(name).dump());
      }
      wrong(key, value, "one of " + listed(allowed));
    });
  }
  template <class Read>
  void with(const char* key, const Read& read) const {
    if (const auto at = object_.find(key); at != object_.end()) read(*at);
  }
  [[noreturn]] static void wrong(const char* key, const json& value, const std::string& allowed) {
    fail(key, " = ", shown(value), ": must be ", allowed);
  }

 private:
  const json& object_;
};

} // namespace

switch_config parse_config(std::string_view text) {
  const json object = parse_object(text);
  const reader read(object);
  switch_config c;
  c.load_balance = 0; // the library's default is the paper's 1e-2

  read.word("routing", c.routing,
            {{"switch", routing_policy::top_1},
             {"top_k", routing_policy::top_k},
             {"no_token_left_behind", routing_policy::no_token_left_behind},
             {"expert_choice", routing_policy::expert_choice}});
  int k = 1;
  read.whole("k", k);
  if (c.routing == routing_policy::top_k || c.routing == routing_policy::no_token_left_behind) {
    if (k < 1) fail("k = ", k, ": must be at least 1; leave it out for the default");
    if (object.contains("k")) c.k = k; // 0 stands for the routing's default
  }
  read.word("renormalize", c.renormalize,
            {{"none", renormalize_policy::none},
             {"before_drop", renormalize_policy::before_drop},
             {"after_drop", renormalize_policy::after_drop}});
  read.word("second_expert", c.second_expert,
            {{"all", second_expert_policy::all},
             {"none", second_expert_policy::none},
             {"threshold", second_expert_policy::threshold}});
  read.number("threshold", c.threshold);
  read.word("order", c.order, {{"token", slot_order::token}, {"batch_prioritized", slot_order::batch_prioritized}});

  read.with("capacity_factor", [&](const json& value) {
    c.dropless = value == "dropless";
    if (!c.dropless && !value.is_number()) reader::wrong("capacity_factor", value, "a number above 0 or \"dropless\"");
    if (!c.dropless) c.capacity_factor = value.get<double>();
    if (!(c.capacity_factor > 0))
      fail("capacity_factor = ", shown(value), ": must be above 0; for no limit at all write \"dropless\"");
  });
  read.word("capacity_rounding", c.capacity_rounding,
            {{"truncate", capacity_policy::truncate},
             {"half_even", capacity_policy::half_even},
             {"ceil", capacity_policy::ceil},
             {"multiple_of_4", capacity_policy::multiple_of_4}});
  read.whole("min_capacity", c.min_capacity);

  read.word("activation", c.activation,
            {{"relu", activation_kind::relu},
             {"gelu", activation_kind::gelu},
             {"gelu_tanh", activation_kind::gelu_tanh},
             {"silu", activation_kind::silu}});
  read.boolean("gated", c.gated);

  read.number("load_balance", c.load_balance);
  read.word("load_balance_form", c.load_balance_form,
            {{"first_choice", balance_form::first_choice}, {"any_of_k", balance_form::any_of_k}});
  read.word("load_balance_scope", c.load_balance_scope,
            {{"group", balance_scope::group}, {"batch", balance_scope::batch}});
  read.number("router_z", c.router_z);
  read.number("importance", c.importance);
  read.whole("exchange_chunks", c.exchange_chunks);
  read.whole("canonical", c.canonical);

  switch_config sized = c; // all but the sizes, and k against them, can be checked now
  sized.d_model = sized.d_ff = std::max(c.canonical, 1);
  sized.experts = std::max(c.k, max_choices);
  validate(sized);
  return c;
}

} // namespace run_layer

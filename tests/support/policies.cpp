// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "policies.hpp"

namespace switchyard_test {

namespace {

/// What all of them change.
const switchyard::switch_config base{.d_model = 5,
                                     .d_ff = 7,
                                     .experts = 4,
                                     .capacity_factor = 0.9,
                                     .min_capacity = 0,
                                     .activation = switchyard::activation_kind::gelu,
                                     .load_balance = 0.3,
                                     .router_z = 0.2};

} // namespace

std::vector<named_config> every_policy() {
  using namespace switchyard;
  std::vector<named_config> all;
  const auto add = [&](const std::string& name, auto change, bool training = false, bool masked = false) {
    switch_config c = base;
    change(c);
    all.push_back({name, c, training, masked});
  };
  const auto top_k = [](int k) {
    return [k](switch_config& c) {
      c.routing = routing_policy::top_k;
      c.k = k;
    };
  };

  add("top_1", [](auto&) {});
  add(
      "top_1, masked", [](auto&) {}, false, true);
  add("top_1, one expert", [](auto& c) { c.experts = 1; });
  add("top_1, dropless", [](auto& c) { c.dropless = true; });
  add(
      "top_1, batch prioritized", [](auto& c) { c.order = slot_order::batch_prioritized; }, false, true);
  for (const auto rounding :
       {capacity_policy::truncate, capacity_policy::half_even, capacity_policy::ceil, capacity_policy::multiple_of_4})
    add("top_1, rounding " + std::to_string(static_cast<int>(rounding)),
        [&](auto& c) { c.capacity_rounding = rounding; });
  add("top_1, min capacity", [](auto& c) { c.min_capacity = 4; });
  add(
      "top_1, another factor in training", [](auto& c) { c.eval_capacity_factor = 2; }, true);
  add(
      "top_1, another factor in evaluation", [](auto& c) { c.eval_capacity_factor = 2; }, false);

  for (const auto renormalize :
       {renormalize_policy::none, renormalize_policy::before_drop, renormalize_policy::after_drop})
    for (const int k : {1, 2, 3, 4})
      add(
          "top_" + std::to_string(k) + ", renormalize " + std::to_string(static_cast<int>(renormalize)),
          [&](auto& c) {
            top_k(k)(c);
            c.renormalize = renormalize;
          },
          false, k == 2);
  for (const auto second : {second_expert_policy::none, second_expert_policy::threshold, second_expert_policy::random})
    for (const auto renormalize : {renormalize_policy::before_drop, renormalize_policy::after_drop})
      add("top_3, second expert " + std::to_string(static_cast<int>(second)) + ", renormalize " +
              std::to_string(static_cast<int>(renormalize)),
          [&](auto& c) {
            top_k(3)(c);
            c.renormalize = renormalize;
            c.second_expert = second;
          });
  add("top_2, batch prioritized", [&](auto& c) {
    top_k(2)(c);
    c.order = slot_order::batch_prioritized;
  });
  add("top_2, dropless", [&](auto& c) {
    top_k(2)(c);
    c.dropless = true;
  });
  add(
      "no token left behind", [](auto& c) { c.routing = routing_policy::no_token_left_behind; }, false, true);
  add("no token left behind, 2 stages, batch prioritized", [](auto& c) {
    c.routing = routing_policy::no_token_left_behind;
    c.k = 2;
    c.order = slot_order::batch_prioritized;
  });
  add("expert choice", [](auto& c) { c.routing = routing_policy::expert_choice; });
  add(
      "expert choice, masked", [](auto& c) { c.routing = routing_policy::expert_choice; }, false, true);
  add("expert choice, dropless", [](auto& c) {
    c.routing = routing_policy::expert_choice;
    c.dropless = true;
  });

  for (const auto kind :
       {activation_kind::relu, activation_kind::gelu, activation_kind::gelu_tanh, activation_kind::silu})
    for (const bool gated : {false, true})
      for (const bool bias : {false, true})
        add("activation " + std::to_string(static_cast<int>(kind)) + (gated ? ", gated" : "") + (bias ? ", bias" : ""),
            [&](auto& c) {
              c.activation = kind;
              c.gated = gated;
              c.bias = bias;
            });

  add("balance of any of k", [&](auto& c) {
    top_k(2)(c);
    c.load_balance_form = balance_form::any_of_k;
  });
  add(
      "balance over the batch", [](auto& c) { c.load_balance_scope = balance_scope::batch; }, false, true);
  add("balance over the batch, any of k", [&](auto& c) {
    top_k(2)(c);
    c.load_balance_scope = balance_scope::batch;
    c.load_balance_form = balance_form::any_of_k;
  });
  add(
      "importance", [](auto& c) { c.importance = 0.7; }, false, true);
  add(
      "load", [](auto& c) { c.load = 0.7; }, false, true);
  add("load of top_2", [&](auto& c) {
    top_k(2)(c);
    c.load = 0.7;
  });
  add("every loss, softcap", [&](auto& c) {
    top_k(2)(c);
    c.importance = 0.4;
    c.load = 0.5;
    c.logit_softcap = 1.5;
  });
  add(
      "jitter", [](auto& c) { c.jitter = 0.1; }, true);
  add(
      "input dropout and jitter",
      [](auto& c) {
        c.input_dropout = 0.2;
        c.jitter = 0.1;
      },
      true);
  add(
      "sampled experts",
      [&](auto& c) {
        top_k(2)(c);
        c.sample_temperature = 0.7;
      },
      true);
  add(
      "expert dropout", [](auto& c) { c.expert_dropout = 0.4; }, true);
  add(
      "expert dropout, gated ReLU, bias",
      [](auto& c) {
        c.activation = activation_kind::relu;
        c.gated = true;
        c.bias = true;
        c.expert_dropout = 0.4;
      },
      true);
  add(
      "expert dropout, plain ReLU",
      [](auto& c) {
        c.activation = activation_kind::relu;
        c.expert_dropout = 0.4;
      },
      true);
  return all;
}

std::vector<named_config> rarer_policies() {
  using namespace switchyard;
  std::vector<named_config> all;
  const auto add = [&](const char* name, auto change, bool training, bool masked) {
    switch_config c = base;
    change(c);
    all.push_back({name, c, training, masked});
  };
  add(
      "sampled top_1", [](auto& c) { c.sample_temperature = 0.7; }, true, true);
  add(
      "sampled top_3, renormalized, batch prioritized",
      [](auto& c) {
        c.routing = routing_policy::top_k;
        c.k = 3;
        c.renormalize = renormalize_policy::after_drop;
        c.order = slot_order::batch_prioritized;
        c.sample_temperature = 1.3;
      },
      true, false);
  add(
      "sampled, no token left behind",
      [](auto& c) {
        c.routing = routing_policy::no_token_left_behind;
        c.sample_temperature = 0.7;
      },
      true, false);
  add(
      "input dropout alone", [](auto& c) { c.input_dropout = 0.2; }, true, true);
  add(
      "expert choice, jitter and input dropout",
      [](auto& c) {
        c.routing = routing_policy::expert_choice;
        c.jitter = 0.1;
        c.input_dropout = 0.2;
      },
      true, true);
  for (const auto second : {second_expert_policy::threshold, second_expert_policy::random})
    add(
        second == second_expert_policy::random ? "random second expert, not renormalized"
                                               : "second expert above the threshold, not renormalized",
        [&](auto& c) {
          c.routing = routing_policy::top_k;
          c.second_expert = second;
          c.threshold = 0.4;
        },
        false, true);
  add(
      "no token left behind, load loss",
      [](auto& c) {
        c.routing = routing_policy::no_token_left_behind;
        c.k = 2;
        c.load = 0.7;
      },
      false, true);
  return all;
}

} // namespace switchyard_test

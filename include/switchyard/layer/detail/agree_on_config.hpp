// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/config.hpp>
#include <switchyard/mesh/agree.hpp>

namespace switchyard::detail {

/// Throws disagreement on every rank alike where one of them was given another configuration. Collective.
inline void agree_on_config(const communicator& world, const switch_config& c) {
  const auto number = [](auto policy) { return static_cast<int>(policy); };
  agree_on(world, {{"d_model", c.d_model},
                   {"d_ff", c.d_ff},
                   {"experts", c.experts},
                   {"routing", number(c.routing)},
                   {"k", c.k},
                   {"renormalize", number(c.renormalize)},
                   {"second_expert", number(c.second_expert)},
                   {"threshold", c.threshold},
                   {"order", number(c.order)},
                   {"capacity_factor", c.capacity_factor},
                   {"eval_capacity_factor", c.eval_capacity_factor},
                   {"capacity_rounding", number(c.capacity_rounding)},
                   {"min_capacity", c.min_capacity},
                   {"dropless", c.dropless},
                   {"activation", number(c.activation)},
                   {"gated", c.gated},
                   {"bias", c.bias},
                   {"expert_dropout", c.expert_dropout},
                   {"load_balance", c.load_balance},
                   {"load_balance_form", number(c.load_balance_form)},
                   {"load_balance_scope", number(c.load_balance_scope)},
                   {"router_z", c.router_z},
                   {"importance", c.importance},
                   {"load", c.load},
                   {"jitter", c.jitter},
                   {"input_dropout", c.input_dropout},
                   {"sample_temperature", c.sample_temperature},
                   {"logit_softcap", c.logit_softcap},
                   {"init_scale", c.init_scale},
                   {"seed", c.seed},
                   {"exchange_chunks", c.exchange_chunks},
                   {"canonical", c.canonical}});
}

} // namespace switchyard::detail

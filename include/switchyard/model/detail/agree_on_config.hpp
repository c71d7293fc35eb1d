// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <switchyard/layer/switch_layer.hpp>
#include <switchyard/model/config.hpp>

namespace switchyard::detail {

/// Throws disagreement on every rank alike where one of them was given another configuration, of the Switch layers too:
/// before anything is validated, as what is wrong on one rank alone must be an error of all. Collective.
inline void agree_on_config(const communicator& world, const transformer_config& c) {
  const auto number = [](auto policy) { return static_cast<int>(policy); };
  agree_on(world, {{"vocabulary", c.vocabulary},
                   {"d_model", c.d_model},
                   {"d_ff", c.d_ff},
                   {"heads", c.heads},
                   {"d_kv", c.d_kv},
                   {"encoder_layers", c.encoder_layers},
                   {"decoder_layers", c.decoder_layers},
                   {"activation", number(c.activation)},
                   {"gated", c.gated},
                   {"sparse", number(c.sparse)},
                   {"sparse_n", c.sparse_n},
                   {"sequences_per_group", c.sequences_per_group},
                   {"auxiliary", number(c.auxiliary)},
                   {"relative_buckets", c.relative_buckets},
                   {"relative_max_distance", c.relative_max_distance},
                   {"tied", c.tied},
                   {"pad_token", c.pad_token},
                   {"dropout", c.dropout},
                   {"z_loss", c.z_loss},
                   {"norm_epsilon", c.norm_epsilon},
                   {"init_scale", c.init_scale},
                   {"seed", c.seed}});
  if (c.sparse != sparse_pattern::none) agree_on_config(world, c.switch_layers());
}

} // namespace switchyard::detail

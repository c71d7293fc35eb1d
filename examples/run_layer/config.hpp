// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

#include <string_view>
#include <switchyard/layer/config.hpp>

namespace run_layer {

/// The configuration in a JSON text, all but the sizes (d_model, d_ff, experts), which the tensors have. Missing keys
/// take the defaults of the program, which are not all those of the library: see README.md.
/// Throws for text that is not one flat JSON object and for a key that is unknown, repeated or of a wrong kind.
switchyard::switch_config parse_config(std::string_view text);

} // namespace run_layer

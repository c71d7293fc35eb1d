// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// The Switch Transformer: the layer inside of a T5-style model, forward and backward, and decoding with a cache.

#include <switchyard/model/generate.hpp>
#include <switchyard/model/presets.hpp>
#include <switchyard/model/transformer.hpp>
#include <switchyard/switchyard.hpp>

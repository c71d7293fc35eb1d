// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// The Switch Transformer: the layer inside of a T5-style model, forward and backward.

#include <switchyard/model/presets.hpp>
#include <switchyard/model/transformer.hpp>
#include <switchyard/switchyard.hpp>

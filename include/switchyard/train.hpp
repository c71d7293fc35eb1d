// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// Training of the models: text, objectives, optimizers, and the order of a step.

#include <switchyard/model.hpp>
#include <switchyard/train/trainer.hpp>

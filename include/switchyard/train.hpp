// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// Training of the models: text, objectives, optimizers, the order of a step, and runs that are resumed.

#include <switchyard/model.hpp>
#include <switchyard/train/resume.hpp>
#include <switchyard/train/upcycle.hpp>

// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// The layer and the mesh. <switchyard/mpi.hpp> adds meshes of several processes.

#include <switchyard/config.hpp>
#include <switchyard/layer/switch_layer.hpp>

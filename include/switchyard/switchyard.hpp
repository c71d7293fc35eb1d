// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// The layer and the mesh. <switchyard/mpi.hpp> adds meshes of several processes.

#include <switchyard/config.hpp>
#include <switchyard/layer/switch_layer.hpp>
#include <switchyard/mesh/counting.hpp>
#include <switchyard/mesh/einsum.hpp>
#include <switchyard/mesh/elementwise.hpp>
#include <switchyard/mesh/phase.hpp>
#include <switchyard/mesh/picture.hpp>
#include <switchyard/mesh/reshard.hpp>

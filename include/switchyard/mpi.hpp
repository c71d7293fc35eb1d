// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

/// \file
/// switchyard::mpi(MPI_Comm): meshes of several processes. The only public header that sees <mpi.h>.

#include <switchyard/mesh/mpi.hpp>

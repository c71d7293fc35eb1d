// SPDX-FileCopyrightText: Switchyard contributors
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once

// What this copy of the library may use. This committed file has every optional engine off, so that a plain
// `-I include` beside Kokkos is enough; CMake puts a generated one before it with what it found.
// These macros choose defaults only (`default_engine`): no macro changes the meaning of a type that carries its
// engine in its name, so two libraries built with different settings never share a function.

#define SWITCHYARD_VERSION_MAJOR 0
#define SWITCHYARD_VERSION_MINOR 1
#define SWITCHYARD_VERSION_PATCH 0
#define SWITCHYARD_VERSION 100 // major * 10000 + minor * 100 + patch

#define SWITCHYARD_HAS_ONEDNN 0 // oneDNN with its micro-kernel API (dnnl_ukernel.h)
#define SWITCHYARD_HAS_BLAS 0   // a CBLAS
#define SWITCHYARD_HAS_CUBLAS 0 // cuBLAS, beside a Kokkos with CUDA
#define SWITCHYARD_HAS_WGMMA 0  // device code is for sm_90a: H100, H200
#define SWITCHYARD_HAS_MPI 0    // <mpi.h> for switchyard/mpi.hpp
#define SWITCHYARD_HAS_NCCL 0   // <nccl.h> for switchyard/mesh/nccl.hpp

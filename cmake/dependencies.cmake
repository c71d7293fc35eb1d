# Kokkos and Random123 are needed; MPI, oneDNN, BLAS and, with a Kokkos that has CUDA, cuBLAS are used where they are
# found.
# Sets switchyard_parts (targets to link) and SWITCHYARD_HAS_<part> (0 or 1).

if(NOT TARGET Kokkos::kokkos) # a parent project's Kokkos wins
  find_package(Kokkos 4.6...<6 CONFIG QUIET) # a range: Kokkos' version file accepts anything newer
  if(NOT Kokkos_FOUND)
    message(FATAL_ERROR "switchyard: Kokkos >= 4.6 and < 6 not found. Give -DKokkos_ROOT=<prefix>; "
                        "on Debian, cmake/install-deps.sh installs it.")
  endif()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/find_random123.cmake)
if(NOT TARGET switchyard_random123)
  message(FATAL_ERROR "switchyard: the headers of Random123 not found. Give -DSWITCHYARD_RANDOM123_DIR=<folder>; "
                      "on Debian, install librandom123-dev.")
endif()

set(switchyard_parts switchyard_random123)

# switchyard_part(<name> <target>): record whether an optional part is there.
function(switchyard_part name target)
  set(has 0)
  if(TARGET ${target})
    set(has 1)
    set(switchyard_parts ${switchyard_parts} ${target} PARENT_SCOPE)
  elseif(SWITCHYARD_ENABLE_${name} STREQUAL "ON")
    message(FATAL_ERROR "switchyard: SWITCHYARD_ENABLE_${name}=ON, but it was not found. "
                        "Install it, help CMake find it, or set AUTO or OFF.")
  endif()
  set(SWITCHYARD_HAS_${name} ${has} PARENT_SCOPE)
endfunction()

if(SWITCHYARD_ENABLE_MPI)
  find_package(MPI QUIET COMPONENTS CXX)
endif()
switchyard_part(MPI MPI::MPI_CXX)

set(switchyard_onednn none)
if(SWITCHYARD_ENABLE_ONEDNN)
  include(${CMAKE_CURRENT_LIST_DIR}/find_onednn.cmake)
endif()
switchyard_part(ONEDNN ${switchyard_onednn})

if(SWITCHYARD_ENABLE_BLAS)
  include(${CMAKE_CURRENT_LIST_DIR}/find_cblas.cmake)
endif()
switchyard_part(BLAS switchyard_cblas)

set(switchyard_cublas none)
if(SWITCHYARD_ENABLE_CUBLAS AND "CUDA" IN_LIST Kokkos_DEVICES)
  find_package(CUDAToolkit QUIET)
  set(switchyard_cublas CUDA::cublas)
endif()
switchyard_part(CUBLAS ${switchyard_cublas})

set(SWITCHYARD_HAS_WGMMA 0)
if(SWITCHYARD_ENABLE_WGMMA)
  include(${CMAKE_CURRENT_LIST_DIR}/code_for_sm_90a.cmake)
  set(SWITCHYARD_HAS_WGMMA 1)
endif()

if(SWITCHYARD_ENABLE_NCCL AND "CUDA" IN_LIST Kokkos_DEVICES) # of no use without
  include(${CMAKE_CURRENT_LIST_DIR}/find_nccl.cmake)
endif()
switchyard_part(NCCL switchyard_nccl)

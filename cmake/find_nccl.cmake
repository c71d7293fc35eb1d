# NCCL 2.13 or newer, as the target switchyard_nccl.
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND)
  find_path(SWITCHYARD_NCCL_DIR nccl.h HINTS ${NCCL_ROOT} ENV NCCL_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include
            DOC "Folder that holds nccl.h")
  find_library(SWITCHYARD_NCCL_LIBRARY nccl HINTS ${NCCL_ROOT} ENV NCCL_ROOT ${CUDAToolkit_LIBRARY_DIR}
               PATH_SUFFIXES lib lib64 DOC "The library of NCCL")
  mark_as_advanced(SWITCHYARD_NCCL_DIR SWITCHYARD_NCCL_LIBRARY)
  if(SWITCHYARD_NCCL_DIR AND SWITCHYARD_NCCL_LIBRARY AND NOT TARGET switchyard_nccl)
    file(STRINGS ${SWITCHYARD_NCCL_DIR}/nccl.h switchyard_nccl_code REGEX "define NCCL_VERSION_CODE +[0-9]+")
    string(REGEX REPLACE "[^0-9]" "" switchyard_nccl_code "${switchyard_nccl_code}")
    if(switchyard_nccl_code GREATER_EQUAL 21300)
      add_library(switchyard_nccl INTERFACE IMPORTED)
      target_include_directories(switchyard_nccl INTERFACE ${SWITCHYARD_NCCL_DIR})
      target_link_libraries(switchyard_nccl INTERFACE ${SWITCHYARD_NCCL_LIBRARY} CUDA::cudart)
    endif()
  endif()
endif()

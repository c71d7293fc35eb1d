# A BLAS with the C interface, as the target switchyard_cblas.
find_package(BLAS QUIET)
if(BLAS_FOUND)
  find_path(SWITCHYARD_CBLAS_DIR cblas.h PATH_SUFFIXES openblas openblas-openmp openblas-pthread
            PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} ${CMAKE_PREFIX_PATH})
  mark_as_advanced(SWITCHYARD_CBLAS_DIR)
  if(SWITCHYARD_CBLAS_DIR AND NOT TARGET switchyard_cblas)
    add_library(switchyard_cblas INTERFACE IMPORTED)
    target_include_directories(switchyard_cblas INTERFACE ${SWITCHYARD_CBLAS_DIR})
    target_link_libraries(switchyard_cblas INTERFACE BLAS::BLAS)
  endif()
endif()

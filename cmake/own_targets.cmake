# Flags of our own tests, examples and benchmarks. Nothing of this reaches a user of the library.

add_library(switchyard_own INTERFACE)
target_link_libraries(switchyard_own INTERFACE switchyard::switchyard)
if(NOT "CUDA" IN_LIST Kokkos_DEVICES) # what nvcc makes of a file is not ours; tests/cuda_compile has warnings as errors
  target_compile_options(
    switchyard_own
    INTERFACE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-Wall
              -Wextra
              -Wpedantic
              -Wconversion
              -Wshadow
              -Werror>
              $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>) # GCC 12 sees overlaps in std::string that are not there (PR 105651)
endif()
if(SWITCHYARD_SANITIZE) # -g1: reports name lines; -g would double the time to compile
  target_compile_options(switchyard_own INTERFACE -fsanitize=${SWITCHYARD_SANITIZE} -fno-sanitize-recover=all
                                                    -fno-omit-frame-pointer -g1)
  target_link_options(switchyard_own INTERFACE -fsanitize=${SWITCHYARD_SANITIZE})
endif()

# Beside a Kokkos that has CUDA the programs of this folder's tests run there: ctest -L cuda. Last in a folder's file.
function(switchyard_label_tests)
  get_property(tests DIRECTORY PROPERTY TESTS)
  if("CUDA" IN_LIST Kokkos_DEVICES AND tests)
    set_property(TEST ${tests} APPEND PROPERTY LABELS cuda)
  endif()
endfunction()

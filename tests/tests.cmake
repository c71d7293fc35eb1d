# How tests are made.

# The execution spaces of this Kokkos.
set(switchyard_spaces "")
foreach(space Serial OpenMP Threads Cuda)
  string(TOUPPER ${space} upper)
  if(${upper} IN_LIST Kokkos_DEVICES)
    list(APPEND switchyard_spaces ${space})
  endif()
endforeach()
set(test_environment OMP_PROC_BIND=false)
set(test_timeout 300) # seconds; a test that takes a minute takes many with sanitizers
if(SWITCHYARD_SANITIZE)
  set(test_timeout 900)
endif()

# Open MPI refuses more ranks than cores unless told.
set(mpi_flags "")
if(SWITCHYARD_HAS_MPI)
  execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE mpi_version ERROR_QUIET)
  if(mpi_version MATCHES "Open MPI|OpenRTE")
    set(mpi_flags --oversubscribe)
  endif()
endif()

# switchyard_include_directories(<out> <target>): those of a target and of all that it links, known while configuring.
function(switchyard_include_directories out)
  set(queue ${ARGN})
  set(all "")
  while(queue)
    list(POP_FRONT queue target)
    if(TARGET ${target})
      get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
      get_target_property(links ${target} INTERFACE_LINK_LIBRARIES)
      foreach(directory ${directories})
        string(REGEX REPLACE "^\\$<[A-Z_]+:(.*)>$" "\\1" directory "${directory}")
        cmake_path(NORMAL_PATH directory)
        if(IS_DIRECTORY "${directory}")
          list(APPEND all ${directory})
        endif()
      endforeach()
      list(APPEND queue ${links})
    endif()
  endwhile()
  list(REMOVE_DUPLICATES all)
  set(${out} ${all} PARENT_SCOPE)
endfunction()

# switchyard_test(<name> SOURCES <file>... [LABELS <label>...] [NO_HARNESS]): one executable, one ctest entry per test case.
# On one thread: layers this small spend more on waking threads than on themselves. That any number of threads gives the
# same bytes is a test of its own.
function(switchyard_test name)
  cmake_parse_arguments(arg "NO_HARNESS" "" "SOURCES;LABELS" ${ARGN})
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE switchyard_test_main)
  if(NOT arg_NO_HARNESS) # what knows no layer need not wait for it
    target_link_libraries(test_${name} PRIVATE switchyard_harness)
  endif()
  if("CUDA" IN_LIST Kokkos_DEVICES) # its layers run there too: ctest -L cuda
    list(APPEND arg_LABELS cuda)
  endif()
  if(arg_LABELS) # an empty value would be dropped on the way, and the next property would become it
    list(PREPEND arg_LABELS LABELS)
  endif()
  catch_discover_tests(test_${name} TEST_PREFIX "${name}: " DISCOVERY_MODE PRE_TEST
                       PROPERTIES ${arg_LABELS} ENVIRONMENT "${test_environment}"
                       ENVIRONMENT_MODIFICATION OMP_NUM_THREADS=set:1 TIMEOUT ${test_timeout})
endfunction()

# switchyard_threads_test(<name> <program>): what it prints with 1, 2 and 4 threads is the same, and its control is not.
function(switchyard_threads_test name program)
  add_test(NAME "${name}" COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${program}>
                                  -P ${CMAKE_CURRENT_SOURCE_DIR}/properties/compare_threads.cmake)
  set_tests_properties("${name}" PROPERTIES ENVIRONMENT "${test_environment}" TIMEOUT ${test_timeout})
endfunction()

set(mpi_environment OMP_PROC_BIND=false OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
                    ASAN_OPTIONS=detect_leaks=0)

# switchyard_mpi_test(<name> RANKS <n>... SOURCES <file>...): one executable, one ctest entry per number of ranks.
function(switchyard_mpi_test name)
  cmake_parse_arguments(arg "" "" "RANKS;SOURCES" ${ARGN})
  add_executable(test_mpi_${name} ${arg_SOURCES} support/main_mpi.cpp)
  target_link_libraries(test_mpi_${name} PRIVATE switchyard_own Catch2::Catch2)
  target_precompile_headers(test_mpi_${name} PRIVATE <Kokkos_Core.hpp> <catch2/catch_test_macros.hpp>)
  foreach(ranks ${arg_RANKS})
    add_test(NAME "mpi ${name}: ${ranks} ranks"
             COMMAND ${MPIEXEC_EXECUTABLE} ${mpi_flags} ${MPIEXEC_NUMPROC_FLAG} ${ranks} $<TARGET_FILE:test_mpi_${name}>)
    set_tests_properties(
      "mpi ${name}: ${ranks} ranks"
      PROPERTIES LABELS mpi TIMEOUT ${test_timeout} PROCESSORS 2 ENVIRONMENT "${mpi_environment}")
  endforeach()
endfunction()

# The tests of the model and of its training; included by those of the layer, whose functions and options they use.

# The model's operations, in the precisions that differ in kind.
set(model_precisions "uniform<double>;uniform<float>;selective<bfloat16>")
foreach(precision ${model_precisions})
  if(NOT precision IN_LIST SWITCHYARD_TEST_PRECISIONS)
    list(REMOVE_ITEM model_precisions ${precision})
  endif()
endforeach()
set(sources support/allocations.cpp)
set(declarations "")
set(entries "")
foreach(precision ${model_precisions}) # the whole model, each in a file of its own
  string(MAKE_C_IDENTIFIER ${precision} id)
  configure_file(model/harness_instance.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/model_${id}.cpp @ONLY)
  list(APPEND sources ${CMAKE_CURRENT_BINARY_DIR}/model_${id}.cpp)
  string(APPEND declarations "model_outcome run_${id}(const model_job&);\n")
  set(roundoff 0x1p-53)
  if(precision MATCHES "float>")
    set(roundoff 0x1p-24)
  endif()
  if(precision MATCHES "bfloat16>")
    set(roundoff 0x1p-8)
  endif()
  string(APPEND entries "      {\"${precision}\", ${roundoff}, run_${id}},\n")
endforeach()
configure_file(model/harness_subjects.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/model_subjects.cpp @ONLY)
add_library(switchyard_model_harness STATIC ${sources} ${CMAKE_CURRENT_BINARY_DIR}/model_subjects.cpp)
target_include_directories(switchyard_model_harness PUBLIC model)
target_link_libraries(switchyard_model_harness PUBLIC switchyard_own)
target_precompile_headers(switchyard_model_harness PRIVATE <Kokkos_Core.hpp>)

switchyard_test(model SOURCES model/rms_norm.cpp model/linear.cpp model/embedding.cpp model/attention.cpp
                              model/cross_entropy.cpp model/dense_layer.cpp model/configuration.cpp
                              model/transformer.cpp model/whole_model.cpp model/generate.cpp NO_HARNESS)
target_link_libraries(test_model PRIVATE switchyard_model_harness)
target_precompile_headers(test_model PRIVATE <Kokkos_Core.hpp> <catch2/catch_template_test_macros.hpp>)
list(JOIN model_precisions ", " model_precisions)
target_compile_definitions(test_model PRIVATE "SWITCHYARD_TEST_MODEL_PRECISIONS=${model_precisions}")

add_executable(test_model_threads model/threads.cpp)
target_link_libraries(test_model_threads PRIVATE switchyard_model_harness)
switchyard_threads_test("threads: the model gives the same bytes with 1, 2 and 4" test_model_threads)

# Training. The trainer in two precisions, each in a file of its own.
set(sources train/text.cpp train/optimizer.cpp support/allocations.cpp)
if("uniform<double>" IN_LIST SWITCHYARD_TEST_PRECISIONS)
  list(APPEND sources train/trainer_f64.cpp)
endif()
if("selective<bfloat16>" IN_LIST SWITCHYARD_TEST_PRECISIONS)
  list(APPEND sources train/trainer_bf16.cpp)
endif()
switchyard_test(train SOURCES ${sources} NO_HARNESS)
target_precompile_headers(test_train PRIVATE <Kokkos_Core.hpp> <catch2/catch_test_macros.hpp>)

if("selective<bfloat16>" IN_LIST SWITCHYARD_TEST_PRECISIONS)
  add_executable(test_train_threads train/threads.cpp)
  target_link_libraries(test_train_threads PRIVATE switchyard_own)
  switchyard_threads_test("threads: training gives the same bytes with 1, 2 and 4" test_train_threads)
endif()

# Both on ranks.
if(SWITCHYARD_HAS_MPI)
  set(more_models mpi/model_expert_data_bf16.cpp)
  if(NOT "selective<bfloat16>" IN_LIST SWITCHYARD_TEST_PRECISIONS)
    set(more_models "")
  endif()
  if(NOT SWITCHYARD_SANITIZE) # where a model takes minutes to compile: one layout of it, and no training on ranks
    list(APPEND more_models mpi/model_replicated_experts.cpp)
    switchyard_mpi_test(train RANKS 2 3 4 SOURCES mpi/train.cpp support/allocations.cpp)
    switchyard_mpi_test(train_axis RANKS 2 4 SOURCES mpi/train_axis.cpp support/allocations.cpp)
    set(shared_models mpi/model_axis.cpp)
    if("selective<bfloat16>" IN_LIST SWITCHYARD_TEST_PRECISIONS)
      list(APPEND shared_models mpi/model_axis_bf16.cpp)
    endif()
    switchyard_mpi_test(model_axis RANKS 2 4 SOURCES ${shared_models})
    target_link_libraries(test_mpi_model_axis PRIVATE switchyard_model_harness)
    if(SWITCHYARD_BUILD_EXAMPLES)
      target_link_libraries(test_mpi_model_axis PRIVATE plan_parts)
      target_compile_definitions(test_mpi_model_axis PRIVATE SWITCHYARD_TEST_PLAN)
    endif()
  endif()
  switchyard_mpi_test(models RANKS 1 2 3 4 SOURCES mpi/model_data.cpp ${more_models})
  target_link_libraries(test_mpi_models PRIVATE switchyard_model_harness)
  add_test(NAME "mpi failing: model, extents in read"
           COMMAND ${CMAKE_COMMAND} -D
                   "COMMAND=${MPIEXEC_EXECUTABLE};${mpi_flags};${MPIEXEC_NUMPROC_FLAG};2;$<TARGET_FILE:test_mpi_models>;failing model"
                   -D "EXPECT=rank 1 failed in phase 'read': switchyard: target .1, 3.: must be .1, 4." -D ENDS_WELL= -P
                   ${CMAKE_CURRENT_SOURCE_DIR}/mpi/failing.cmake)
  set_tests_properties("mpi failing: model, extents in read" PROPERTIES LABELS mpi TIMEOUT 60 PROCESSORS 2
                                                                        ENVIRONMENT "${mpi_environment}")
endif()

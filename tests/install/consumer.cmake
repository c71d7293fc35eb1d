# cmake -D MODE=... -D SOURCE=... -D PREFIX=... -D BUILD=... -D OPTIONS=... -P consumer.cmake
# Configures, builds and runs the consumer; it must print the right result.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    message("${out}")
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${BUILD})
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${BUILD} ${OPTIONS} -D MODE=${MODE}
    -D SWITCHYARD_SOURCE=${SOURCE} -D SWITCHYARD_PREFIX=${PREFIX} -D CMAKE_PREFIX_PATH=${PREFIX})
run(${CMAKE_COMMAND} --build ${BUILD})
run(${BUILD}/consumer)
message("${out}")
if(NOT out MATCHES "switchyard [0-9.]+: y = \\(16 5\\) \\(0 0\\)")
  message(FATAL_ERROR "not the result that was expected")
endif()

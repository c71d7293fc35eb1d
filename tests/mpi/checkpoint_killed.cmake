# cmake -D "JOB=<mpiexec and its arguments>" -D PROGRAM=<checkpoint_killed> -D FOLDER=<scratch> -P checkpoint_killed.cmake
# Jobs in which one rank is killed during a save, one after another on the same folder, each beginning with what the last
# one left: after each the newest checkpoint must be whole.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE ${FOLDER})
set(last 0)
# rank, how, n: system calls of rank 0 and of another; collectives; a while
foreach(case "0 call 3" "0 call 15" "0 call 26" "1 call 2" "2 exchange 9" "0 exchange 40" "2 after 4001" "0 after 20011")
  separate_arguments(words UNIX_COMMAND ${case})
  execute_process(COMMAND ${JOB} ${PROGRAM} ${FOLDER} save ${words} TIMEOUT 30 RESULT_VARIABLE code OUTPUT_VARIABLE text
                  ERROR_VARIABLE text)
  if(code MATCHES "timeout" OR code EQUAL 0 OR text MATCHES "FAILED")
    message(FATAL_ERROR "${case}: must be killed, but: ${code}\n${text}")
  endif()
  execute_process(COMMAND ${PROGRAM} ${FOLDER} look RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  message("${case}: ${text}")
  if(NOT code EQUAL 0 OR NOT text MATCHES "whole: step ([0-9]+)")
    message(FATAL_ERROR "${case}: the newest checkpoint is not whole: ${code}\n${text}")
  endif()
  if(NOT CMAKE_MATCH_1 GREATER last)
    message(FATAL_ERROR "${case}: step ${CMAKE_MATCH_1} after ${last}: a complete checkpoint is gone")
  endif()
  set(last ${CMAKE_MATCH_1})
endforeach()
file(REMOVE_RECURSE ${FOLDER})

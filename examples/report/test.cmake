# cmake -D TRAIN=... -D GENERATE=... -D REPORT=... -D SCRATCH=<folder> -D TEXT=<file> -D MPIRUN=<command> -P test.cmake
# The whole way, in small: a dense and a Switch model are trained, write text, and become a page.
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/../expect.cmake)

file(REMOVE_RECURSE ${SCRATCH})
function(work out)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGN}: status ${status}\n${output}")
  endif()
  set(${out} "${output}" PARENT_SCOPE)
endfunction()

set(common --text a=${TEXT}/model.md b=${TEXT}/layouts.md --steps 24 --batch 8 --length 64 --evaluate-every 8
           --evaluate-examples 8 --loads-every 4)
work(output ${TRAIN} --preset tiny-dense --name "a dense model" ${common} --out ${SCRATCH}/dense)
work(output ${MPIRUN} ${TRAIN} --preset tiny --name "a Switch model" --sequences-per-group 4 ${common} --out
     ${SCRATCH}/switch)
foreach(run dense switch)
  work(output ${GENERATE} --run ${SCRATCH}/${run} --length 12 --json ${SCRATCH}/${run}/samples.json
       "the ___ of a layer" "a model")
  expect("${output}" "the \\[.*\\] of a layer")
  # The same again, from the same numbers; a draw differs.
  work(again ${GENERATE} --run ${SCRATCH}/${run} --length 12 "the ___ of a layer" "a model")
  if(NOT output STREQUAL again)
    message(FATAL_ERROR "the second time the model wrote\n${again}\nafter\n${output}")
  endif()
endforeach()
work(drawn ${GENERATE} --run ${SCRATCH}/switch --length 40 --temperature 1 "the ___ of a layer" "a model")
if(drawn STREQUAL output)
  message(FATAL_ERROR "a temperature of 1 changed nothing:\n${drawn}")
endif()

# What a run was asked for can be asked for again.
file(READ ${SCRATCH}/dense/config.json config)
expect("${config}" "\"batch\": \"8\"")

work(output ${REPORT} --dense ${SCRATCH}/dense --switch ${SCRATCH}/switch --out ${SCRATCH}/out)
expect("${output}" "nats per held-out token")
file(READ ${SCRATCH}/out/report.html page)
foreach(word "a dense model" "a Switch model" "Which rank holds what|Dropped tokens" "of a layer" "Load of the experts, Switch layer 2"
             "Held-out text by language")
  expect("${page}" "${word}")
endforeach()
find_program(gnuplot gnuplot)
if(gnuplot)
  string(REGEX MATCHALL "<svg" pictures "${page}")
  list(LENGTH pictures count)
  if(count LESS 7)
    message(FATAL_ERROR "report.html has ${count} pictures")
  endif()
endif()
file(STRINGS ${SCRATCH}/out/data/loss.csv lines)
list(LENGTH lines count)
if(NOT count EQUAL 55) # a head, 2 x 24 steps, 2 x 3 evaluations
  message(FATAL_ERROR "loss.csv has ${count} lines")
endif()
message(STATUS "${output}")

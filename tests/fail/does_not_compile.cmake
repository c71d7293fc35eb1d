# cmake -D FILE=<file> -D COMPILER=<compiler> -D FLAGS=<flags> -P does_not_compile.cmake
# FILE must fail to compile with the message it expects, and compile with -DCONTROL.
cmake_minimum_required(VERSION 3.25)

file(STRINGS ${FILE} expect REGEX "^// expect: ")
if(NOT expect)
  message(FATAL_ERROR "${FILE}: needs a line '// expect: <regular expression>'")
endif()

execute_process(COMMAND ${COMPILER} ${FLAGS} -DCONTROL ${FILE} RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE text)
if(NOT code EQUAL 0)
  message("${text}")
  message(FATAL_ERROR "with -DCONTROL it must compile")
endif()

execute_process(COMMAND ${COMPILER} ${FLAGS} ${FILE} RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE text)
if(NOT code MATCHES "^[1-9][0-9]*$") # 0: it compiled; words: a crash
  message("${text}")
  message(FATAL_ERROR "it must not compile, but the compiler says: ${code}")
endif()
foreach(pattern ${expect})
  string(REGEX REPLACE "^// expect: " "" pattern "${pattern}")
  if(NOT text MATCHES "${pattern}")
    message("${text}")
    message(FATAL_ERROR "the message does not match '${pattern}'")
  endif()
endforeach()

# One mistake, one sentence of ours.
string(REGEX MATCHALL "(failed|failed with|requirement)[^\n]*switchyard: " sentences "${text}")
list(LENGTH sentences count)
if(count GREATER 1)
  message("${text}")
  message(FATAL_ERROR "one mistake, but ${count} sentences")
endif()

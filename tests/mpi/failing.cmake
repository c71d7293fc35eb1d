# cmake -D "COMMAND=<program;argument;...>" -D "EXPECT=<regular expression>" [-D ENDS_WELL=ON] -P failing.cmake
# The command must end within 30 seconds, with an error unless ENDS_WELL, and with that message.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${COMMAND} TIMEOUT 30 RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
message("${text}")
if(code MATCHES "timeout")
  message(FATAL_ERROR "a rank was left waiting")
elseif(ENDS_WELL AND NOT code EQUAL 0)
  message(FATAL_ERROR "it must end well, but: ${code}")
elseif(NOT ENDS_WELL AND code EQUAL 0)
  message(FATAL_ERROR "it must fail, but ended well")
elseif(NOT text MATCHES "${EXPECT}")
  message(FATAL_ERROR "the message does not match '${EXPECT}'")
endif()

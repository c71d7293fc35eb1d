# expect(<text> <pattern>): the script ends with an error unless the text matches.
function(expect text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "expected '${pattern}' in\n${text}")
  endif()
endfunction()

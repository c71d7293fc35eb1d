# The headers of Random123, as the target switchyard_random123.
find_path(SWITCHYARD_RANDOM123_DIR Random123/philox.h DOC "Folder that holds Random123/philox.h")
mark_as_advanced(SWITCHYARD_RANDOM123_DIR)
if(SWITCHYARD_RANDOM123_DIR AND NOT TARGET switchyard_random123)
  add_library(switchyard_random123 INTERFACE IMPORTED)
  target_include_directories(switchyard_random123 INTERFACE ${SWITCHYARD_RANDOM123_DIR})
endif()

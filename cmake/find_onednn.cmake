# oneDNN with its micro-kernel API, tried by compiling: the header is experimental, and a build may lack it.
find_package(dnnl 3.4 CONFIG QUIET)
if(TARGET DNNL::dnnl)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES DNNL::dnnl)
  set(CMAKE_REQUIRED_QUIET ON)
  check_cxx_source_compiles(
    "#include <oneapi/dnnl/dnnl_ukernel.hpp>
     int main() { return dnnl::ukernel::brgemm::get_B_pack_type(dnnl::memory::data_type::bf16,
                                                               dnnl::memory::data_type::bf16) ==
                         dnnl::ukernel::pack_type::undef; }"
    SWITCHYARD_ONEDNN_HAS_UKERNEL)
  unset(CMAKE_REQUIRED_LIBRARIES)
  unset(CMAKE_REQUIRED_QUIET)
endif()

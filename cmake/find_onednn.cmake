# oneDNN with its micro-kernel API: switchyard_onednn names its target, if there is one. Tried by compiling: the header
# is experimental, and a build may lack it.
find_package(dnnl 3.4 CONFIG QUIET)
if(TARGET DNNL::dnnl)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES DNNL::dnnl)
  set(CMAKE_REQUIRED_QUIET ON)
  check_cxx_source_compiles(
    "#include <oneapi/dnnl/dnnl_ukernel.h>
     int main() {
       dnnl_brgemm_t kernel = nullptr;
       dnnl_brgemm_create(&kernel, 8, 16, 32, 1, 32, 16, 16, dnnl_f32, dnnl_f32, dnnl_f32);
       dnnl_brgemm_set_add_C(kernel, 1);
       return dnnl_brgemm_finalize(kernel) == dnnl_success ? static_cast<int>(dnnl_pack_type_pack32) : 0;
     }"
    SWITCHYARD_ONEDNN_HAS_UKERNEL)
  unset(CMAKE_REQUIRED_LIBRARIES)
  unset(CMAKE_REQUIRED_QUIET)
  if(SWITCHYARD_ONEDNN_HAS_UKERNEL)
    set(switchyard_onednn DNNL::dnnl)
  endif()
endif()

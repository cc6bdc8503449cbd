# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# Where find_package() looks; packagers with a place of their own set it (cmake/vcpkg).
set(ACTIVATION_TRACE_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/activation_trace CACHE STRING
    "Where CMake's package files are installed, relative to the prefix")
mark_as_advanced(ACTIVATION_TRACE_CMAKE_DIR)
set(package_dir ${ACTIVATION_TRACE_CMAKE_DIR})

install(TARGETS activation_trace_processors activation_trace activation_trace_experiments activation_trace_eigen
        EXPORT activation_trace_targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT activation_trace_targets NAMESPACE activation_trace:: DESTINATION ${package_dir}
        FILE activation_traceTargets.cmake)

# The headers can be installed without a build; then there are no compiled kernels, and the Config file says so.
if(TARGET activation_trace_kernels)
  install(TARGETS activation_trace_kernels EXPORT activation_trace_kernels_targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} OPTIONAL)
  install(EXPORT activation_trace_kernels_targets NAMESPACE activation_trace:: DESTINATION ${package_dir}
          FILE activation_traceKernelsTargets.cmake)
  install(TARGETS activation_trace_c EXPORT activation_trace_c_targets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} OPTIONAL)
  install(EXPORT activation_trace_c_targets NAMESPACE activation_trace:: DESTINATION ${package_dir}
          FILE activation_traceCTargets.cmake)
endif()

# As a folder and not as a FILE_SET, which CMake knows since 3.23 and drops without a word before. The CUDA headers
# travel even if this build had no nvcc: they cost a host user nothing. The Config file makes activation_trace::cuda
# only for those who ask for COMPONENTS cuda.
install(DIRECTORY include/activation_trace DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN "*.inl" PATTERN "*.cuh")
install(FILES cmake/activation_trace_cuda.cmake DESTINATION ${package_dir})

set(kernels_file
    ${CMAKE_INSTALL_LIBDIR}/${CMAKE_STATIC_LIBRARY_PREFIX}activation_trace_kernels${CMAKE_STATIC_LIBRARY_SUFFIX})
set(c_file ${CMAKE_INSTALL_LIBDIR}/${CMAKE_SHARED_LIBRARY_PREFIX}activation_trace_c${CMAKE_SHARED_LIBRARY_SUFFIX})
configure_package_config_file(cmake/activation_traceConfig.cmake.in activation_traceConfig.cmake
                              INSTALL_DESTINATION ${package_dir} PATH_VARS kernels_file c_file)
# While the version is 0.x a minor step may break: users of 0.1 do not get 0.2.
write_basic_package_version_file(activation_traceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/activation_traceConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/activation_traceConfigVersion.cmake DESTINATION ${package_dir})

# pkg-config's names are those of the components: activation_trace, and with a hyphen the others.
string(REGEX REPLACE "[^/]+" ".." pc_prefix ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
function(activation_trace_pc name description requires libs)
  configure_file(cmake/activation_trace.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
activation_trace_pc(activation_trace-processors "${PROJECT_DESCRIPTION}: the processors" "" "-pthread")
activation_trace_pc(activation_trace "${PROJECT_DESCRIPTION}" "activation_trace-processors, nlohmann_json >= 3.11" "")
if(TARGET activation_trace_kernels)
  set(pc_cflags -DACTIVATION_TRACE_COMPILED_KERNELS)
  activation_trace_pc(activation_trace-kernels "${PROJECT_DESCRIPTION}: its kernels and other bodies, compiled"
                      "activation_trace" "-L\${libdir} -lactivation_trace_kernels")
  unset(pc_cflags)
  activation_trace_pc(activation_trace-c "${PROJECT_DESCRIPTION}: the C interface" ""
                      "-L\${libdir} -lactivation_trace_c")
endif()
if(PROJECT_IS_TOP_LEVEL)
  include(cmake/package.cmake)
endif()

# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# An overlay port of the tree that it lies in: vcpkg install activation-trace --overlay-ports=cmake/vcpkg
# The headers: what compiles them once, kernels and the C interface, is left to `cmake --install`.
set(VCPKG_BUILD_TYPE release)
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DACTIVATION_TRACE_BUILD_TESTS=OFF
    -DACTIVATION_TRACE_BUILD_EXAMPLES=OFF
    -DACTIVATION_TRACE_BUILD_LIBRARIES=OFF
    -DACTIVATION_TRACE_CMAKE_DIR=share/activation_trace
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME activation_trace CONFIG_PATH share/activation_trace)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")
file(INSTALL "${CURRENT_PORT_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")

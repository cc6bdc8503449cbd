# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# `cpack -G DEB` in a build folder makes a Debian package of what `cmake --install` installs, `cpack -G TGZ` an archive.
include(GNUInstallDirs)
install(FILES LICENSE DESTINATION share/doc/libactivation-trace-dev RENAME copyright)

set(CPACK_PACKAGE_NAME libactivation-trace-dev)
set(CPACK_PACKAGE_CONTACT "The activation_trace authors <noreply@invalid>")
set(CPACK_PACKAGE_VENDOR "The activation_trace authors")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # of the C interface
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "nlohmann-json3-dev (>= 3.11)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libeigen3-dev (>= 3.4)")
include(CPack)

# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# For 64-bit ARM on another Linux machine, by Debian's g++-aarch64-linux-gnu; tests run under qemu-user-static:
#   cmake -B build/aarch64 --toolchain cmake/aarch64.cmake -DCMAKE_BUILD_TYPE=Release
#   cmake --build build/aarch64
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Libraries of this machine are none of that one's; headers, which is all that most packages are, serve both.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_DISABLE_FIND_PACKAGE_llama ON)
set(CMAKE_DISABLE_FIND_PACKAGE_MPI ON)

find_program(activation_trace_emulator NAMES qemu-aarch64-static qemu-aarch64)
mark_as_advanced(activation_trace_emulator)
if(activation_trace_emulator)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${activation_trace_emulator} -L /usr/aarch64-linux-gnu)
endif()

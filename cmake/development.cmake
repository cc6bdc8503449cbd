# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# What our own tests, examples and benchmarks are built with. Never exported: a user's warnings are the user's.
if(CMAKE_VERSION VERSION_LESS 3.25)
  message(FATAL_ERROR "The tests, examples and benchmarks of activation_trace need CMake 3.25, and this is "
                      "${CMAKE_VERSION}. The library itself is content with 3.22: turn ACTIVATION_TRACE_BUILD_TESTS "
                      "and ACTIVATION_TRACE_BUILD_EXAMPLES off.")
endif()
find_package(nlohmann_json 3.11 REQUIRED)
enable_language(C)  # of what is shown to users of the C interface
option(ACTIVATION_TRACE_WERROR "Warnings are errors in our own targets" OFF)
set(ACTIVATION_TRACE_SANITIZE "" CACHE STRING "Sanitizers for our own targets, such as address,undefined or thread")

add_library(activation_trace_options INTERFACE)
# CUDA sources get their own list in activation_trace_cuda.cmake: nvcc does not take these.
target_compile_options(activation_trace_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${ACTIVATION_TRACE_WERROR}>>:-Werror>)
if(ACTIVATION_TRACE_SANITIZE)
  target_compile_definitions(activation_trace_options INTERFACE ACTIVATION_TRACE_SANITIZED)
  target_compile_options(activation_trace_options INTERFACE
    -fsanitize=${ACTIVATION_TRACE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(activation_trace_options INTERFACE -fsanitize=${ACTIVATION_TRACE_SANITIZE})
  # The kernels' unrolled tiles have a check at every step, and clang's time grows with their square: rolled up they
  # have the same checks, and compile in 67 s instead of 208.
  target_compile_options(activation_trace_kernels PRIVATE
    $<$<CXX_COMPILER_ID:Clang>:SHELL:-mllvm -pragma-unroll-threshold=1> $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)
endif()

target_link_libraries(activation_trace_kernels PRIVATE $<BUILD_INTERFACE:activation_trace_options>)
target_link_libraries(activation_trace_c PRIVATE $<BUILD_INTERFACE:activation_trace_options>)

add_library(activation_trace_development INTERFACE)
target_link_libraries(activation_trace_development INTERFACE activation_trace_options activation_trace::kernels)

# llama.cpp, for the tests and the example of guests: where examples/get_llama_cpp.sh puts one, or CMAKE_PREFIX_PATH says.
set(cache_folder $ENV{XDG_CACHE_HOME})
if(NOT cache_folder)
  set(cache_folder $ENV{HOME}/.cache)
endif()
find_package(llama CONFIG QUIET HINTS ${cache_folder}/activation_trace/llama.cpp)
if(NOT llama_FOUND)
  message(STATUS "What needs llama.cpp is not built (examples/get_llama_cpp.sh fetches one)")
endif()

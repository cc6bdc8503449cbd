# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# What our own tests, examples and benchmarks are built with. Never exported: a user's warnings are the user's.
option(ACTIVATION_TRACE_WERROR "Warnings are errors in our own targets" OFF)
set(ACTIVATION_TRACE_SANITIZE "" CACHE STRING "Sanitizers for our own targets, such as address,undefined or thread")

add_library(activation_trace_options INTERFACE)
target_link_libraries(activation_trace_options INTERFACE activation_trace::activation_trace)
target_compile_definitions(activation_trace_options INTERFACE ACTIVATION_TRACE_COMPILED_KERNELS)
# CUDA sources get their own list in activation_trace_cuda.cmake: nvcc does not take these.
target_compile_options(activation_trace_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${ACTIVATION_TRACE_WERROR}>>:-Werror>)
if(ACTIVATION_TRACE_SANITIZE)
  target_compile_options(activation_trace_options INTERFACE
    -fsanitize=${ACTIVATION_TRACE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(activation_trace_options INTERFACE -fsanitize=${ACTIVATION_TRACE_SANITIZE})
endif()

# The kernels, which every user of the headers compiles, once for all programs here: 12 s less for each file, and 23 s
# under AddressSanitizer. tests/consumers is built without.
add_library(activation_trace_kernels STATIC ${CMAKE_CURRENT_LIST_DIR}/kernels.cpp)
target_link_libraries(activation_trace_kernels PRIVATE activation_trace_options)

add_library(activation_trace_development INTERFACE)
target_link_libraries(activation_trace_development INTERFACE activation_trace_options activation_trace_kernels)

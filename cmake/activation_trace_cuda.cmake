# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Makes activation_trace::cuda, for .cu files that include activation_trace/cuda.cuh. Used by our own build
# and, after installation, by find_package(activation_trace COMPONENTS cuda).

# The tensor-core kernels are for sm_80 and later, and for sm_90a by its own instructions; plain 90 has no wgmma. Later
# devices compile the PTX of 90, which has programmatic dependent launches, at the first start: that of 80 has none.
# A user's project chooses its own architectures, and so does who sets the environment's CUDAARCHS.
if(PROJECT_IS_TOP_LEVEL AND PROJECT_NAME STREQUAL activation_trace AND NOT DEFINED CMAKE_CUDA_ARCHITECTURES
   AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
endif()
enable_language(CUDA)
find_package(CUDAToolkit 12.4 REQUIRED)

if(NOT TARGET activation_trace::cuda)
  add_library(activation_trace_cuda INTERFACE)
  add_library(activation_trace::cuda ALIAS activation_trace_cuda)
  target_link_libraries(activation_trace_cuda INTERFACE activation_trace::activation_trace CUDA::cudart)
  # CMake 3.25 does not know C++20 for nvcc 13: cuda_std_20 is an error, CMAKE_CUDA_STANDARD=20 is silently
  # ignored, and cxx_std_20 does not reach CUDA sources. The flag itself works with every version.
  target_compile_options(activation_trace_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
endif()

# activation_trace::nccl, for those that include activation_trace/cuda/nccl_communicator.cuh, where NCCL is: beside CUDA,
# or on CMAKE_PREFIX_PATH, as pip's nvidia-nccl-cu13 has it.
find_path(ACTIVATION_TRACE_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(ACTIVATION_TRACE_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR})
mark_as_advanced(ACTIVATION_TRACE_NCCL_INCLUDE_DIR ACTIVATION_TRACE_NCCL_LIBRARY)
if(NOT TARGET activation_trace::nccl AND ACTIVATION_TRACE_NCCL_INCLUDE_DIR AND ACTIVATION_TRACE_NCCL_LIBRARY)
  add_library(activation_trace_nccl INTERFACE)
  add_library(activation_trace::nccl ALIAS activation_trace_nccl)
  target_include_directories(activation_trace_nccl SYSTEM INTERFACE ${ACTIVATION_TRACE_NCCL_INCLUDE_DIR})
  target_link_libraries(activation_trace_nccl INTERFACE activation_trace::cuda ${ACTIVATION_TRACE_NCCL_LIBRARY})
endif()

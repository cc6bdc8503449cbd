// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <string>
#include <type_traits>

#include "activation_trace/cuda/error.cuh"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Whether the copy engine can read the matrix: 16-byte aligned base and row stride, contiguous columns,
/// extents and strides within its limits.
template <class T>
[[nodiscard]] bool fits_tensor_map(const MatrixView<const T, Cuda>& m) {
  constexpr Index limit = Index{1} << 31;
  const Index row_bytes = m.stride(0) * static_cast<Index>(sizeof(T));
  return !m.empty() && (m.extent(1) == 1 || m.stride(1) == 1) && m.extent(0) < limit && m.extent(1) < limit &&
         m.stride(0) > 0 && row_bytes % 16 == 0 && row_bytes < (Index{1} << 40) &&
         reinterpret_cast<std::uintptr_t>(m.data()) % 16 == 0;
}

/// The driver's cuTensorMapEncodeTiled, found through the runtime: programs need no -lcuda.
inline auto tensor_map_encoder() {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "cudaGetDriverEntryPointByVersion");
#else
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found),
          "cudaGetDriverEntryPoint");
#endif
    if (found != cudaDriverEntryPointSuccess) throw Error("cuTensorMapEncodeTiled: not offered by this driver");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encode;
}

/// Boxes of `rows` x 128 bytes of a row-major matrix of 16-bit numbers, laid out with the 128-byte swizzle that
/// wgmma reads. Outside the matrix a box is 0.
template <class T>
[[nodiscard]] CUtensorMap tensor_map(const MatrixView<const T, Cuda>& m, int rows) {
  static_assert(sizeof(T) == 2);
  constexpr auto type =
      std::is_same_v<T, BFloat16> ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(m.extent(1)), static_cast<cuuint64_t>(m.extent(0))};
  const cuuint64_t row_bytes[1] = {static_cast<cuuint64_t>(m.stride(0)) * sizeof(T)};
  const cuuint32_t box[2] = {64, static_cast<cuuint32_t>(rows)};
  const cuuint32_t steps[2] = {1, 1};
  CUtensorMap map;
  const CUresult result = tensor_map_encoder()(&map, type, 2, const_cast<T*>(m.data()), extents, row_bytes, box, steps,
                                               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error("cuTensorMapEncodeTiled: CUresult " + std::to_string(static_cast<int>(result)));
  return map;
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

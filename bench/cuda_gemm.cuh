// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/cuda.cuh"
#include "floors.hpp"

// The yardstick on a device: cublasLt's product of 16-bit matrices, and what it is measured on.

namespace activation_trace::bench {

/// Whether there is a device; without one it says that the benchmark is skipped.
inline bool has_device() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) == cudaSuccess && devices != 0) return true;
  std::printf("skipped: no CUDA device\n");
  return false;
}

__device__ inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Normal random numbers: zeros would run 13 % faster.
template <class T>
__global__ void fill_normal(T* out, std::size_t n, float scale, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const std::uint64_t bits = mix(seed * 0x123456789abcdefull + i);
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
    const float v = (static_cast<float>(bits & 0xffffffu) + 0.5f) * 0x1p-24f;
    const unsigned word = __float_as_uint(scale * sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v));
    if constexpr (std::is_same_v<T, BFloat16>)
      out[i].bits = static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
    else
      out[i] = __uint_as_float(word);
  }
}

template <class T>
void fill(Execution<Cuda> stream, Buffer<T, Cuda>& x, float scale, Index seed) {
  fill_normal<<<1024, 256, 0, stream.get()>>>(x.data(), static_cast<std::size_t>(x.size()), scale,
                                              static_cast<std::uint64_t>(seed));
}

inline void check_lt(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error("cublasLt: status " + std::to_string(static_cast<int>(status)));
}

/// S [T, V] = H W^T in bf16 with fp32 sums, S stored as bf16 or f32: the fastest of cublasLt's own choices.
class Gemm {
 public:
  Gemm(Execution<Cuda> stream, Index t, Index d, Index v, const BFloat16* h, const BFloat16* w, cudaDataType_t out)
      : stream_(stream), workspace_(Index{64} << 20), s_(t * v * (out == CUDA_R_32F ? 4 : 2)) {
    check_lt(cublasLtCreate(&handle_));
    check_lt(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    check_lt(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)));
    const auto layout = [](cublasLtMatrixLayout_t& l, cudaDataType_t type, Index rows, Index cols) {
      check_lt(cublasLtMatrixLayoutCreate(&l, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                                          rows));
    };
    layout(w_, CUDA_R_16BF, d, v);
    layout(h_, CUDA_R_16BF, d, t);
    layout(out_, out, v, t);
    cublasLtMatmulPreference_t preference = nullptr;
    check_lt(cublasLtMatmulPreferenceCreate(&preference));
    const auto bytes = static_cast<std::size_t>(workspace_.size());
    check_lt(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                  sizeof(bytes)));
    cublasLtMatmulHeuristicResult_t found[16];
    int count = 0;
    check_lt(cublasLtMatmulAlgoGetHeuristic(handle_, operation_, w_, h_, out_, out_, preference, 16, found, &count));
    cublasLtMatmulPreferenceDestroy(preference);
    float best_time = INFINITY;
    cublasLtMatmulAlgo_t best{};
    for (int i = 0; i < count; ++i) {
      algorithm_ = found[i].algo;
      run(h, w);
      cuda::Event start(stream_), stop(stream_);
      start.record(stream_);
      for (int k = 0; k < 5; ++k) run(h, w);
      stop.record(stream_);
      stop.synchronize();
      if (stop.milliseconds_since(start) >= best_time) continue;
      best_time = stop.milliseconds_since(start);
      best = algorithm_;
    }
    algorithm_ = best;
  }
  ~Gemm() {
    cublasLtMatrixLayoutDestroy(w_);
    cublasLtMatrixLayoutDestroy(h_);
    cublasLtMatrixLayoutDestroy(out_);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(handle_);
  }
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void run(const BFloat16* h, const BFloat16* w) {
    const float one = 1.0f, zero = 0.0f;
    check_lt(cublasLtMatmul(handle_, operation_, &one, w, w_, h, h_, &zero, s_.data(), out_, s_.data(), out_,
                            &algorithm_, workspace_.data(), static_cast<std::size_t>(workspace_.size()),
                            stream_.get()));
  }

 private:
  Execution<Cuda> stream_;
  Buffer<std::byte, Cuda> workspace_, s_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, h_ = nullptr, out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

/// What the device can do in a second, measured once: operations of cublasLt's product, and bytes that a copy moves.
inline const Work& ceilings() {
  static const Work result = [] {
    constexpr Index n = 8192;
    constexpr Index copied = Index{1} << 30;
    const cuda::Stream stream;
    Buffer<BFloat16, Cuda> h(n * n), w(n * n);
    Buffer<std::byte, Cuda> from(copied), to(copied);
    fill(stream, h, 0.1f, 1);
    fill(stream, w, 0.1f, 2);
    cuda::set_bytes(stream, from.view(), 0);
    Gemm gemm(stream, n, n, n, h.data(), w.data(), CUDA_R_32F);
    cuda::Event start(stream), stop(stream);
    const auto best_seconds = [&](const auto& work) {
      double best = 1e9;
      for (int i = 0; i < 7; ++i) {
        start.record(stream);
        work();
        stop.record(stream);
        stop.synchronize();
        best = std::min(best, 1e-3 * static_cast<double>(stop.milliseconds_since(start)));
      }
      return best;
    };
    return Work{2.0 * n * n * n / best_seconds([&] { gemm.run(h.data(), w.data()); }),
                2.0 * copied / best_seconds([&] { cuda::copy(stream, std::as_const(from).view(), to.view()); })};
  }();
  return result;
}

}  // namespace activation_trace::bench

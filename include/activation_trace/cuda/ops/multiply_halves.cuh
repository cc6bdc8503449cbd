// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/multiply_rows.cuh"
#include "activation_trace/cuda/ops/softmax_mma.cuh"
#include "activation_trace/cuda/ops/split_octet.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Many rows of x: tiles on tensor cores, whose factors have 16 bits. That is exact for weights of 16 bits, of which x
// is as many terms as it takes; or fast, for all: weights are rounded, and x is one term.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// What weights of T are multiplied as. Quantised ones are a number of 11 bits times one of up to 8, which f16 keeps
/// eight times better than bf16, and models' weights are far below its end; x is scaled into its range.
template <class T>
using HalfFactor = std::conditional_t<std::is_same_v<T, BFloat16>, BFloat16, Half>;

/// Tiling of the products of factors of 16 bits: the 8 warps of softmax_mma.cuh, 64 elements of d at a time.
struct HalvesTuning {
  static constexpr int tile_v = 128;  ///< rows of w in a tile
  static constexpr int tile_t = 64;   ///< rows of x in a tile
  static constexpr int stages = 2;    ///< one is filled while the other is multiplied
  template <int terms>
  static constexpr int factor_bytes = (tile_v + terms * tile_t) * 128;  ///< of shared memory, for the factors
  template <int terms>
  static constexpr int stage_bytes = factor_bytes<terms> + 2 * tile_t * 4;  ///< and for the scales of x
};

/// Rows of x as terms of 16 bits, in scratch memory: [n, terms, d] with 0 up to a multiple of 64, and what products of
/// 32 elements are multiplied by, [d / 32, n] with rows at multiples of 64.
struct SplitRows {
  std::byte* terms = nullptr;
  float* backs = nullptr;
  Index rows = 0;
  int k_tiles = 0;

  [[nodiscard]] __device__ std::byte* octet(Index row, int octet) const {
    return terms + (row * 8 * k_tiles + octet) * 16;
  }
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE Index padded() const { return (rows + 63) / 64 * 64; }
};

/// A thread per octet.
template <class Factor, int terms>
__global__ void __launch_bounds__(128) split_rows_kernel(StoredRows x, SplitRows out) {
  ptx::wait_for_previous();
  const Index row = static_cast<Index>(blockIdx.x);
  const int octet = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  float y[8];
  widen_octet<float>(x, row, octet, y);
  uint4 term[terms];
  const float back = split_octet<Factor>(y, term);
  if (octet >= 8 * out.k_tiles) return;
#pragma unroll
  for (int t = 0; t < terms; ++t) *reinterpret_cast<uint4*>(out.octet(row * terms + t, octet)) = term[t];
  if (is_scaled<Factor> && octet % 4 == 0) out.backs[octet / 4 * out.padded() + row] = back;
}

template <class Factor, int terms>
SplitRows split_rows(Execution<Cuda> execution, const StoredRows& x) {
  SplitRows out{nullptr, nullptr, x.rows, (x.cols + 63) / 64};
  const Index term_bytes = x.rows * terms * out.k_tiles * 128;
  const Index back_bytes = is_scaled<Factor> ? 2 * out.k_tiles * out.padded() * static_cast<Index>(sizeof(float)) : 0;
  out.terms = execution.scratch<std::byte>(term_bytes + back_bytes).data();
  out.backs = reinterpret_cast<float*>(out.terms + term_bytes);
  if (out.k_tiles == 0) return out;
  constexpr int threads = 128;
  launch_dependent(execution, "split_rows_kernel",
                   {blocks(x.rows, (8 * static_cast<Index>(out.k_tiles) + threads - 1) / threads), threads},
                   split_rows_kernel<Factor, terms>, x, out);
  return out;
}

/// What fills stages with 64 elements of d of both factors' tiles: a thread has an octet of every 32nd row. What does
/// not exist is 0. What is copied is there when the copies are waited for.
template <class T, int terms>
class TileFiller {
 public:
  using Tuning = HalvesTuning;
  using Factor = HalfFactor<T>;

  __device__ TileFiller(const StoredRows& w, int w0, const SplitRows& x, int x0)
      : w_rows_(static_cast<int>(min(w.rows - w0 - row_, Index{Tuning::tile_v}))),
        x_rows_(static_cast<int>(min(x.rows - x0 - row_, Index{Tuning::tile_t}))),
        w_source_(w.row(w0 + row_) + (copies ? 16 * octet_ : 0)),
        x_source_(x.octet(static_cast<Index>(x0 + row_) * terms, octet_)) {}

  /// Tile after tile; weights of 16 bits must begin at multiples of 16 bytes.
  __device__ void fill(const StoredRows& w, const SplitRows& x, int x0, int k_tile, std::byte* stage) {
    std::byte* const target = stage + swizzled(row_, octet_);
    fill_x(x, target + Tuning::tile_v * 128);
    if constexpr (is_scaled<Factor>) fill_backs(x, x0, k_tile, stage + Tuning::factor_bytes<terms>);
    fill_w(w, k_tile, target);
    ptx::commit_copies();
  }

 private:
  static constexpr bool copies = std::is_same_v<T, Factor>;

  static __device__ void copy(std::byte* target, const std::byte* source, int bytes) {
    ptx::copy_async(ptx::shared_address(target), source, bytes);
  }

  __device__ void fill_w(const StoredRows& w, int k_tile, std::byte* target) {
    const int left = w.cols - 64 * k_tile - 8 * octet_;
    if constexpr (copies) {
      const int bytes = max(0, min(16, 2 * left));
      const std::byte* source = w_source_;
#pragma unroll
      for (int i = 0; i < Tuning::tile_v; i += 32) {
        const bool exists = bytes > 0 && i < w_rows_;
        copy(target + i * 128, exists ? source : w.data, exists ? bytes : 0);
        source += 32 * w.row_bytes;
      }
      w_source_ += 128;
    } else {
#pragma unroll 2  // widened octets take registers
      for (int i = 0; i < Tuning::tile_v; i += 32) {
        float y[8] = {};
        if (left > 0 && i < w_rows_) {
          StoredRows row = w;
          row.data = w_source_;
          widen_octet<T>(row, i, 8 * k_tile + octet_, y);
        }
        *reinterpret_cast<uint4*>(target + i * 128) = narrow_octet<Factor>(y);
      }
    }
  }

  /// Terms of the tile's rows, those of one kind after the other.
  __device__ void fill_x(const SplitRows& x, std::byte* target) {
    const Index term_bytes = 128 * static_cast<Index>(x.k_tiles);
#pragma unroll
    for (int i = 0; i < Tuning::tile_t; i += 32) {
      const std::byte* source = i < x_rows_ ? x_source_ + i * terms * term_bytes : x.terms;
#pragma unroll
      for (int t = 0; t < terms; ++t) {
        copy(target + (t * Tuning::tile_t + i) * 128, source, i < x_rows_ ? 16 : 0);
        if (i < x_rows_) source += term_bytes;
      }
    }
    x_source_ += 128;
  }

  /// By what products of the tile's rows are multiplied.
  __device__ void fill_backs(const SplitRows& x, int x0, int k_tile, std::byte* target) const {
    const int at = static_cast<int>(threadIdx.x);  // four of them
    if (at >= 2 * Tuning::tile_t / 4) return;
    const int begin = x0 + 4 * (at % 16);
    const int left = max(0, min(4, static_cast<int>(x.rows) - begin));
    const float* const source = x.backs + (2 * k_tile + at / 16) * x.padded() + (left > 0 ? begin : 0);
    copy(target + 16 * at, reinterpret_cast<const std::byte*>(source), 4 * left);
  }

  int row_ = static_cast<int>(threadIdx.x) / 8;
  int octet_ = static_cast<int>(threadIdx.x) % 8;
  int w_rows_, x_rows_;  // from this thread's first row on
  const std::byte* w_source_;
  const std::byte* x_source_;
};

/// Adds the products of 64 elements of d, which lie at `stage`, to a warp's part. Each 32 are summed from 0, small
/// terms first, and added by a rounded addition: the tensor core's own sum cuts off.
template <class Factor, int terms>
__device__ void multiply_halves_stage(const std::byte* stage, const WarpTile<HalvesTuning>& part, float (&acc)[2][16]) {
  using Tuning = HalvesTuning;
  const std::uint32_t base = ptx::shared_address(stage);
  const int lane = part.lane;
#pragma unroll 1  // with both chunks' factors under way registers were spilled
  for (int chunk = 0; chunk < 8; chunk += 4) {
    std::uint32_t a[2][2][4];  // rows of w, 16 elements of d
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < 2; ++k)
        ptx::load_matrices(a[m][k], base + swizzled(part.v + 16 * m + lane % 16, chunk + 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      std::uint32_t b[terms][4];  // 8 rows of x, 32 elements of d
#pragma unroll
      for (int t = 0; t < terms; ++t)
        ptx::load_matrices(
            b[t], base + swizzled(Tuning::tile_v + t * Tuning::tile_t + part.t + 8 * n + lane % 8, chunk + lane / 8));
      float2 scales{1.0f, 1.0f};
      if constexpr (is_scaled<Factor>) {
        const auto* const backs = reinterpret_cast<const float*>(stage + Tuning::factor_bytes<terms>);
        const float* const back = backs + chunk / 4 * Tuning::tile_t + part.t + 8 * n + lane % 4 * 2;
        scales = {back[0], back[1]};
      }
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        float sum[4] = {};
#pragma unroll
        for (int t = terms - 1; t >= 0; --t)
#pragma unroll
          for (int k = 0; k < 2; ++k) multiply(Factor{}, sum, a[m][k], b[t] + 2 * k);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          acc[m][4 * n + i] = fmaf(sum[i], i % 2 == 0 ? scales.x : scales.y, acc[m][4 * n + i]);
      }
    }
  }
}

/// One tile of w x^T per block. The sum of an element of y is the same wherever it lies in its tile, by chunks of 32 in
/// the order of d, and so does not depend on the other rows of x.
template <class T, int terms>
__global__ void __launch_bounds__(256, 2)
    multiply_halves_kernel(const __grid_constant__ Products products, SplitRows x, int x_tiles) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tuning = HalvesTuning;
  using Factor = HalfFactor<T>;
  ptx::wait_for_previous();
  Index tile = static_cast<Index>(blockIdx.x) / x_tiles;  // those that read the same of w run together
  const Product* const product = products.find(tile, Tuning::tile_v);
  if (product == nullptr) return;
  const int w0 = static_cast<int>(tile) * Tuning::tile_v;  // 64 bits of them were spilled
  const int x0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(x_tiles)) * Tuning::tile_t;
  std::byte* const stages = ptx::dynamic_shared();
  const WarpTile<Tuning> part;
  TileFiller<T, terms> filler(product->w, w0, x, x0);
  const auto stage_of = [&](int k_tile) { return stages + k_tile % Tuning::stages * Tuning::stage_bytes<terms>; };
  const auto fill = [&](int k_tile) { filler.fill(product->w, x, x0, k_tile, stage_of(k_tile)); };

  const bool multiplies = w0 + part.v < product->w.rows && x0 + part.t < x.rows;  // a whole warp, or none of it
  float acc[2][16] = {};
  if (x.k_tiles > 0) fill(0);
#pragma unroll 1
  for (int k = 0; k < x.k_tiles; ++k) {
    ptx::wait_copies<0>();
    __syncthreads();  // tile k is there, and everyone has left tile k - 1, whose place is filled next
    if (k + 1 < x.k_tiles) fill(k + 1);
    if (multiplies) multiply_halves_stage<Factor, terms>(stage_of(k), part, acc);
  }

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int w_row = w0 + part.v + m * 16 + part.lane / 4 + i % 4 / 2 * 8;
      const int x_row = x0 + part.t + i / 4 * 8 + part.lane % 4 * 2 + i % 2;
      if (w_row < product->w.rows && x_row < x.rows) product->y[x_row * product->y_stride + w_row] = acc[m][i];
    }
#endif
}

/// Whether this program holds the kernel for the device of `execution`.
template <class T, int terms>
[[nodiscard]] bool has_multiply_halves(Execution<Cuda> execution) {
  return attributes_of(execution, multiply_halves_kernel<T, terms>).ptxVersion >= 80;
}

/// Weights of 16 bits must begin at multiples of 16 bytes.
template <class T, int terms>
void multiply_halves(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  using Tuning = HalvesTuning;
  const SplitRows rows = split_rows<HalfFactor<T>, terms>(execution, x);
  const Index x_tiles = (x.rows + Tuning::tile_t - 1) / Tuning::tile_t;
  launch_dependent(
      execution, "multiply_halves_kernel",
      {blocks(products.groups(Tuning::tile_v) * x_tiles), 256, Tuning::stages * Tuning::stage_bytes<terms>},
      multiply_halves_kernel<T, terms>, products, rows, static_cast<int>(x_tiles));
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

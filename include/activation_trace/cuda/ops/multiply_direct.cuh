// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/multiply_rows.cuh"
#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/cuda/ops/split_octet.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Few rows of x and weights of 16 bits: both go from memory straight into the operands of tensor cores, so that reading
// w is what it takes.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Eight neighbouring elements of x as operands of mma: terms whose sum is the element times a power of two.
template <class T, class S>
struct Terms {
  static_assert(std::is_same_v<T, S>, "an element is a term");
  static constexpr int count = 1;
  uint4 word[count];

  template <RowAccess access>
  __device__ void load(const std::byte* row, Index byte, Index row_bytes) {
    word[0] = load_chunk<T, access>(row, byte, row_bytes);
  }
  /// What a lane's two columns of a product are multiplied by.
  __device__ float2 split() { return {1.0f, 1.0f}; }
};

template <class T>
struct Terms<T, float> {
  static constexpr int count = exact_terms<T>;
  uint4 word[count];

  /// The floats themselves.
  template <RowAccess access>
  __device__ void load(const std::byte* row, Index byte, Index row_bytes) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      word[half] = load_chunk<float, access>(row, 2 * byte + 16 * half, 2 * row_bytes);
  }

  __device__ float2 split() {
    const uint4 low = word[0], high = word[1];
    float x[8] = {__uint_as_float(low.x),  __uint_as_float(low.y),  __uint_as_float(low.z),  __uint_as_float(low.w),
                  __uint_as_float(high.x), __uint_as_float(high.y), __uint_as_float(high.z), __uint_as_float(high.w)};
    const float back = split_octet<T>(x, word);
    if constexpr (!is_scaled<T>) return {1.0f, 1.0f};
    // Column c of a product is the row of the quad of lanes c, and lane l has columns 2 (l % 4) and the next.
    const int column = static_cast<int>(threadIdx.x) % 4 * 8;
    return {__shfl_sync(0xffffffffu, back, column), __shfl_sync(0xffffffffu, back, column + 4)};
  }
};

/// acc += 16 rows of w times 8 rows of x over 32 elements of d, of which a lane has octet lane % 4. Terms are summed
/// from 0, small ones first, and added to acc by a rounded addition: the tensor core's own sum cuts off.
template <class T, int terms>
__device__ void multiply_octets(const uint4& low, const uint4& high, const uint4 (&x)[terms], const float2& scales,
                                float* acc) {
  const std::uint32_t head[4] = {low.x, high.x, low.y, high.y};
  const std::uint32_t tail[4] = {low.z, high.z, low.w, high.w};
  float part[4] = {};
#pragma unroll
  for (int term = terms - 1; term >= 0; --term) {
    const std::uint32_t b_head[2] = {x[term].x, x[term].y};
    const std::uint32_t b_tail[2] = {x[term].z, x[term].w};
    multiply(T{}, part, head, b_head);
    multiply(T{}, part, tail, b_tail);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) acc[i] = fmaf(part[i], i % 2 == 0 ? scales.x : scales.y, acc[i]);
}

/// How the work is cut: a block has 32 rows of w, its warps share d in chunks of 32 elements, and so a sum's order is
/// that of d alone.
struct DirectTuning {
  static constexpr int v_tiles = 2;
  static constexpr int rows = 16 * v_tiles;  ///< of w
  static constexpr int warps = 8;
  static constexpr int loads = 2;  ///< chunks of a warp that are under way together
};

/// acc += the products of a warp's share of d: `rows` are where a lane's part of the first chunk lies, and `left` are
/// the bytes from there to the end of a row of w.
template <class T, class S, RowAccess access, int t_tiles>
__device__ void multiply_share(LaneRows<DirectTuning::v_tiles, t_tiles> rows, int left,
                               float (&acc)[DirectTuning::v_tiles][t_tiles][4]) {
  using Tuning = DirectTuning;
  constexpr int distance = 64 * Tuning::warps;
  constexpr int state_bytes = static_cast<int>(sizeof(S) / sizeof(T));  // to one of w
#pragma unroll 1
  while (__ballot_sync(0xffffffffu, left > 0) != 0) {
    uint4 a[Tuning::loads][2 * Tuning::v_tiles];
    Terms<T, S> b[Tuning::loads][t_tiles];
#pragma unroll
    for (int load = 0; load < Tuning::loads; ++load) {
#pragma unroll
      for (int i = 0; i < 2 * Tuning::v_tiles; ++i)
        a[load][i] = load_chunk<T, access>(rows.w[i], load * distance, left);
#pragma unroll
      for (int i = 0; i < t_tiles; ++i) b[load][i].template load<access>(rows.hidden[i], load * distance, left);
    }
#pragma unroll
    for (int load = 0; load < Tuning::loads; ++load)
#pragma unroll
      for (int t = 0; t < t_tiles; ++t) {
        const float2 scales = b[load][t].split();
#pragma unroll
        for (int v = 0; v < Tuning::v_tiles; ++v)
          multiply_octets<T>(a[load][2 * v], a[load][2 * v + 1], b[load][t].word, scales, acc[v][t]);
      }
#pragma unroll
    for (const std::byte*& row : rows.w) row += Tuning::loads * distance;
#pragma unroll
    for (const std::byte*& row : rows.hidden) row += state_bytes * Tuning::loads * distance;
    left -= Tuning::loads * distance;
  }
}

/// 32 rows of w and up to 8 t_tiles rows of x per block. An element of y has the same bits whatever t_tiles is, and
/// however many rows there are.
template <class T, class S, RowAccess access, int t_tiles>
__global__ void __launch_bounds__(32 * DirectTuning::warps, t_tiles == 2 && sizeof(S) == 4 ? 1 : 2)
    multiply_direct_kernel(const __grid_constant__ Products products, StoredRows x, int x_groups) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tuning = DirectTuning;
  ptx::wait_for_previous();
  constexpr int tile_t = 8 * t_tiles;
  __shared__ float sums[Tuning::warps][Tuning::rows][tile_t + 1];
  const Index x0 = static_cast<Index>(blockIdx.x) % x_groups * tile_t;  // who read the same of w run together
  Index group = static_cast<Index>(blockIdx.x) / x_groups;
  const Product* const product = products.find(group, Tuning::rows);
  if (product == nullptr) return;
  const StoredRows& w = product->w;
  const Index w0 = group * Tuning::rows;

  // What does not exist is read as the last row, and not written.
  const int row = static_cast<int>(threadIdx.x) % 32 / 4;
  const int octet = static_cast<int>(threadIdx.x) / 32 * 4 + static_cast<int>(threadIdx.x) % 4;
  LaneRows<Tuning::v_tiles, t_tiles> rows;
#pragma unroll
  for (int i = 0; i < 2 * Tuning::v_tiles; ++i)
    rows.w[i] = w.row(min(w0 + 8 * i + row, w.rows - 1)) + octet * 8 * sizeof(T);
#pragma unroll
  for (int i = 0; i < t_tiles; ++i) rows.hidden[i] = x.row(min(x0 + 8 * i + row, x.rows - 1)) + octet * 8 * sizeof(S);

  float acc[Tuning::v_tiles][t_tiles][4] = {};
  multiply_share<T, S, access, t_tiles>(rows, static_cast<int>(sizeof(T)) * (w.cols - 8 * octet), acc);
  sum_warps(acc, sums);
  const Index w_row = w0 + threadIdx.x % Tuning::rows;
  if (w_row >= w.rows) return;
  for (int t = static_cast<int>(threadIdx.x) / Tuning::rows; t < tile_t && x0 + t < x.rows; t += Tuning::warps)
    product->y[(x0 + t) * product->y_stride + w_row] = sums[0][threadIdx.x % Tuning::rows][t];
  static_assert(Tuning::rows == 32);
#endif
}

/// Whether this program holds the kernel for the device of `execution`.
template <class T, class S>
[[nodiscard]] bool has_multiply_direct(Execution<Cuda> execution) {
  return compiled_for_device(execution, multiply_direct_kernel<T, S, RowAccess::chunks, 1>);
}

/// Products of weights T and rows of S, each row for itself.
template <class T, class S>
void multiply_direct(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  using Tuning = DirectTuning;
  const auto run = [&](auto kernel, Index tile_t) {
    const Index x_groups = (x.rows + tile_t - 1) / tile_t;
    launch_dependent(execution, "multiply_direct_kernel",
                     {blocks(products.groups(Tuning::rows) * x_groups), 32 * Tuning::warps}, kernel, products, x,
                     static_cast<int>(x_groups));
  };
  bool chunks = x.wide && x.cols % 8 == 0;
  for (int i = 0; i < products.count; ++i) chunks = chunks && products.product[i].w.wide;
  if (!chunks)
    run(multiply_direct_kernel<T, S, RowAccess::elements, 1>, 8);
  else if (x.rows <= 8)
    run(multiply_direct_kernel<T, S, RowAccess::chunks, 1>, 8);
  else
    run(multiply_direct_kernel<T, S, RowAccess::chunks, 2>, 16);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

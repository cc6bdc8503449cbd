// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Few rows of x: the rows of w are read once, as they are stored, and that is what it takes.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// y [n, m] = x w^T.
struct Product {
  StoredRows w;
  float* y = nullptr;
  Index y_stride = 0;
};

/// Products of weights of one type that share their x and a launch.
struct Products {
  static constexpr int most = 4;
  Product product[most];
  int count = 0;

  /// Groups of `size` rows of w, none of which has rows of two products.
  [[nodiscard]] Index groups(Index size) const {
    Index sum = 0;
    for (int i = 0; i < count; ++i) sum += (product[i].w.rows + size - 1) / size;
    return sum;
  }
  /// The product that has group `group`, which becomes its place there; null if there are fewer.
  [[nodiscard]] __device__ const Product* find(Index& group, Index size) const {
    for (int i = 0; i < count; ++i) {
      const Index groups = (product[i].w.rows + size - 1) / size;
      if (group < groups) return product + i;
      group -= groups;
    }
    return nullptr;
  }
};

/// Rows of w that a warp multiplies at once, so that x is read from the first-level cache for all of them.
constexpr int warp_weights = 4;

/// A warp per `warp_weights` rows of w and up to `rows` rows of x. A lane widens each weight once, and its part of a
/// sum is the same whatever `rows` is and however many there are: by fused additions in the order of its
/// octets. The lanes' parts are joined by a tree.
template <class T, int rows>
__global__ void __launch_bounds__(128, rows == 1 ? 4 : 2)
    multiply_rows_kernel(const __grid_constant__ Products products, StoredRows x, int x_groups) {
  ptx::wait_for_previous();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Index x0 = static_cast<Index>(blockIdx.x) % x_groups * rows;  // who read the same of w run together
  Index group = static_cast<Index>(blockIdx.x) / x_groups * (blockDim.x / 32) + threadIdx.x / 32;
  const Product* const product = products.find(group, warp_weights);
  if (product == nullptr) return;
  const StoredRows& w = product->w;
  const Index w0 = group * warp_weights;
  const int used = static_cast<int>(min(static_cast<Index>(rows), x.rows - x0));

  float acc[warp_weights][rows] = {};
  const int octets = w.octets();
#pragma unroll 1
  for (int first = lane; first < octets; first += 64) {
#pragma unroll
    for (int octet = first; octet < first + 64; octet += 32) {
      if (octet >= octets) continue;
      float weights[warp_weights][8];
#pragma unroll
      for (int v = 0; v < warp_weights; ++v)
        widen_octet<T>(w, min(w0 + v, w.rows - 1), octet, weights[v]);  // what does not exist is not written
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        if (r >= used) break;
        float states[8];
        widen_octet<float>(x, x0 + r, octet, states);
#pragma unroll
        for (int v = 0; v < warp_weights; ++v)
#pragma unroll
          for (int i = 0; i < 8; ++i) acc[v][r] = fmaf(states[i], weights[v][i], acc[v][r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    if (r >= used) break;
#pragma unroll
    for (int v = 0; v < warp_weights; ++v) {
      float sum = acc[v][r];
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      if (lane == 0 && w0 + v < w.rows) product->y[(x0 + r) * product->y_stride + w0 + v] = sum;
    }
  }
}

/// Every row of x for itself.
template <class T>
void multiply_rows(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  constexpr int threads = 128;
  const Index w_blocks = (products.groups(warp_weights) + threads / 32 - 1) / (threads / 32);
  const auto run = [&](auto kernel, int rows) {
    const Index x_groups = (x.rows + rows - 1) / rows;
    launch_dependent(execution, "multiply_rows_kernel", {blocks(w_blocks * x_groups), threads}, kernel, products, x,
                     static_cast<int>(x_groups));
  };
  if (x.rows == 1)
    run(multiply_rows_kernel<T, 1>, 1);
  else
    run(multiply_rows_kernel<T, 8>, 8);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

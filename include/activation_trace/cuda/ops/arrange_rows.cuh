// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/planes.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Rows of blocks as files have them become rows of planes.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The bits of element `e` of a block as a file has them (tensor/quantized.hpp), those of signed numbers plus 128.
template <class T>
__device__ unsigned quantum_of(const T& block, int e) {
  const auto nibble = [&](const std::uint8_t* bytes, int of, int second) {
    return static_cast<unsigned>(bytes[of]) >> (4 * second) & 15u;
  };
  if constexpr (std::is_same_v<T, Q8_0Block>) {
    return static_cast<unsigned>(block.q[e] + 128);
  } else if constexpr (T::elements == 32) {
    const unsigned low = nibble(block.q, e % 16, e / 16);
    if constexpr (requires { block.high; })
      return low | (static_cast<unsigned>(block.high[e / 8]) >> (e % 8) & 1u) << 4;
    else
      return low;
  } else if constexpr (std::is_same_v<T, IQ4_XSBlock>) {
    return nibble(block.q, e / 32 * 16 + e % 16, e / 16 % 2);
  } else if constexpr (std::is_same_v<T, Q6_KBlock>) {
    return nibble(block.low, e / 128 * 64 + e % 64, e / 64 % 2) |
           (static_cast<unsigned>(block.high[e / 128 * 32 + e % 32]) >> (e / 32 % 4 * 2) & 3u) << 4;
  } else if constexpr (std::is_same_v<T, Q2_KBlock> || std::is_same_v<T, Q3_KBlock>) {
    const unsigned low = static_cast<unsigned>(block.q[e / 128 * 32 + e % 32]) >> (e / 32 % 4 * 2) & 3u;
    if constexpr (std::is_same_v<T, Q3_KBlock>)
      return low | (static_cast<unsigned>(block.high[e % 32]) >> (e / 32) & 1u) << 2;
    else
      return low;
  } else {
    const unsigned low = nibble(block.q, e / 64 * 32 + e % 32, e / 32 % 2);
    if constexpr (std::is_same_v<T, Q5_KBlock>)
      return low | (static_cast<unsigned>(block.high[e % 32]) >> (e / 32) & 1u) << 4;
    else
      return low;
  }
}

/// Word `word` of those that lane `q` has of a tile in a plane of `bits` bits, which are those from bit `first` on.
template <int bits, class T>
__device__ std::uint32_t arranged_word(const T* blocks, int cols, int tile, int q, int word, int first) {
  std::uint32_t result = 0;
#pragma unroll 1  // registers were spilled
  for (int i = 0; i < 32 / bits; ++i) {
    const int pair = word * 16 / bits + i / 2;
    const int e = tile * tile_elements + pair / 4 * 32 + q * 8 + pair % 4 * 2 + i % 2;
    if (e >= cols) break;
    const unsigned part = quantum_of(blocks[e / T::elements], e % T::elements) >> first & ((1u << bits) - 1);
    result |= part << (i / 2 * bits + i % 2 * 16);
  }
  return result;
}

/// What lane `q` has of a tile.
template <class T>
__device__ void arrange_lane(const T* blocks, int cols, int tile, int q, std::byte* row) {
  constexpr BlockParts parts = parts_of<T>;
  const auto store = [](std::byte* target, std::uint32_t word) { *reinterpret_cast<std::uint32_t*>(target) = word; };
#pragma unroll 1
  for (int word = 0; word < parts.low_bits; ++word)
    store(row + Planes<T>::low_at(tile, q, word), arranged_word<parts.low_bits>(blocks, cols, tile, q, word, 0));
  if constexpr (parts.high_bits > 0) {
    std::byte* const second = row + Planes<T>(row, cols).high;
#pragma unroll 1
    for (int word = 0; word < parts.high_bits; ++word)
      store(second + Planes<T>::high_at(tile, q, word),
            arranged_word<parts.high_bits>(blocks, cols, tile, q, word, parts.low_bits));
  }
}

/// A block per row of `from`, which is as in a file but for its distance. Every byte of the planes is written.
template <int = 0>
__global__ void __launch_bounds__(128)
    arrange_rows_kernel(DType dtype, const std::byte* from, Index from_bytes, int cols, std::byte* to, Index to_bytes) {
  from += blockIdx.x * from_bytes;
  to += blockIdx.x * to_bytes;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  visit_stored(dtype, [&]<class T>(std::type_identity<T>) {
    if constexpr (QuantizedBlock<T>) {
      constexpr BlockParts parts = parts_of<T>;
      const auto* const blocks = reinterpret_cast<const T*>(from);
      const int lanes = static_cast<int>(Planes<T>::tiles(cols)) * 4;
      for (int i = thread; i < lanes; i += threads) arrange_lane(blocks, cols, i / 4, i % 4, to);
      std::byte* const heads = to + 4 * (parts.low_bits + parts.high_bits) * lanes;
      const int count = static_cast<int>(Planes<T>::blocks(cols));
      for (int i = thread; i < count; i += threads) {
        const bool exists = i * T::elements < cols;
        const auto* const bytes = reinterpret_cast<const std::byte*>(blocks + i);
        for (int b = 0; b < parts.head_bytes; ++b)
          heads[i * parts.head_bytes + b] = exists ? bytes[parts.head_at + b] : std::byte{};
        for (int b = 0; b < parts.tail_bytes; ++b)
          heads[count * parts.head_bytes + i * parts.tail_bytes + b] = exists ? bytes[parts.tail_at + b] : std::byte{};
      }
    }
  });
}

/// Rows of blocks in the device's memory: `from` are as in a file, but at multiples of `from_bytes`, which is even;
/// those of `to` are at multiples of 16 bytes. In the order of `execution`.
template <int = 0>
void arrange_rows(Execution<Cuda> execution, DType dtype, Index rows, int cols, const std::byte* from, Index from_bytes,
                  std::byte* to, Index to_bytes) {
  launch(execution, "arrange_rows_kernel", {blocks(rows), 128}, arrange_rows_kernel<>, dtype, from, from_bytes, cols,
         to, to_bytes);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

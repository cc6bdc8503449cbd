// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/ops/planes.cuh"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

// Stored rows as kernels read them: octet i of a row are its elements 8 i to 8 i + 7, which a thread widens to float.
// What comes out are the bits of StoredMatrix::decode_row: every product in it is exact, so that it does not matter
// which of them a compiler fuses.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The rows of a stored matrix, as a kernel takes them.
struct StoredRows {
  const std::byte* data = nullptr;
  Index rows = 0;
  Index row_bytes = 0;
  int cols = 0;
  bool wide = false;  ///< rows begin at multiples of 16 bytes

  StoredRows() = default;
  explicit StoredRows(const StoredMatrix<Cuda>& m)
      : data(m.data()),
        rows(m.rows()),
        row_bytes(m.row_bytes()),
        cols(static_cast<int>(m.cols())),
        wide(reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && (rows <= 1 || row_bytes % 16 == 0)) {}

  [[nodiscard]] __device__ const std::byte* row(Index r) const { return data + r * row_bytes; }
  [[nodiscard]] __device__ int octets() const { return (cols + 7) / 8; }
};

/// Throws ShapeError for rows that a kernel cannot read: longer than an int counts, at an address that no T can have,
/// or of blocks as they lie in files.
inline void check_stored(const char* what, const StoredMatrix<Cuda>& m) {
  const auto refuse = [&](const std::string& why) { throw ShapeError(std::string(what) + ": " + why); };
  const std::string rows = "rows of " + std::string(name(m.dtype()));
  if (m.cols() >= 1 << 30) refuse("rows of " + std::to_string(m.cols()) + " elements are too long");
  const bool blocks = block_elements(m.dtype()) > 1;
  if (blocks && m.rows() > 0 && m.cols() > 0 && m.layout() != RowLayout::planes)
    refuse(rows + " lie as in a file; cuda::DeviceMatrix and cuda::DeviceWeights lay them out for a device");
  const Index alignment = blocks ? 16 : block_bytes(m.dtype());
  if (reinterpret_cast<std::uintptr_t>(m.data()) % static_cast<std::uintptr_t>(alignment) != 0 ||
      (m.rows() > 1 && m.row_bytes() % alignment != 0))
    refuse(rows + " must begin at multiples of " + std::to_string(alignment) + " bytes");
}

/// The whole numbers of octet `octet` of a row of blocks.
template <class T>
__device__ uint4 octet_quanta(const Planes<T>& planes, int octet) {
  constexpr BlockParts parts = parts_of<T>;
  const int tile = octet / 16;
  const int q = octet % 4;
  const int first = octet % 16 / 4 * 4;  // of the pairs that a lane has of a tile
  const auto low_word = [&](int word) {
    return load_word<std::uint32_t>(planes.row + Planes<T>::low_at(tile, q, word));
  };
  const int low_bit = first * parts.low_bits;
  const std::uint32_t low = low_word(low_bit / 16) >> (low_bit % 16);
  std::uint32_t low_end = 0, high = 0;
  if constexpr (parts.low_bits == 8) low_end = low_word(low_bit / 16 + 1);
  if constexpr (parts.high_bits > 0) {
    const int bit = first * parts.high_bits;
    high = load_word<std::uint32_t>(planes.row + planes.high + Planes<T>::high_at(tile, q, bit / 16)) >> (bit % 16);
  }
  return quanta<T>(low, low_end, high);
}

/// Octet `octet` of a row of T; what lies beyond its end is 0.
template <class T>
__device__ void widen_octet(const StoredRows& m, Index row, int octet, float (&y)[8]) {
  if constexpr (QuantizedBlock<T>) {
    if (octet < m.octets()) {
      const Planes<T> planes(m.row(row), m.cols);
      const Step step =
          TileSteps<T>(TileHead<T>(planes, octet / 16), octet / 16).of(octet % 16 * 8 / group_elements<T>);
      const uint4 q = octet_quanta(planes, octet);
      const std::uint32_t pairs[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 both = widen_pair<Half>(pairs[i]);
        y[2 * i] = step.scale * both.x + step.shift;
        y[2 * i + 1] = step.scale * both.y + step.shift;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) y[i] = 0.0f;
    }
  } else {
    const T* const elements = reinterpret_cast<const T*>(m.row(row)) + 8 * octet;
    const int left = m.cols - 8 * octet;
    if (m.wide && left >= 8) {
      constexpr int chunks = static_cast<int>(sizeof(T)) / 2;
      constexpr int size = 8 / chunks;
#pragma unroll
      for (int c = 0; c < chunks; ++c) {
        const uint4 chunk = __ldg(reinterpret_cast<const uint4*>(elements) + c);
        T values[size];
        memcpy(static_cast<void*>(values), &chunk, sizeof(chunk));
#pragma unroll
        for (int i = 0; i < size; ++i) y[c * size + i] = widen(values[i]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) y[i] = i < left ? widen(elements[i]) : 0.0f;
    }
  }
}

/// Calls `f(std::type_identity<T>{})` with the type that stores `dtype`, in a kernel that is one for all of them.
template <class F, class... T>
__device__ void visit_stored(TypeList<T...>, DType dtype, const F& f) {
  static_cast<void>(((dtype == dtype_of<T> && (f(std::type_identity<T>{}), true)) || ...));
}
template <class F>
__device__ void visit_stored(DType dtype, const F& f) {
  visit_stored(WeightTypes{}, dtype, f);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

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

/// The largest power of two, up to 16, that the size of T is a multiple of: so its blocks are aligned where its rows
/// are.
template <class T>
inline constexpr Index stored_alignment = sizeof(T) % 16 == 0  ? 16
                                          : sizeof(T) % 8 == 0 ? 8
                                          : sizeof(T) % 4 == 0 ? 4
                                                               : 2;

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

/// Throws ShapeError for rows that a kernel cannot read: longer than an int counts, or at an address that no T can
/// have.
inline void check_stored(const char* what, const StoredMatrix<Cuda>& m) {
  if (m.cols() >= 1 << 30)
    throw ShapeError(std::string(what) + ": rows of " + std::to_string(m.cols()) + " elements are too long");
  const Index alignment = visit_dtype(m.dtype(), []<class T>(std::type_identity<T>) { return stored_alignment<T>; });
  if (reinterpret_cast<std::uintptr_t>(m.data()) % static_cast<std::uintptr_t>(alignment) != 0 ||
      (m.rows() > 1 && m.row_bytes() % alignment != 0))
    throw ShapeError(std::string(what) + ": rows of " + std::string(name(m.dtype())) + " must begin at multiples of " +
                     std::to_string(alignment) + " bytes");
}

/// Eight bytes of a block.
struct Bytes8 {
  std::uint32_t words[2];
  __device__ unsigned operator[](int i) const { return words[i / 4] >> (8 * (i % 4)) & 0xffu; }
};

/// From an address that is aligned as blocks of Block are.
template <class Block>
__device__ Bytes8 load_bytes(const std::uint8_t* bytes) {
  if constexpr (stored_alignment<Block> >= 8) {
    const uint2 both = __ldg(reinterpret_cast<const uint2*>(bytes));
    return {{both.x, both.y}};
  } else if constexpr (stored_alignment<Block> == 4) {
    const auto* const words = reinterpret_cast<const std::uint32_t*>(bytes);
    return {{__ldg(words), __ldg(words + 1)}};
  } else {
    const auto* const halves = reinterpret_cast<const std::uint16_t*>(bytes);
    return {{__ldg(halves) | static_cast<std::uint32_t>(__ldg(halves + 1)) << 16,
             __ldg(halves + 2) | static_cast<std::uint32_t>(__ldg(halves + 3)) << 16}};
  }
}

/// q - offset of whole numbers below 2^23, without a conversion, which takes a device four times as long.
inline __device__ float difference(unsigned q, int offset) {
  return __uint_as_float(0x4b000000u | q) - static_cast<float>(0x800000 + offset);
}

/// y = scale q + shift for eight quanta q(i).
template <class Quantum>
__device__ void scale_octet(float scale, float shift, float (&y)[8], const Quantum& quantum) {
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i] = scale * quantum(i) + shift;
}
template <class Quantum>
__device__ void scale_octet(float scale, float (&y)[8], const Quantum& quantum) {
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i] = scale * quantum(i);
}

// Octet `octet` of a block (tensor/quantized.hpp says where its bits are).

inline __device__ void widen_octet(const Q8_0Block& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<Q8_0Block>(reinterpret_cast<const std::uint8_t*>(block.q) + 8 * octet);
  scale_octet(widen(block.d), y, [&](int i) { return difference(q[i] ^ 0x80u, 128); });
}

inline __device__ void widen_octet(const Q4_0Block& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<Q4_0Block>(block.q + 8 * (octet % 2));
  scale_octet(widen(block.d), y, [&](int i) { return difference(q[i] >> (octet / 2 * 4) & 15u, 8); });
}

inline __device__ void widen_octet(const Q4_1Block& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<Q4_1Block>(block.q + 8 * (octet % 2));
  scale_octet(widen(block.d), widen(block.m), y, [&](int i) { return difference(q[i] >> (octet / 2 * 4) & 15u, 0); });
}

/// Five bits of each element of an octet of Q5_0 or Q5_1.
template <class Block>
__device__ auto five_bits_of(const Block& block, int octet) {
  return [q = load_bytes<Block>(block.q + 8 * (octet % 2)), high = static_cast<unsigned>(block.high[octet]),
          octet](int i) { return (q[i] >> (octet / 2 * 4) & 15u) | (high >> i & 1u) << 4; };
}
inline __device__ void widen_octet(const Q5_0Block& block, int octet, float (&y)[8]) {
  const auto bits = five_bits_of(block, octet);
  scale_octet(widen(block.d), y, [&](int i) { return difference(bits(i), 16); });
}
inline __device__ void widen_octet(const Q5_1Block& block, int octet, float (&y)[8]) {
  const auto bits = five_bits_of(block, octet);
  scale_octet(widen(block.d), widen(block.m), y, [&](int i) { return difference(bits(i), 0); });
}

inline __device__ void widen_octet(const Q2_KBlock& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<Q2_KBlock>(block.q + octet / 16 * 32 + 8 * (octet % 4));
  const unsigned scales = block.scales[octet / 2];
  const int shift = octet / 4 % 4 * 2;
  scale_octet(widen(block.d) * difference(scales & 15u, 0), -(widen(block.dmin) * difference(scales >> 4, 0)), y,
              [&](int i) { return difference(q[i] >> shift & 3u, 0); });
}

inline __device__ void widen_octet(const Q3_KBlock& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<Q3_KBlock>(block.q + octet / 16 * 32 + 8 * (octet % 4));
  const Bytes8 high = load_bytes<Q3_KBlock>(block.high + 8 * (octet % 4));
  const int shift = octet / 4 % 4 * 2;
  scale_octet(widen(block.d) * difference(static_cast<unsigned>(block.unpack_scale(octet / 2)), 32), y,
              [&](int i) { return difference((q[i] >> shift & 3u) | (high[i] >> (octet / 4) & 1u) << 2, 4); });
}

/// Scale and shift of one of the eight groups of a Q4_K or Q5_K block.
struct GroupStep {
  float scale, shift;

  template <class Block>
  __device__ GroupStep(const Block& block, int group) {
    const GroupScale packed = GroupScale::unpack(block.scales, group);
    scale = widen(block.d) * difference(packed.scale, 0);
    shift = -(widen(block.dmin) * difference(packed.minimum, 0));
  }
};
inline __device__ void widen_octet(const Q4_KBlock& block, int octet, float (&y)[8]) {
  const GroupStep step(block, octet / 4);
  const Bytes8 q = load_bytes<Q4_KBlock>(block.q + octet / 8 * 32 + 8 * (octet % 4));
  scale_octet(step.scale, step.shift, y, [&](int i) { return difference(q[i] >> (octet / 4 % 2 * 4) & 15u, 0); });
}
inline __device__ void widen_octet(const Q5_KBlock& block, int octet, float (&y)[8]) {
  const GroupStep step(block, octet / 4);
  const Bytes8 q = load_bytes<Q5_KBlock>(block.q + octet / 8 * 32 + 8 * (octet % 4));
  const Bytes8 high = load_bytes<Q5_KBlock>(block.high + 8 * (octet % 4));
  scale_octet(step.scale, step.shift, y, [&](int i) {
    return difference((q[i] >> (octet / 4 % 2 * 4) & 15u) | (high[i] >> (octet / 4) & 1u) << 4, 0);
  });
}

inline __device__ void widen_octet(const Q6_KBlock& block, int octet, float (&y)[8]) {
  const int half = octet / 16;
  const int quarter = octet / 4 % 4;
  const Bytes8 low = load_bytes<Q6_KBlock>(block.low + half * 64 + quarter % 2 * 32 + 8 * (octet % 4));
  const Bytes8 high = load_bytes<Q6_KBlock>(block.high + half * 32 + 8 * (octet % 4));
  const auto scale = static_cast<unsigned>(block.scales[octet / 2] + 128);
  scale_octet(widen(block.d) * difference(scale, 128), y, [&](int i) {
    return difference((low[i] >> (quarter / 2 * 4) & 15u) | (high[i] >> (2 * quarter) & 3u) << 4, 32);
  });
}

/// IQ4_NLBlock::values[q], out of four registers.
inline __device__ float named_value(unsigned q) {
  constexpr auto four = [](int first) {
    std::uint32_t word = 0;
    for (int i = 0; i < 4; ++i)
      word |= static_cast<std::uint32_t>(static_cast<int>(IQ4_NLBlock::values[first + i]) + 128) << (8 * i);
    return word;
  };
  constexpr std::uint32_t a = four(0), b = four(4), c = four(8), d = four(12);
  const std::uint32_t word = (q & 8u) != 0 ? ((q & 4u) != 0 ? d : c) : ((q & 4u) != 0 ? b : a);
  return difference(word >> (8 * (q & 3u)) & 0xffu, 128);
}
inline __device__ void widen_octet(const IQ4_NLBlock& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<IQ4_NLBlock>(block.q + 8 * (octet % 2));
  scale_octet(widen(block.d), y, [&](int i) { return named_value(q[i] >> (octet / 2 * 4) & 15u); });
}
inline __device__ void widen_octet(const IQ4_XSBlock& block, int octet, float (&y)[8]) {
  const Bytes8 q = load_bytes<IQ4_XSBlock>(block.q + octet / 4 * 16 + 8 * (octet % 2));
  const auto scale = static_cast<unsigned>(block.unpack_scale(octet / 4));
  scale_octet(widen(block.d) * difference(scale, 32), y,
              [&](int i) { return named_value(q[i] >> (octet / 2 % 2 * 4) & 15u); });
}

/// Octet `octet` of a row of T; what lies beyond its end is 0.
template <class T>
__device__ void widen_octet(const StoredRows& m, Index row, int octet, float (&y)[8]) {
  if constexpr (QuantizedBlock<T>) {
    constexpr int octets = T::elements / 8;
    if (octet < m.octets()) {
      widen_octet(reinterpret_cast<const T*>(m.row(row))[octet / octets], octet % octets, y);
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

/// Octets are dealt out in pairs that lie in the same bytes: the two octets of pair p of a row.
template <class T>
__device__ int octet_of_pair(int pair, int second) {
  if constexpr (!QuantizedBlock<T> || std::is_same_v<T, Q8_0Block>) {
    return pair / 32 * 64 + second * 32 + pair % 32;  // no two share bytes: a warp's 32 are neighbours
  } else if constexpr (T::elements == 32) {
    return pair / 2 * 4 + second * 2 + pair % 2;
  } else {
    constexpr int pairs = T::elements / 16;
    const int block = pair / pairs * 32;
    const int local = pair % pairs;
    if constexpr (std::is_same_v<T, IQ4_XSBlock>)
      return block + local / 2 * 4 + second * 2 + local % 2;
    else if constexpr (std::is_same_v<T, Q4_KBlock> || std::is_same_v<T, Q5_KBlock>)
      return block + local / 4 * 8 + second * 4 + local % 4;
    else if constexpr (std::is_same_v<T, Q6_KBlock>)
      return block + local / 8 * 16 + second * 8 + local % 8;
    else
      return block + local / 8 * 16 + second * 4 + local % 8 / 4 * 8 + local % 4;
  }
}
/// One past the last pair that holds an octet.
template <class T>
__device__ int pairs_of(int octets) {
  if constexpr (!QuantizedBlock<T> || std::is_same_v<T, Q8_0Block>)
    return octets / 64 * 32 + (octets % 64 < 32 ? octets % 64 : 32);
  else
    return octets / 2;
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

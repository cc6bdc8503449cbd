// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "activation_trace/config.hpp"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/tensor/dtype.hpp"

// Rows of quantised blocks as a device reads them: their parts in planes, one behind the other, so that loads are wide
// whatever a block's size is. A row has as many bytes as in a file, but for its end: it is made of whole tiles of 128
// elements, those beyond the row's end 0, and of a multiple of 16 bytes.
//
// Lane q of a quad has the octets q, q + 4, q + 8 and q + 12 of a tile, one of each 32 elements, which is how mma.sync
// has its operands. A word holds elements 2 p of its octets, pair after pair, in the lower half, elements 2 p + 1 in
// the upper half: a shift and a mask give two neighbours as two numbers of 16 bits.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// What a block is made of. An element is scale (q - offset) + shift, q a whole number.
struct BlockParts {
  int low_bits;        ///< of q, that are in the first plane
  int high_bits;       ///< the rest of them, in the second one
  int offset;          ///< for Q8_0, whose numbers are signed in files, of what is in the plane
  int head_at;         ///< what scales are made of lies here in a file's block,
  int head_bytes;      ///< so many bytes of it,
  int tail_at = 0;     ///< and here
  int tail_bytes = 0;  ///< in a fourth plane
};
template <class T>
inline constexpr BlockParts parts_of{};
template <>
inline constexpr BlockParts parts_of<Q8_0Block>{8, 0, 128, 0, 2};
template <>
inline constexpr BlockParts parts_of<Q4_0Block>{4, 0, 8, 0, 2};
template <>
inline constexpr BlockParts parts_of<Q4_1Block>{4, 0, 0, 0, 4};
template <>
inline constexpr BlockParts parts_of<Q5_0Block>{4, 1, 16, 0, 2};
template <>
inline constexpr BlockParts parts_of<Q5_1Block>{4, 1, 0, 0, 4};
template <>
inline constexpr BlockParts parts_of<Q2_KBlock>{2, 0, 0, 0, 16, 80, 4};
template <>
inline constexpr BlockParts parts_of<Q3_KBlock>{2, 1, 4, 96, 12, 108, 2};
template <>
inline constexpr BlockParts parts_of<Q4_KBlock>{4, 0, 0, 0, 16};
template <>
inline constexpr BlockParts parts_of<Q5_KBlock>{4, 1, 0, 0, 16};
template <>
inline constexpr BlockParts parts_of<Q6_KBlock>{4, 2, 32, 192, 16, 208, 2};
template <>
inline constexpr BlockParts parts_of<IQ4_NLBlock>{4, 0, 0, 0, 2};
template <>
inline constexpr BlockParts parts_of<IQ4_XSBlock>{4, 0, 0, 0, 8};

/// Whether q is the place of a value in IQ4_NLBlock::values.
template <class T>
inline constexpr bool is_named = std::is_same_v<T, IQ4_NLBlock> || std::is_same_v<T, IQ4_XSBlock>;
/// Whether elements are more than a multiple of a whole number.
template <class T>
inline constexpr bool is_shifted = requires(const T& block) {
  block.m;
}
|| requires(const T& block) { block.dmin; };
/// Elements that share a scale.
template <class T>
inline constexpr int group_elements =
    std::is_same_v<T, Q2_KBlock> || std::is_same_v<T, Q3_KBlock> || std::is_same_v<T, Q6_KBlock> ? 16 : 32;

constexpr int tile_elements = 128;

/// Where the planes of a row begin.
template <class T>
struct Planes {
  static constexpr BlockParts parts = parts_of<T>;
  static_assert((parts.low_bits + parts.high_bits) * T::elements / 8 + parts.head_bytes + parts.tail_bytes ==
                    static_cast<int>(sizeof(T)),
                "every byte of a block has its place");
  const std::byte* row;
  int high, heads, tails;  ///< offsets, which rows share: that takes fewer registers than pointers

  __device__ Planes(const std::byte* begin, int cols)
      : row(begin),
        high(16 * parts.low_bits * static_cast<int>(tiles(cols))),
        heads(high + 16 * parts.high_bits * static_cast<int>(tiles(cols))),
        tails(heads + parts.head_bytes * static_cast<int>(blocks(cols))) {}

  [[nodiscard]] static ACTIVATION_TRACE_HOST_DEVICE Index tiles(Index cols) {
    return (cols + tile_elements - 1) / tile_elements;
  }
  /// Whole blocks, or as many as the tiles hold.
  [[nodiscard]] static ACTIVATION_TRACE_HOST_DEVICE Index blocks(Index cols) {
    return tiles(cols) * tile_elements / T::elements;
  }
  /// What a row takes, a multiple of 16.
  [[nodiscard]] static ACTIVATION_TRACE_HOST_DEVICE Index bytes(Index cols) {
    const Index all =
        16 * (parts.low_bits + parts.high_bits) * tiles(cols) + (parts.head_bytes + parts.tail_bytes) * blocks(cols);
    return (all + 15) / 16 * 16;
  }
  /// Word `word` of lane `q` in the first plane: up to 16 bytes of four lanes lie side by side.
  [[nodiscard]] static ACTIVATION_TRACE_HOST_DEVICE int low_at(int tile, int q, int word) {
    constexpr int lane_bytes = parts.low_bits < 4 ? 4 * parts.low_bits : 16;
    return tile * 16 * parts.low_bits + word / 4 * 64 + q * lane_bytes + word % 4 * 4;
  }
  [[nodiscard]] static ACTIVATION_TRACE_HOST_DEVICE int high_at(int tile, int q, int word) {
    return (tile * 4 + q) * 4 * parts.high_bits + word * 4;
  }
};

template <class W>
__device__ W load_word(const std::byte* address) {
  return __ldg(reinterpret_cast<const W*>(address));
}
inline __device__ float widen_bits(std::uint32_t bits) {
  Half x;
  x.bits = static_cast<std::uint16_t>(bits);
  return widen(x);
}

/// `factor`, a number of f16, times what byte `i` of a word is more than `offset`; without a conversion, which takes a
/// device four times as long. Exact, also on the way.
template <int offset>
__device__ float scaled_byte(float factor, std::uint32_t word, int i) {
  const float byte = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650u | static_cast<unsigned>(i)));  // + 2^23
  if constexpr (offset == 0)
    return fmaf(factor, byte, -0x1p23f * factor);
  else
    return factor * (byte - (0x1p23f + static_cast<float>(offset)));
}

/// An element is scale q + shift, q less its offset.
struct Step {
  float scale, shift;
};

/// What the steps of a tile's groups are made of, as it lies in the planes: loaded ahead of its use.
template <class T>
struct TileHead {
  std::uint32_t word[4] = {}, tail = 0;

  __device__ TileHead(const Planes<T>& planes, int tile) {
    constexpr BlockParts parts = parts_of<T>;
    constexpr int tile_blocks = tile_elements / T::elements;  // 0 where a block has two tiles
    const int block = tile / 2;
    if constexpr (std::is_same_v<T, Q2_KBlock> || std::is_same_v<T, Q6_KBlock>) {  // 8 bytes are of the tile
      load<2>(planes.row + planes.heads + 8 * tile);
    } else if constexpr (tile_blocks > 0) {
      load<tile_blocks * parts.head_bytes / 4>(planes.row + planes.heads + tile_blocks * parts.head_bytes * tile);
    } else {
      load<parts.head_bytes / 4>(planes.row + planes.heads + parts.head_bytes * block);
    }
    if constexpr (parts.tail_bytes == 4) tail = load_word<std::uint32_t>(planes.row + planes.tails + 4 * block);
    if constexpr (parts.tail_bytes == 2) tail = load_word<std::uint16_t>(planes.row + planes.tails + 2 * block);
  }

 private:
  template <int words>
  __device__ void load(const std::byte* address) {
    if constexpr (words == 4) {
      const auto all = load_word<uint4>(address);
      word[0] = all.x, word[1] = all.y, word[2] = all.z, word[3] = all.w;
    } else if constexpr (words == 2) {
      const auto both = load_word<uint2>(address);
      word[0] = both.x, word[1] = both.y;
    } else {
#pragma unroll
      for (int i = 0; i < words; ++i) word[i] = load_word<std::uint32_t>(address + 4 * i);
    }
  }
};

/// The steps of a tile's groups: scales and shifts themselves, of blocks of 32; else a byte each, to be multiplied by
/// `d` and `m`.
template <class T>
struct TileSteps {
  std::uint32_t scales[2], shifts[2] = {};
  float d = 0, m = 0;

  __device__ TileSteps(const TileHead<T>& head, [[maybe_unused]] int tile) : scales{head.word[0], head.word[1]} {
    [[maybe_unused]] const int half = tile % 2;
    constexpr std::uint32_t nibbles = 0x0f0f0f0fu;
    if constexpr (T::elements == 32) {
      shifts[0] = head.word[2], shifts[1] = head.word[3];
    } else if constexpr (std::is_same_v<T, Q4_KBlock> || std::is_same_v<T, Q5_KBlock>) {
      set_floats(head.word[0]);
      // GroupScale::unpack of four groups at once
      const std::uint32_t scale = (head.word[3] & nibbles) | (head.word[1] >> 2 & 0x30303030u);
      const std::uint32_t shift = (head.word[3] >> 4 & nibbles) | (head.word[2] >> 2 & 0x30303030u);
      scales[0] = half == 0 ? head.word[1] & 0x3f3f3f3fu : scale;
      shifts[0] = half == 0 ? head.word[2] & 0x3f3f3f3fu : shift;
    } else if constexpr (std::is_same_v<T, Q6_KBlock>) {
      d = widen_bits(head.tail);
#pragma unroll
      for (std::uint32_t& four : scales) four ^= 0x80808080u;  // they are signed
    } else if constexpr (std::is_same_v<T, Q2_KBlock>) {
      set_floats(head.tail);
#pragma unroll
      for (int i = 0; i < 2; ++i) scales[i] = head.word[i] & nibbles, shifts[i] = head.word[i] >> 4 & nibbles;
    } else if constexpr (std::is_same_v<T, Q3_KBlock>) {
      d = widen_bits(head.tail);
      const std::uint32_t high = head.word[2] >> (4 * half);
#pragma unroll
      for (int i = 0; i < 2; ++i)
        scales[i] = (head.word[i] >> (4 * half) & nibbles) | (high >> (2 * i) & 0x03030303u) << 4;
    } else {
      static_assert(std::is_same_v<T, IQ4_XSBlock>);
      d = widen_bits(head.word[0]);
      const std::uint32_t low = head.word[1] >> (16 * half);       // two groups a byte
      const std::uint32_t high = head.word[0] >> (16 + 8 * half);  // four groups
      scales[0] = 0;
#pragma unroll
      for (int g = 0; g < 4; ++g) scales[0] |= ((low >> (4 * g) & 15u) | (high >> (2 * g) & 3u) << 4) << (8 * g);
    }
  }

  /// The step of group `group` of the tile.
  [[nodiscard]] __device__ Step of(int group) const {
    // Chosen and not indexed: what is indexed by a number that the compiler does not know lies on a stack.
    const auto word = [group](const std::uint32_t(&words)[2], int each) { return group < each ? words[0] : words[1]; };
    if constexpr (T::elements == 32 && is_shifted<T>) {
      const std::uint32_t even = group < 2 ? scales[0] : shifts[0], odd = group < 2 ? scales[1] : shifts[1];
      const std::uint32_t pair = group % 2 == 0 ? even : odd;
      return {widen_bits(pair), widen_bits(pair >> 16)};
    } else if constexpr (T::elements == 32) {
      return {widen_bits(word(scales, 2) >> (group % 2 * 16)), 0.0f};
    } else {
      constexpr int offset = std::is_same_v<T, Q6_KBlock> ? 128 : is_shifted<T> ? 0 : 32;
      const float scale = scaled_byte<offset>(d, word(scales, 4), group % 4);
      if constexpr (is_shifted<T>)
        return {scale, scaled_byte<0>(m, word(shifts, 4), group % 4)};
      else
        return {scale, 0.0f};
    }
  }

 private:
  __device__ void set_floats(std::uint32_t pair) {
    d = widen_bits(pair);
    m = -widen_bits(pair >> 16);
  }
};

/// The values that a word's eight nibbles name, less nothing: pairs of f16.
inline __device__ uint4 named_pairs(std::uint32_t word) {
  constexpr auto four = [](int first) {
    std::uint32_t bytes = 0;
    for (int i = 0; i < 4; ++i)
      bytes |= static_cast<std::uint32_t>(static_cast<int>(IQ4_NLBlock::values[first + i]) + 128) << (8 * i);
    return bytes;
  };
  constexpr std::uint32_t a = four(0), b = four(4), c = four(8), d = four(12);
  const auto look_up = [](std::uint32_t names) {  // four of them
    const std::uint32_t place = names & 0x7777u;
    const std::uint32_t upper = (names & 0x8888u) >> 1;  // of eight bytes, the last four
    return __byte_perm(__byte_perm(a, b, place), __byte_perm(c, d, place), 0x3210u | upper);
  };
  const std::uint32_t even = look_up(word), odd = look_up(word >> 16);
  const std::uint32_t first = __byte_perm(even, odd, 0x5140u), last = __byte_perm(even, odd, 0x7362u);
  // 1024 + byte, less 1024 and the 128 that a byte has more
  const auto pair = [](std::uint32_t bytes, unsigned selectors) {
    return ptx::fma_pair(__byte_perm(bytes, 0x64646464u, selectors), 0x3c003c00u, 0xe480e480u);
  };
  return {pair(first, 0x4140u), pair(first, 0x4342u), pair(last, 0x4140u), pair(last, 0x4342u)};
}

/// Eight whole numbers, less their offset, as f16, which all of them are exactly. `low` and `high` have them from bit 0
/// on; Q8_0's last four are in `low_end`.
template <class T>
__device__ uint4 quanta(std::uint32_t low, [[maybe_unused]] std::uint32_t low_end,
                        [[maybe_unused]] std::uint32_t high) {
  constexpr BlockParts parts = parts_of<T>;
  if constexpr (is_named<T>) {
    return named_pairs(low);
  } else {
    std::uint32_t pair[4];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      // A number q is left at a bit `at` where it is: as the fraction of an f16, 1024 + q 2^at.
      const int bit = parts.low_bits * p % 16;
      const int at = parts.low_bits == 8 ? 0 : bit % 8;
      const std::uint32_t word = parts.low_bits == 8 && p >= 2 ? low_end : low;
      std::uint32_t q = ptx::and_or(word >> (bit - at), 0x00010001u * ((1u << parts.low_bits) - 1) << at, 0x64006400u);
      if constexpr (parts.high_bits > 0) {
        const int from = parts.high_bits * p;
        const int to = at + parts.low_bits;
        q = ptx::and_or(from < to ? high << (to - from) : high >> (from - to),
                        0x00010001u * ((1u << parts.high_bits) - 1) << to, q);
      }
      const std::uint32_t factor = 0x3c00u - (static_cast<unsigned>(at) << 10);  // 2^-at
      const std::uint32_t addend =                                               // -(1024 2^-at + offset)
          0x8000u | static_cast<unsigned>(25 - at) << 10 | static_cast<unsigned>(parts.offset) << at;
      pair[p] = ptx::fma_pair(q, factor * 0x00010001u, addend * 0x00010001u);
    }
    return {pair[0], pair[1], pair[2], pair[3]};
  }
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

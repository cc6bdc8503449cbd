// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {

// The block formats of GGUF, byte for byte (formats/README.md 3): a row of a matrix is a whole number of blocks.
// `name` is the format's. `decode` widens one block to float and is the definition of its value; faster decoders are
// tested against it bit for bit, and it against PyPI's `gguf`.

/// 32 weights, 4 bits each: y = d * (q - 8). Low nibbles are elements 0..15, high nibbles 16..31.
struct Q4_0Block {
  static constexpr std::string_view name = "Q4_0";
  static constexpr int elements = 32;
  Half d;              ///< scale
  std::uint8_t q[16];  ///< two elements a byte

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    for (int j = 0; j < 16; ++j) {
      y[j] = static_cast<float>((q[j] & 15) - 8) * scale;
      y[j + 16] = static_cast<float>((q[j] >> 4) - 8) * scale;
    }
  }
};
static_assert(sizeof(Q4_0Block) == 18);

/// 32 weights, 4 bits each, with an offset: y = d * q + m.
struct Q4_1Block {
  static constexpr std::string_view name = "Q4_1";
  static constexpr int elements = 32;
  Half d;              ///< scale
  Half m;              ///< offset
  std::uint8_t q[16];  ///< two elements a byte, nibbles as in Q4_0

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    const float offset = m;
    for (int j = 0; j < 16; ++j) {
      y[j] = static_cast<float>(q[j] & 15) * scale + offset;
      y[j + 16] = static_cast<float>(q[j] >> 4) * scale + offset;
    }
  }
};
static_assert(sizeof(Q4_1Block) == 20);

namespace detail {

/// Element j of 32 whose lower four bits are nibbles, as in Q4_0, and whose fifth ones are the bits of `high`.
[[nodiscard]] constexpr int five_bits(const std::uint8_t* q, const std::uint8_t* high, int j) noexcept {
  const int low = (q[j % 16] >> (j / 16 * 4)) & 15;
  const int fifth = (high[j / 8] >> (j % 8)) & 1;
  return low | (fifth << 4);
}

}  // namespace detail

/// 32 weights, 5 bits each: y = d * (q - 16).
struct Q5_0Block {
  static constexpr std::string_view name = "Q5_0";
  static constexpr int elements = 32;
  Half d;                ///< scale
  std::uint8_t high[4];  ///< the fifth bit of element j is bit j of these 32
  std::uint8_t q[16];    ///< the lower four bits, nibbles as in Q4_0

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    for (int j = 0; j < 32; ++j) {
      y[j] = static_cast<float>(detail::five_bits(q, high, j) - 16) * scale;
    }
  }
};
static_assert(sizeof(Q5_0Block) == 22);

/// 32 weights, 5 bits each, with an offset: y = d * q + m.
struct Q5_1Block {
  static constexpr std::string_view name = "Q5_1";
  static constexpr int elements = 32;
  Half d;                ///< scale
  Half m;                ///< offset
  std::uint8_t high[4];  ///< fifth bits as in Q5_0
  std::uint8_t q[16];    ///< the lower four bits, nibbles as in Q4_0

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    const float offset = m;
    for (int j = 0; j < 32; ++j) {
      y[j] = static_cast<float>(detail::five_bits(q, high, j)) * scale + offset;
    }
  }
};
static_assert(sizeof(Q5_1Block) == 24);

/// 32 weights, 8 bits each: y = d * q.
struct Q8_0Block {
  static constexpr std::string_view name = "Q8_0";
  static constexpr int elements = 32;
  Half d;             ///< scale
  std::int8_t q[32];  ///< one element a byte

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(q[j]) * scale;
  }
};
static_assert(sizeof(Q8_0Block) == 34);

/// 256 weights in sixteen groups of 16, 2 bits each: y = d * scale * q - dmin * minimum.
struct Q2_KBlock {
  static constexpr std::string_view name = "Q2_K";
  static constexpr int elements = 256;
  std::uint8_t scales[16];  ///< of the groups: scale in the low nibble, minimum in the high one
  std::uint8_t q[64];       ///< four elements a byte; 32 bytes hold eight groups, two to each pair of bits
  Half d;                   ///< of the scales
  Half dmin;                ///< of the minima

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int group = 0; group < 16; ++group) {
      const float step = static_cast<float>(d) * static_cast<float>(scales[group] & 15);
      const float offset = static_cast<float>(dmin) * static_cast<float>(scales[group] >> 4);
      const std::uint8_t* bytes = q + group / 8 * 32 + group % 2 * 16;
      const int shift = group % 8 / 2 * 2;
      for (int j = 0; j < 16; ++j) y[group * 16 + j] = step * static_cast<float>((bytes[j] >> shift) & 3) - offset;
    }
  }
};
static_assert(sizeof(Q2_KBlock) == 84);

/// 256 weights in sixteen groups of 16, 3 bits each: y = d * (scale - 32) * (q - 4).
struct Q3_KBlock {
  static constexpr std::string_view name = "Q3_K";
  static constexpr int elements = 256;
  std::uint8_t high[32];    ///< third bits: bit i of high[j] belongs to element j of the i-th 32
  std::uint8_t q[64];       ///< the lower two bits, as in Q2_K
  std::uint8_t scales[12];  ///< of unpack_scale
  Half d;                   ///< of the scales

  /// The 6-bit scale of `group`, 0 to 15: four bits in the first eight bytes, two in the last four.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE int unpack_scale(int group) const noexcept {
    return ((scales[group % 8] >> (group / 8 * 4)) & 15) | (((scales[8 + group % 4] >> (group / 4 * 2)) & 3) << 4);
  }

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int group = 0; group < 16; ++group) {
      const float step = static_cast<float>(d) * static_cast<float>(unpack_scale(group) - 32);
      const std::uint8_t* bytes = q + group / 8 * 32 + group % 2 * 16;
      const std::uint8_t* bits = high + group % 2 * 16;
      const int shift = group % 8 / 2 * 2;
      for (int j = 0; j < 16; ++j) {
        const int value = ((bytes[j] >> shift) & 3) | (((bits[j] >> (group / 2)) & 1) << 2);
        y[group * 16 + j] = step * static_cast<float>(value - 4);
      }
    }
  }
};
static_assert(sizeof(Q3_KBlock) == 110);

/// The 6-bit scale and minimum of one of the eight 32-element groups of a Q4_K or Q5_K block.
struct GroupScale {
  std::uint8_t scale;    ///< 0 to 63, of d
  std::uint8_t minimum;  ///< 0 to 63, of dmin

  /// Those of `group`, 0 to 7, from the twelve bytes that hold all eight (formats/README.md 3).
  static ACTIVATION_TRACE_HOST_DEVICE GroupScale unpack(const std::uint8_t (&packed)[12], int group) noexcept {
    if (group < 4)
      return {static_cast<std::uint8_t>(packed[group] & 63), static_cast<std::uint8_t>(packed[group + 4] & 63)};
    return {static_cast<std::uint8_t>((packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4)),
            static_cast<std::uint8_t>((packed[group + 4] >> 4) | ((packed[group] >> 6) << 4))};
  }
};

/// 256 weights in eight groups of 32, 4 bits each: y = d * scale * q - dmin * minimum.
struct Q4_KBlock {
  static constexpr std::string_view name = "Q4_K";
  static constexpr int elements = 256;
  Half d;                   ///< of the scales
  Half dmin;                ///< of the minima
  std::uint8_t scales[12];  ///< of GroupScale::unpack
  std::uint8_t q[128];      ///< two elements a byte; 32 bytes hold two groups, low nibbles and high ones

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int group = 0; group < 8; ++group) {
      const auto [scale, minimum] = GroupScale::unpack(scales, group);
      const float step = static_cast<float>(d) * static_cast<float>(scale);
      const float offset = static_cast<float>(dmin) * static_cast<float>(minimum);
      const std::uint8_t* bytes = q + (group / 2) * 32;  // two groups share 32 bytes: low, then high nibbles
      const int shift = (group % 2) * 4;
      for (int j = 0; j < 32; ++j) y[group * 32 + j] = step * static_cast<float>((bytes[j] >> shift) & 15) - offset;
    }
  }
};
static_assert(sizeof(Q4_KBlock) == 144);

/// As Q4_K with a fifth bit: bit `group` of high[j] belongs to element j of that group.
struct Q5_KBlock {
  static constexpr std::string_view name = "Q5_K";
  static constexpr int elements = 256;
  Half d;                   ///< of the scales
  Half dmin;                ///< of the minima
  std::uint8_t scales[12];  ///< of GroupScale::unpack
  std::uint8_t high[32];    ///< each element's fifth bit
  std::uint8_t q[128];      ///< the lower four bits, as in Q4_K

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int group = 0; group < 8; ++group) {
      const auto [scale, minimum] = GroupScale::unpack(scales, group);
      const float step = static_cast<float>(d) * static_cast<float>(scale);
      const float offset = static_cast<float>(dmin) * static_cast<float>(minimum);
      const std::uint8_t* bytes = q + (group / 2) * 32;
      const int shift = (group % 2) * 4;
      for (int j = 0; j < 32; ++j) {
        const int value = ((bytes[j] >> shift) & 15) | (((high[j] >> group) & 1) << 4);
        y[group * 32 + j] = step * static_cast<float>(value) - offset;
      }
    }
  }
};
static_assert(sizeof(Q5_KBlock) == 176);

/// 256 weights in sixteen groups of 16, 6 bits each: y = d * scale * (q - 32).
struct Q6_KBlock {
  static constexpr std::string_view name = "Q6_K";
  static constexpr int elements = 256;
  std::uint8_t low[128];   ///< the lower four bits, two elements a byte
  std::uint8_t high[64];   ///< the upper two bits, four elements a byte
  std::int8_t scales[16];  ///< of the groups
  Half d;                  ///< of the scales

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int half = 0; half < 2; ++half) {
      for (int quarter = 0; quarter < 4; ++quarter) {  // 32 elements each; bits 2q, 2q+1 of `high` are theirs
        const std::uint8_t* bytes = low + half * 64 + (quarter % 2) * 32;
        const int shift = (quarter / 2) * 4;
        for (int j = 0; j < 32; ++j) {
          const int value = (((bytes[j] >> shift) & 15) | (((high[half * 32 + j] >> (2 * quarter)) & 3) << 4)) - 32;
          const int scale = scales[half * 8 + quarter * 2 + j / 16];
          y[half * 128 + quarter * 32 + j] =
              static_cast<float>(d) * static_cast<float>(scale) * static_cast<float>(value);
        }
      }
    }
  }
};
static_assert(sizeof(Q6_KBlock) == 210);

/// 32 weights, 4 bits each, that name one of sixteen values: y = d * values[q].
struct IQ4_NLBlock {
  static constexpr std::string_view name = "IQ4_NL";
  static constexpr int elements = 32;
  /// Whole numbers, denser around 0, that fit into eight bits.
  static constexpr float values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  Half d;              ///< scale
  std::uint8_t q[16];  ///< two elements a byte, nibbles as in Q4_0

  /// Writes y[32].
  void decode(float* y) const noexcept {
    const float scale = d;
    for (int j = 0; j < 16; ++j) {
      y[j] = scale * values[q[j] & 15];
      y[j + 16] = scale * values[q[j] >> 4];
    }
  }
};
static_assert(sizeof(IQ4_NLBlock) == 18);

/// 256 weights in eight groups of 32, 4 bits each: y = d * (scale - 32) * IQ4_NLBlock::values[q].
struct IQ4_XSBlock {
  static constexpr std::string_view name = "IQ4_XS";
  static constexpr int elements = 256;
  Half d;                      ///< of the scales
  std::uint16_t scales_high;   ///< the upper two bits of each group's scale
  std::uint8_t scales_low[4];  ///< the lower four, two groups a byte
  std::uint8_t q[128];         ///< 16 bytes a group, nibbles as in Q4_0

  /// The 6-bit scale of `group`, 0 to 7.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE int unpack_scale(int group) const noexcept {
    return ((scales_low[group / 2] >> (group % 2 * 4)) & 15) | (((scales_high >> (2 * group)) & 3) << 4);
  }

  /// Writes y[256].
  void decode(float* y) const noexcept {
    for (int group = 0; group < 8; ++group) {
      const float step = static_cast<float>(d) * static_cast<float>(unpack_scale(group) - 32);
      const std::uint8_t* bytes = q + group * 16;
      for (int j = 0; j < 16; ++j) {
        y[group * 32 + j] = step * IQ4_NLBlock::values[bytes[j] & 15];
        y[group * 32 + 16 + j] = step * IQ4_NLBlock::values[bytes[j] >> 4];
      }
    }
  }
};
static_assert(sizeof(IQ4_XSBlock) == 136);

}  // namespace v0
}  // namespace activation_trace

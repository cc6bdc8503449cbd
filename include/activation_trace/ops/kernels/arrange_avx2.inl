// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// How a row of x lies in memory for the products of dot_avx2.inl.
//
// Two- to six-bit quanta are not unpacked into a lane each (widen, convert, multiply: 4 to 5 instructions for 8
// weights). 32-bit lanes are masked where the quantum lies and converted as they are, quantum * 2^k, and x has been
// multiplied by 2^-k and brought into the matching order beforehand (3 instructions). Powers of two change no digit.
// Scale and offset of a block are applied to the block's sum: sum (d q + m) x = d sum q x + m sum x.

/// The sum of 16 neighbours.
inline float sum16(const float* x) { return sum(load(x) + load(x + 8)); }

/// out[b][i] = x[4 i + b] * factors[b] for b < 4, i < 4: bytes of a lane become vectors of their own.
inline void arrange16(const float* x, const float (&factors)[4], float* out, Index out_stride) {
  __m128 rows[4] = {_mm_loadu_ps(x), _mm_loadu_ps(x + 4), _mm_loadu_ps(x + 8), _mm_loadu_ps(x + 12)};
  _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
  for (Index b = 0; b < 4; ++b) _mm_storeu_ps(out + b * out_stride, _mm_mul_ps(rows[b], _mm_set1_ps(factors[b])));
}

// The orders, which the dots of dot_avx2.inl derive from: size is the number of floats that arrange writes for `cols`
// of x, the values first, then what offsets are multiplied by.

/// As it is: nothing is written.
struct AsItIs {
  static Index size(Index) { return 0; }
  static void arrange(const float*, Index, float*) {}
};

/// What x is multiplied by where a lane's byte b meets its low nibble, and its high one.
struct PairFactors {
  float low[4];
  float high[4];
};
/// Nibbles where they lie; the last is shifted down, not masked.
inline constexpr PairFactors nibble_factors{{1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f}, {0x1p-4f, 0x1p-12f, 0x1p-20f, 1.0f}};
/// Nibbles that have become bytes of less than eight bits: two registers of them.
inline constexpr PairFactors byte_factors{{1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f}, {1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f}};
/// The same of eight bits: the last is shifted down.
inline constexpr PairFactors whole_byte_factors{{1.0f, 0x1p-8f, 0x1p-16f, 1.0f}, {1.0f, 0x1p-8f, 0x1p-16f, 1.0f}};

/// The first 64 x of every pair of blocks of 32: low and high quanta by turns, four of each.
inline void arrange_pairs(const float* x, Index cols, const PairFactors& factors, float* out) {
  for (Index block = 0; block < cols / 32; ++block, x += 32) {
    float* to = out + block / 2 * 64 + block % 2 * 4;
    arrange16(x, factors.low, to, 16);
    arrange16(x + 16, factors.high, to + 8, 16);
  }
}

/// Per pair of blocks of 32 nibbles 64 x, later 4 sums; an odd last pair is filled up with zeros. has_offset:
/// multiplied with (d, m), otherwise with (d, 0), of a type whose quanta are more by `zero` than what they stand for.
template <const PairFactors& factors, bool has_offset, int zero>
struct Pairs {
  static Index size(Index cols) { return (cols + 63) / 64 * 68; }

  static void arrange(const float* x, Index cols, float* out) {
    const Index pairs = (cols + 63) / 64;
    float* sums = out + pairs * 64;
    std::fill(cols % 64 == 0 ? sums : out + (pairs - 1) * 64, sums + pairs * 4, 0.0f);
    arrange_pairs(x, cols, factors, out);
    for (Index block = 0; block < cols / 32; ++block, x += 32) {
      const float total = sum16(x) + sum16(x + 16);
      sums[block * 2 + (has_offset ? 1 : 0)] = has_offset ? total : static_cast<float>(-zero) * total;
    }
  }
};

/// For an even number of blocks under scales of their own: per pair 64 x, later 1 sum for each block.
template <const PairFactors& factors>
struct PairedGroups {
  static Index size(Index cols) { return cols + cols / 32; }

  static void arrange(const float* x, Index cols, float* out) {
    arrange_pairs(x, cols, factors, out);
    float* sums = out + cols;
    for (Index block = 0; block < cols / 32; ++block, x += 32) sums[block] = sum16(x) + sum16(x + 16);
  }
};

/// Per 32 elements 32 x, later 1 sum, or 2 sums of 16.
template <Index sums_of_32>
struct ByteGroups {
  static Index size(Index cols) { return cols + cols / 32 * sums_of_32; }

  static void arrange(const float* x, Index cols, float* out) {
    constexpr float factors[4] = {1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f};
    float* sums = out + cols;
    for (Index group = 0; group < cols / 32; ++group, x += 32, out += 32) {
      arrange16(x, factors, out, 8);
      arrange16(x + 16, factors, out + 4, 8);
      const float first = sum16(x);
      const float second = sum16(x + 16);
      if constexpr (sums_of_32 == 1) {
        *sums++ = first + second;
      } else {
        *sums++ = first;
        *sums++ = second;
      }
    }
  }
};

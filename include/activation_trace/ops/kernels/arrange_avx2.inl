// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// How a row of x lies in memory for the products of dot_avx2.inl.
//
// Four- to six-bit quanta are not unpacked into a lane each (widen, convert, multiply: 4 to 5 instructions for 8
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

/// Per pair of blocks of 32 nibbles 64 x, later 4 sums; an odd last pair is filled up with zeros. has_offset:
/// multiplied with (d, m) of q4_1, otherwise with (d, 0) of q4_0, whose quanta are 0..15 for -8..7.
template <bool has_offset>
struct NibblePairs {
  static Index size(Index cols) { return (cols + 63) / 64 * 68; }

  static void arrange(const float* x, Index cols, float* out) {
    constexpr float low[4] = {1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f};
    constexpr float high[4] = {0x1p-4f, 0x1p-12f, 0x1p-20f, 1.0f};  // the last is shifted down, not masked
    const Index pairs = (cols + 63) / 64;
    float* sums = out + pairs * 64;
    std::fill(cols % 64 == 0 ? sums : out + (pairs - 1) * 64, sums + pairs * 4, 0.0f);
    for (Index block = 0; block < cols / 32; ++block, x += 32) {
      float* to = out + block / 2 * 64 + block % 2 * 4;
      arrange16(x, low, to, 16);
      arrange16(x + 16, high, to + 8, 16);
      const float total = sum16(x) + sum16(x + 16);
      sums[block * 2 + (has_offset ? 1 : 0)] = has_offset ? total : -8.0f * total;
    }
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

// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Products of BF16 weights with activations that were rounded to BF16, by AVX-512's dot product of pairs: the second of
// a pair is multiplied and added first, both as by a fused multiply-add, and what is denormal counts as 0. The bits of
// an element of y are those of this order, whatever rows are beside it. A panel is `lanes` rows of w, a pair of each in
// a word.

/// As pack_integers, and read ahead as there.
inline void pack_bf16(const std::byte* w, Index stride, Index begin, Index count, float* panel) {
  constexpr Index bytes = 2 * lanes;  // of all rows, for each element
  const std::byte* ahead = w + lanes * stride + begin * bytes;
  for (Index i = 0; i < count; i += 8, ahead += 8 * bytes, panel += 4 * lanes) {
    for (Index line = 0; line < 8 * bytes; line += 64) __builtin_prefetch(ahead + line);
    I pairs[4];
    load_columns(w + 2 * (begin + i), stride, pairs);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) store_words(reinterpret_cast<std::byte*>(panel + j * lanes), pairs[j]);
  }
}

/// out[i] += a panel of `blocks` times row i < n of x, of which rows are x_stride blocks apart.
template <Index n>
inline void multiply_bf16_tile(const float* panel, Index blocks, const RoundedBlock* x, Index x_stride, float* out) {
  F sums[n];
#pragma GCC unroll 8
  for (Index i = 0; i < n; ++i) sums[i] = load(out + i * lanes);
  for (Index b = 0; b < blocks; ++b, ++x) {
#pragma GCC unroll 16
    for (int pair = 0; pair < 16; ++pair, panel += lanes) {
      const auto w = reinterpret_cast<__m512bh>(load_words(reinterpret_cast<const std::byte*>(panel)));
#pragma GCC unroll 8
      for (Index i = 0; i < n; ++i) {
        std::int32_t both;
        std::memcpy(&both, x[i * x_stride].bf16 + 2 * pair, sizeof(both));
        sums[i] = _mm512_dpbf16_ps(sums[i], w, reinterpret_cast<__m512bh>(set(both)));
      }
    }
  }
#pragma GCC unroll 8
  for (Index i = 0; i < n; ++i) store(out + i * lanes, sums[i]);
}

/// The same of any n rows.
template <Index tile = integer_rows>
inline void multiply_bf16(const float* panel, Index blocks, const RoundedBlock* x, Index x_stride, Index n,
                          float* out) {
  for (; n >= tile; n -= tile, x += tile * x_stride, out += tile * lanes)
    multiply_bf16_tile<tile>(panel, blocks, x, x_stride, out);
  if constexpr (tile > 1) multiply_bf16<tile / 2>(panel, blocks, x, x_stride, n, out);
}

/// d activations, a multiple of 32, to the nearest BF16, of two the even one.
inline void round_to_bf16(const float* x, Index d, RoundedBlock* out) {
  for (Index i = 0; i < d; i += 32, x += 32, ++out)
    store_words(reinterpret_cast<std::byte*>(out->bf16),
                reinterpret_cast<I>(_mm512_cvtne2ps_pbh(load(x + lanes), load(x))));
}

inline constexpr FastKernels bf16_kernels{.lanes = lanes,
                                          .panel_floats = fast_depth / 2 * lanes,
                                          .round = round_to_bf16,
                                          .pack = pack_bf16,
                                          .multiply = multiply_bf16<>};

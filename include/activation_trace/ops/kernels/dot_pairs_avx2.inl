// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Dots of the types whose blocks are 32 elements: d, perhaps m, perhaps fifth bits, and 16 bytes of two nibbles. Two
// blocks are a register, one in each half.

/// Whether a block has an offset of its own.
template <class T>
constexpr bool has_offset = requires(T block) {
  block.m;
};

/// The quanta of two blocks: quantum(i) is the i-th vector, i < 8, in the order of arrange_pairs, each quantum as it
/// lies in its lane, times a power of two that the factors take back.
template <class T>
struct PairQuanta {  // nibbles where they lie
  __m256i v;

  [[gnu::always_inline]] static PairQuanta load(const std::byte* first, const std::byte* second) {
    return {load_bytes(first + offsetof(T, q), second + offsetof(T, q))};
  }
  /// The last is shifted down, its sign bit is in use.
  [[gnu::always_inline]] F quantum(int i) const {
    return i < 7 ? masked(v, 0xf << (4 * i)) : to_float(_mm256_srli_epi32(v, 28));
  }
};

/// The low and the high nibbles of v, as bytes.
[[gnu::always_inline]] inline __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
[[gnu::always_inline]] inline __m256i high_nibbles(__m256i v) { return low_nibbles(_mm256_srli_epi32(v, 4)); }

/// Nibbles with fifth bits: bytes, of which the upper three bits are any.
template <class T>
struct FiveBitQuanta {
  __m256i low;
  __m256i high;

  [[gnu::always_inline]] static FiveBitQuanta load(const std::byte* first, const std::byte* second) {
    const __m256i v = load_bytes(first + offsetof(T, q), second + offsetof(T, q));
    const __m256i bits =
        _mm256_blend_epi32(broadcast(first + offsetof(T, high)), broadcast(second + offsetof(T, high)), 0xf0);
    return {_mm256_or_si256(low_nibbles(v), fifth_bits(bits, 0)),
            _mm256_or_si256(high_nibbles(v), fifth_bits(bits, 2))};
  }
  [[gnu::always_inline]] F quantum(int i) const { return masked(i % 2 == 0 ? low : high, 31 << (8 * (i / 2))); }

 private:
  [[gnu::always_inline]] static __m256i broadcast(const std::byte* p) {
    std::int32_t bits;
    std::memcpy(&bits, p, 4);
    return _mm256_set1_epi32(bits);
  }

  /// 16, or -16, which is the same in the lower five bits, in the bytes whose bit is set: those of bytes `byte` and
  /// byte + 1 of every lane.
  [[gnu::always_inline]] static __m256i fifth_bits(__m256i bits, char byte) {
    const char next = static_cast<char>(byte + 1);
    const __m256i spread =
        _mm256_shuffle_epi8(bits, _mm256_setr_epi8(byte, byte, byte, byte, byte, byte, byte, byte, next, next, next,
                                                   next, next, next, next, next, byte, byte, byte, byte, byte, byte,
                                                   byte, byte, next, next, next, next, next, next, next, next));
    const __m256i own = _mm256_and_si256(spread, _mm256_set1_epi64x(static_cast<std::int64_t>(0x8040201008040201u)));
    return _mm256_sign_epi8(_mm256_set1_epi8(16), own);
  }
};
template <>
struct PairQuanta<Q5_0Block> : FiveBitQuanta<Q5_0Block> {};
template <>
struct PairQuanta<Q5_1Block> : FiveBitQuanta<Q5_1Block> {};

/// IQ4_NL's values are -127 to 113: as bytes they are that and 128.
constexpr int named_value_zero = 128;
struct NamedValueBytes {
  alignas(16) std::uint8_t bytes[16]{};
  constexpr NamedValueBytes() {
    for (int i = 0; i < 16; ++i)
      bytes[i] = static_cast<std::uint8_t>(static_cast<int>(IQ4_NLBlock::values[i]) + named_value_zero);
  }
};
inline constexpr NamedValueBytes named_value_bytes;

/// Nibbles that name values: bytes.
struct NamedQuanta {
  __m256i low;
  __m256i high;

  [[gnu::always_inline]] static NamedQuanta of(__m256i v) {
    const __m256i table = load_bytes(named_value_bytes.bytes, named_value_bytes.bytes);
    return {_mm256_shuffle_epi8(table, low_nibbles(v)), _mm256_shuffle_epi8(table, high_nibbles(v))};
  }
  [[gnu::always_inline]] F quantum(int i) const {
    const __m256i v = i % 2 == 0 ? low : high;
    return i < 6 ? masked(v, 255 << (8 * (i / 2))) : to_float(_mm256_srli_epi32(v, 24));
  }
};
template <>
struct PairQuanta<IQ4_NLBlock> {
  [[gnu::always_inline]] static NamedQuanta load(const std::byte* first, const std::byte* second) {
    return NamedQuanta::of(load_bytes(first + offsetof(IQ4_NLBlock, q), second + offsetof(IQ4_NLBlock, q)));
  }
};

/// One row of x alone unpacks quanta where it multiplies: all at once, GCC runs out of registers and is 6 % slower.
template <Index n, class Quanta>
[[gnu::always_inline]] inline F weight(const Quanta& quanta, const F (&unpacked)[8], int i) {
  return n == 1 ? quanta.quantum(i) : unpacked[i];
}

/// Eight partial sums of 64 products.
template <Index n, class Quanta>
[[gnu::always_inline]] inline F dot64(const Quanta& quanta, const F (&unpacked)[8], const float* x) {
  F even = weight<n>(quanta, unpacked, 0) * load(x);
  F odd = weight<n>(quanta, unpacked, 1) * load(x + 8);
  even = multiply_add(weight<n>(quanta, unpacked, 2), load(x + 16), even);
  odd = multiply_add(weight<n>(quanta, unpacked, 3), load(x + 24), odd);
  even = multiply_add(weight<n>(quanta, unpacked, 4), load(x + 32), even);
  odd = multiply_add(weight<n>(quanta, unpacked, 5), load(x + 40), odd);
  even = multiply_add(weight<n>(quanta, unpacked, 6), load(x + 48), even);
  odd = multiply_add(weight<n>(quanta, unpacked, 7), load(x + 56), odd);
  return even + odd;
}

/// Lanes of the first block's scale, then of the second's.
[[gnu::always_inline]] inline F lanes_of_pair(F v, int first, int second) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(first, first, first, first, second, second, second, second));
}

/// Adds the products of two blocks, one in each half, and those of their offsets. `x` is the arranged values' first,
/// `sums` the distance from there to the offsets' factors.
template <class T, Index n>
[[gnu::always_inline]] inline void add_pair(const std::byte* first, const std::byte* second, const float* x, Index sums,
                                            Index stride, F (&totals)[n], __m128 (&offsets)[n]) {
  using Header = std::conditional_t<has_offset<T>, std::uint32_t, std::uint16_t>;  // (d, m) or d
  Header h0;
  Header h1;
  std::memcpy(&h0, first, sizeof(h0));
  std::memcpy(&h1, second, sizeof(h1));
  const auto both = static_cast<std::int64_t>(static_cast<std::uint64_t>(h1) << 32 | h0);
  const __m128 header = _mm_cvtph_ps(_mm_cvtsi64_si128(both));  // d0, m0, d1, m1
  const F scale = lanes_of_pair(_mm256_castps128_ps256(header), 0, 2);
  const auto quanta = PairQuanta<T>::load(first, second);
  F unpacked[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) unpacked[i] = quanta.quantum(i);
#pragma GCC unroll 8
  for (Index r = 0; r < n; ++r, x += stride) {
    totals[r] = multiply_add(dot64<n>(quanta, unpacked, x), scale, totals[r]);
    offsets[r] = _mm_fmadd_ps(header, _mm_loadu_ps(x + sums), offsets[r]);
  }
}

template <class T, const PairFactors& factors, int zero>
struct PairDot : Pairs<factors, has_offset<T>, zero> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    constexpr Index size = static_cast<Index>(sizeof(T));
    const Index pairs = (cols + 63) / 64;
    __m128 offsets[n];
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r) offsets[r] = _mm_setzero_ps();
    for (Index p = 0; p < cols / 64; ++p)
      add_pair<T, n>(w + p * 2 * size, w + (p * 2 + 1) * size, x + p * 64, pairs * 64 - p * 60, stride, totals,
                     offsets);
    if (cols % 64 != 0) {
      constexpr T nothing{};
      const Index p = pairs - 1;
      add_pair<T, n>(w + p * 2 * size, reinterpret_cast<const std::byte*>(&nothing), x + p * 64, pairs * 64 - p * 60,
                     stride, totals, offsets);
    }
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r) totals[r] = totals[r] + _mm256_insertf128_ps(_mm256_setzero_ps(), offsets[r], 0);
  }
};
template <>
struct Dot<Q4_0Block> : PairDot<Q4_0Block, nibble_factors, 8> {};
template <>
struct Dot<Q4_1Block> : PairDot<Q4_1Block, nibble_factors, 0> {};
template <>
struct Dot<Q5_0Block> : PairDot<Q5_0Block, byte_factors, 16> {};
template <>
struct Dot<Q5_1Block> : PairDot<Q5_1Block, byte_factors, 0> {};
template <>
struct Dot<IQ4_NLBlock> : PairDot<IQ4_NLBlock, whole_byte_factors, named_value_zero> {};

template <>
struct Dot<IQ4_XSBlock> : PairedGroups<whole_byte_factors> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    for (Index i = 0; i < cols; i += 256, w += sizeof(IQ4_XSBlock), sums += 8) {
      float steps[8];
      unpack_iq4_steps(w, steps);
      const F scales = load(steps);
      const F offsets = scales * set(static_cast<float>(-named_value_zero));
#pragma GCC unroll 8
      for (Index r = 0; r < n; ++r) totals[r] = multiply_add(offsets, load(sums + r * stride), totals[r]);
#pragma GCC unroll 4
      for (int pair = 0; pair < 4; ++pair) {
        const NamedQuanta quanta = NamedQuanta::of(load_bytes(w + offsetof(IQ4_XSBlock, q) + pair * 32));
        const F scale = lanes_of_pair(scales, 2 * pair, 2 * pair + 1);
        F unpacked[8];
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) unpacked[j] = quanta.quantum(j);
#pragma GCC unroll 8
        for (Index r = 0; r < n; ++r)
          totals[r] = multiply_add(dot64<n>(quanta, unpacked, x + i + pair * 64 + r * stride), scale, totals[r]);
      }
    }
  }
};

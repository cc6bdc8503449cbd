// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Stored weights to floats in their natural order, bit for bit what StoredMatrix::decode_row gives: products of
// a scale and a quantum are exact, so that fused and separate rounding agree.

// A block is read from where it lies, `at`, whose alignment files do not promise. Scales are floats in memory before
// they are used: to read one into every lane takes no instruction on vectors. Blocks of 32 get the halves at their
// beginning so, as `header`; those of 256 make arrays of theirs. What is written to memory on the way is not read in
// larger pieces: the processor forwards those slowly.

/// A byte array of the block at `at`.
[[gnu::always_inline]] inline const std::uint8_t* quanta(const std::byte* at, std::size_t offset) {
  return reinterpret_cast<const std::uint8_t*>(at + offset);
}

/// The half at that offset, in every lane.
[[gnu::always_inline]] inline F half(const std::byte* at, std::size_t offset) {
  Half h;
  std::memcpy(&h, at + offset, sizeof(h));
  return set(widen(h));
}

/// Words of bytes, which are shifted and masked together.
using FourWords = std::uint32_t __attribute__((vector_size(16)));
using Words = std::uint32_t __attribute__((vector_size(32)));

/// 32 elements: low nibbles of 16 bytes, then high ones.
[[gnu::always_inline]] inline void decode_nibbles(const std::uint8_t* bytes, const Nibbles& values, float* y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    store(y + j, values.low(both));
    store(y + 16 + j, values.high(both));
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q4_0Block>, const float* header, const std::byte* at,
                                                float* y) {
  decode_nibbles(quanta(at, offsetof(Q4_0Block, q)), Nibbles::centred(set(header[0]), 8), y);
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q4_1Block>, const float* header, const std::byte* at,
                                                float* y) {
  decode_nibbles(quanta(at, offsetof(Q4_1Block, q)), Nibbles(set(header[0]), set(header[1])), y);
}

/// 32 elements whose lower bits are nibbles, with those of `value` where the element's bit of `bits` is set.
[[gnu::always_inline]] inline void decode_five_bits(const std::uint8_t* bytes, std::uint32_t bits, std::int32_t value,
                                                    F scale, F offset, float* y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    const I low = or_where(bits_and(both, set(15)), bits >> j, value);
    const I high = or_where(shift_right(both, 4), bits >> (j + 16), value);
    store(y + j, multiply_add(to_float(low), scale, offset));
    store(y + 16 + j, multiply_add(to_float(high), scale, offset));
  }
}

/// The 32 fifth bits at that offset.
[[gnu::always_inline]] inline std::uint32_t fifth_bits(const std::byte* at, std::size_t offset) {
  std::uint32_t bits;
  std::memcpy(&bits, at + offset, 4);
  return bits;
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q5_0Block>, const float* header, const std::byte* at,
                                                float* y) {
  // Without its fifth bit a quantum is negative: nibble - 16 is nibble | -16.
  decode_five_bits(quanta(at, offsetof(Q5_0Block, q)), ~fifth_bits(at, offsetof(Q5_0Block, high)), -16, set(header[0]),
                   set(0.0f), y);
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q5_1Block>, const float* header, const std::byte* at,
                                                float* y) {
  decode_five_bits(quanta(at, offsetof(Q5_1Block, q)), fifth_bits(at, offsetof(Q5_1Block, high)), 16, set(header[0]),
                   set(header[1]), y);
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q8_0Block>, const float* header, const std::byte* at,
                                                float* y) {
  const F scale = set(header[0]);
  for (Index j = 0; j < 32; j += lanes)
    store(y + j, to_float(load_i8(reinterpret_cast<const std::int8_t*>(at + offsetof(Q8_0Block, q)) + j)) * scale);
}

/// 256 quanta in groups of `group` that have a step and an offset each.
template <Index group>
[[gnu::always_inline]] inline void decode_groups(const std::uint8_t* q, const float* steps, const float* offsets,
                                                 float* y) {
#pragma GCC unroll 1  // all at once, GCC would take steps from registers, by shuffles
  for (Index i = 0; i < 256; i += 32, q += 32, y += 32, steps += 32 / group, offsets += 32 / group) {
    for (Index g = 0; g < 32 / group; ++g) {
      const F step = set(steps[g]);
      const F offset = set(offsets[g]);
      for (Index j = g * group; j < (g + 1) * group; j += lanes)
        store(y + j, multiply_add(to_float(load_u8(q + j)), step, offset));
    }
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q2_KBlock>, const std::byte* at, float* y) {
  const F d = half(at, offsetof(Q2_KBlock, d));
  const F dmin = set(0.0f) - half(at, offsetof(Q2_KBlock, dmin));
  float steps[16];
  float offsets[16];
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(quanta(at, offsetof(Q2_KBlock, scales)) + j);
    store(steps + j, to_float(bits_and(both, set(15))) * d);
    store(offsets + j, to_float(shift_right(both, 4)) * dmin);
  }
  std::uint8_t q[256];
#pragma GCC unroll 8
  for (int part = 0; part < 8; ++part) {
    Words v;
    std::memcpy(&v, quanta(at, offsetof(Q2_KBlock, q)) + part / 4 * 32, sizeof(v));
    v = (v >> (part % 4 * 2)) & 0x03030303u;
    std::memcpy(q + part * 32, &v, sizeof(v));
  }
  decode_groups<16>(q, steps, offsets, y);
}

/// The 6-bit scales of the sixteen groups of the Q3_K block at `at`: Q3_KBlock::unpack_scale, four a word.
[[gnu::always_inline]] inline void unpack_q3_scales(const std::byte* at, std::uint8_t (&scales)[16]) {
  std::uint32_t words[3];
  std::memcpy(words, at + offsetof(Q3_KBlock, scales), sizeof(words));
  const FourWords low = FourWords{words[0], words[1], words[0], words[1]} >> FourWords{0, 0, 4, 4};
  const FourWords high = FourWords{words[2] << 4, words[2] << 2, words[2], words[2] >> 2};
  const FourWords packed = (low & 0x0f0f0f0fu) | (high & 0x30303030u);
  std::memcpy(scales, &packed, sizeof(packed));
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q3_KBlock>, const std::byte* at, float* y) {
  std::uint8_t scales[16];
  unpack_q3_scales(at, scales);
  const F d = half(at, offsetof(Q3_KBlock, d));
  float steps[16];
  float offsets[16];
  for (Index j = 0; j < 16; j += lanes) {
    const F step = to_float(subtract(load_u8(scales + j), set(32))) * d;
    store(steps + j, step);
    store(offsets + j, step * set(-4.0f));
  }
  std::uint8_t q[256];
  Words bits;
  std::memcpy(&bits, quanta(at, offsetof(Q3_KBlock, high)), sizeof(bits));
#pragma GCC unroll 8
  for (int part = 0; part < 8; ++part) {  // bit `part` moves to bit 2
    Words v;
    std::memcpy(&v, quanta(at, offsetof(Q3_KBlock, q)) + part / 4 * 32, sizeof(v));
    v = ((v >> (part % 4 * 2)) & 0x03030303u) | ((part < 2 ? bits << (2 - part) : bits >> (part - 2)) & 0x04040404u);
    std::memcpy(q + part * 32, &v, sizeof(v));
  }
  decode_groups<16>(q, steps, offsets, y);
}

/// The eight 6-bit scales and then the minima of a Q4_K or Q5_K block: GroupScale::unpack, four a word.
[[gnu::always_inline]] inline void unpack_scales(const std::byte* packed, std::uint8_t (&scales)[16]) {
  std::uint32_t words[3];
  std::memcpy(words, packed, sizeof(words));
  const FourWords low = FourWords{words[0], words[2], words[1], words[2] >> 4};
  const FourWords high = FourWords{0, words[0], 0, words[1]} >> 2;
  const FourWords unpacked =
      (low & FourWords{0x3f3f3f3fu, 0x0f0f0f0fu, 0x3f3f3f3fu, 0x0f0f0f0fu}) | (high & 0x30303030u);
  std::memcpy(scales, &unpacked, sizeof(unpacked));
}

/// Steps and offsets of the groups of the Q4_K or Q5_K block at `at`: numbers 0 to 7 of `steps`, 8 to 15 of `offsets`.
template <class T>
[[gnu::always_inline]] inline void unpack_steps(const std::byte* at, float (&steps)[16], float (&offsets)[16]) {
  std::uint8_t scales[16];
  unpack_scales(at + offsetof(T, scales), scales);
  const F d = half(at, offsetof(T, d));
  const F dmin = set(0.0f) - half(at, offsetof(T, dmin));
  for (Index j = 0; j < 16; j += lanes) {
    const F scale = to_float(load_u8(scales + j));
    store(steps + j, scale * d);
    store(offsets + j, scale * dmin);
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q4_KBlock>, const std::byte* at, float* y) {
  float steps[16];
  float offsets[16];
  unpack_steps<Q4_KBlock>(at, steps, offsets);
#pragma GCC unroll 1  // as above
  for (int pair = 0; pair < 4; ++pair) {
    const Nibbles first(set(steps[2 * pair]), set(offsets[8 + 2 * pair]));
    const Nibbles second(set(steps[2 * pair + 1]), set(offsets[8 + 2 * pair + 1]));
    for (Index j = 0; j < 32; j += lanes) {
      const I both = load_u8(quanta(at, offsetof(Q4_KBlock, q)) + pair * 32 + j);
      store(y + pair * 64 + j, first.low(both));
      store(y + pair * 64 + 32 + j, second.high(both));
    }
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q5_KBlock>, const std::byte* at, float* y) {
  float steps[16];
  float offsets[16];
  unpack_steps<Q5_KBlock>(at, steps, offsets);
  std::uint8_t q[256];
  Words bits;
  std::memcpy(&bits, quanta(at, offsetof(Q5_KBlock, high)), sizeof(bits));
#pragma GCC unroll 8
  for (int part = 0; part < 8; ++part) {  // bit `part` moves to bit 4
    Words v;
    std::memcpy(&v, quanta(at, offsetof(Q5_KBlock, q)) + part / 2 * 32, sizeof(v));
    v = ((v >> (part % 2 * 4)) & 0x0f0f0f0fu) | ((part < 4 ? bits << (4 - part) : bits >> (part - 4)) & 0x10101010u);
    std::memcpy(q + part * 32, &v, sizeof(v));
  }
  decode_groups<32>(q, steps, offsets + 8, y);
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<Q6_KBlock>, const std::byte* at, float* y) {
  const F d = half(at, offsetof(Q6_KBlock, d));
  float steps[16];
  float offsets[16];
  for (Index j = 0; j < 16; j += lanes) {
    const F step = to_float(load_i8(reinterpret_cast<const std::int8_t*>(at + offsetof(Q6_KBlock, scales)) + j)) * d;
    store(steps + j, step);
    store(offsets + j, step * set(-32.0f));
  }
  std::uint8_t q[256];
#pragma GCC unroll 8
  for (int part = 0; part < 8; ++part) {  // bits `bit` and the next move to bits 4 and 5
    const int bit = part % 4 * 2;
    Words v;
    Words bits;
    std::memcpy(&v, quanta(at, offsetof(Q6_KBlock, low)) + part / 4 * 64 + part % 2 * 32, sizeof(v));
    std::memcpy(&bits, quanta(at, offsetof(Q6_KBlock, high)) + part / 4 * 32, sizeof(bits));
    v = ((v >> (bit / 4 * 4)) & 0x0f0f0f0fu) | ((bit < 4 ? bits << (4 - bit) : bits >> (bit - 4)) & 0x30303030u);
    std::memcpy(q + part * 32, &v, sizeof(v));
  }
  decode_groups<16>(q, steps, offsets, y);
}

/// 32 elements whose nibbles at `bytes` name one of IQ4_NL's values.
[[gnu::always_inline]] inline void decode_named_values(const std::uint8_t* bytes, F scale, float* y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    store(y + j, lookup(IQ4_NLBlock::values, both) * scale);
    store(y + 16 + j, lookup(IQ4_NLBlock::values, shift_right(both, 4)) * scale);
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<IQ4_NLBlock>, const float* header,
                                                const std::byte* at, float* y) {
  decode_named_values(quanta(at, offsetof(IQ4_NLBlock, q)), set(header[0]), y);
}

/// d * (scale - 32) of the eight groups of the IQ4_XS block at `at`: IQ4_XSBlock::unpack_scale.
[[gnu::always_inline]] inline void unpack_iq4_steps(const std::byte* at, float* steps) {
  std::uint16_t high;
  std::int32_t low;
  std::memcpy(&high, at + offsetof(IQ4_XSBlock, scales_high), sizeof(high));
  std::memcpy(&low, at + offsetof(IQ4_XSBlock, scales_low), sizeof(low));
  for (Index j = 0; j < 8; j += lanes) {
    const I group = bits_or(lane_numbers(), set(static_cast<std::int32_t>(j)));
    const I lower = bits_and(shift_right(set(low), shift_left(group, 2)), set(15));
    const I upper = bits_and(shift_right(set(std::int32_t{high}), shift_left(group, 1)), set(3));
    const I scale = subtract(bits_or(lower, shift_left(upper, 4)), set(32));
    store(steps + j, to_float(scale) * half(at, offsetof(IQ4_XSBlock, d)));
  }
}

[[gnu::always_inline]] inline void decode_block(std::type_identity<IQ4_XSBlock>, const std::byte* at, float* y) {
  float steps[16];  // eight are used
  unpack_iq4_steps(at, steps);
#pragma GCC unroll 1  // as above
  for (int group = 0; group < 8; ++group)
    decode_named_values(quanta(at, offsetof(IQ4_XSBlock, q)) + group * 16, set(steps[group]), y + group * 32);
}

/// Elements of vectors of a scalar type.
template <class T>
[[gnu::always_inline]] inline F load_vector(const std::byte* p) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>,
                "this scalar weight type has no kernel: say in decode.inl how a vector of it is loaded");
  if constexpr (std::is_same_v<T, Half>)
    return load_f16(p);
  else if constexpr (std::is_same_v<T, BFloat16>)
    return load_bf16(p);
  else
    return load(reinterpret_cast<const float*>(p));
}

template <class T>
[[gnu::always_inline]] inline float load_scalar(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return static_cast<float>(value);
}

/// `count` elements, whole blocks of them, from the block at `units` on.
template <class T>
inline void decode(const std::byte* units, Index count, float* y) {
  constexpr Index size = static_cast<Index>(sizeof(T));
  if constexpr (!QuantizedBlock<T>) {
    Index i = 0;
    for (; i + lanes <= count; i += lanes) store(y + i, load_vector<T>(units + i * size));
    for (; i < count; ++i) y[i] = load_scalar<T>(units + i * size);
  } else {
    constexpr std::type_identity<T> type;
    constexpr bool has_header = requires { decode_block(type, y, units, y); };
    static_assert(
        has_header || requires { decode_block(type, units, y); },
        "this weight type has no kernel: write its decode_block in decode.inl");
    for (; count > 0; count -= 8 * T::elements) {
      const Index blocks = std::min<Index>(8, count / T::elements);
      float headers[8][header_floats];
      if constexpr (has_header)
        for (Index i = 0; i < blocks; ++i) widen_halves(units + i * size, headers[i]);
      for (Index i = 0; i < blocks; ++i, units += size, y += T::elements)
        if constexpr (has_header)
          decode_block(type, headers[i], units, y);
        else
          decode_block(type, units, y);
    }
  }
}

/// Decode of kernels.hpp: elements [begin, begin + count) of `row`.
template <class T>
inline void decode_row(const std::byte* row, Index begin, Index count, float* y) {
  constexpr Index elements = elements_per_unit<T>;
  static_assert(pack_depth % elements == 0, "rows are decoded pack_depth elements at a time: whole blocks");
  decode<T>(row + begin / elements * static_cast<Index>(sizeof(T)), count, y);
}

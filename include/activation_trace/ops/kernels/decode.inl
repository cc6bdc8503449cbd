// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Stored weights to floats in their natural order, bit for bit what StoredMatrix::decode_row gives: products of
// a scale and a quantum are exact, so that fused and separate rounding agree.

// Quanta go in runs of 256: eight blocks of 32 or one of 256. First their headers become floats in memory: to read one
// into every lane takes no instruction on vectors. Then parts of 32 elements are decoded, one after another, or, for
// the dots of dot_avx512.inl, those of several rows in turns. A type's two functions are
//   unpack_headers(type, at, parts, headers)              of the first `parts` parts of the run at `at`
//   decode_part(type, headers, at, half, quarter, y)      part 4 half + quarter; the compiler knows `quarter`
// Blocks are read from where they lie, whose alignment files do not promise. What is written to memory on the way is
// not read in larger pieces: the processor forwards those slowly.

constexpr Index run_elements = 256;
constexpr Index part_elements = 32;
constexpr Index run_parts = run_elements / part_elements;
/// Room for the headers of a run: what blocks of 32 begin with, or sixteen steps and then as many offsets.
constexpr Index header_size = std::max<Index>(run_parts * header_floats, 32);
constexpr Index offsets_at = 16;

/// Where elements go: to memory, or into vectors, which stay in registers.
[[gnu::always_inline]] inline void put(float* y, F v) { store(y, v); }
struct Vectors {
  F* v;

  [[gnu::always_inline]] Vectors operator+(Index k) const { return {v + k / lanes}; }
};
[[gnu::always_inline]] inline void put(Vectors y, F v) { *y.v = v; }

/// A byte array of the block at `at`.
[[gnu::always_inline]] inline const std::uint8_t* quanta(const std::byte* at, std::size_t offset) {
  return reinterpret_cast<const std::uint8_t*>(at + offset);
}

/// The half at that offset, in every lane.
[[gnu::always_inline]] inline F half_at(const std::byte* at, std::size_t offset) {
  Half h;
  std::memcpy(&h, at + offset, sizeof(h));
  return set(widen(h));
}

/// Words of bytes, which are shifted and masked together.
using FourWords = std::uint32_t __attribute__((vector_size(16)));
using Words = std::uint32_t __attribute__((vector_size(32)));

/// By reference, as all of them: what passes vectors by value warns where these are no registers.
[[gnu::always_inline]] inline void read(const std::byte* at, std::size_t offset, Words& v) {
  std::memcpy(&v, at + offset, sizeof(v));
}

// --- blocks of 32: a half, perhaps two, and quanta ------------------------------------------------------------------

template <class T>
concept ShortBlock = QuantizedBlock<T> && T::elements == part_elements;

template <ShortBlock T>
[[gnu::always_inline]] inline void unpack_headers(std::type_identity<T>, const std::byte* at, Index parts,
                                                  float* headers) {
  for (Index i = 0; i < parts; ++i) widen_halves(at + i * static_cast<Index>(sizeof(T)), headers + i * header_floats);
}

/// Low nibbles of 16 bytes, then high ones.
template <class Out>
[[gnu::always_inline]] inline void decode_nibbles(const std::uint8_t* bytes, const Nibbles& values, Out y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    put(y + j, values.low(both));
    put(y + (16 + j), values.high(both));
  }
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<Q4_0Block>, const float* header, const std::byte* at,
                                                Out y) {
  decode_nibbles(quanta(at, offsetof(Q4_0Block, q)), Nibbles::centred(set(header[0]), 8), y);
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<Q4_1Block>, const float* header, const std::byte* at,
                                                Out y) {
  decode_nibbles(quanta(at, offsetof(Q4_1Block, q)), Nibbles(set(header[0]), set(header[1])), y);
}

/// Lower bits are nibbles; `value` joins where the element's bit of `bits` is set.
template <class Out>
[[gnu::always_inline]] inline void decode_five_bits(const std::uint8_t* bytes, std::uint32_t bits, std::int32_t value,
                                                    F scale, F offset, Out y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    const I low = or_where(bits_and(both, set(15)), bits >> j, value);
    const I high = or_where(shift_right(both, 4), bits >> (j + 16), value);
    put(y + j, multiply_add(to_float(low), scale, offset));
    put(y + (16 + j), multiply_add(to_float(high), scale, offset));
  }
}

/// The 32 fifth bits at that offset.
[[gnu::always_inline]] inline std::uint32_t fifth_bits(const std::byte* at, std::size_t offset) {
  std::uint32_t bits;
  std::memcpy(&bits, at + offset, 4);
  return bits;
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<Q5_0Block>, const float* header, const std::byte* at,
                                                Out y) {
  // Without its fifth bit a quantum is negative: nibble - 16 is nibble | -16.
  decode_five_bits(quanta(at, offsetof(Q5_0Block, q)), ~fifth_bits(at, offsetof(Q5_0Block, high)), -16, set(header[0]),
                   set(0.0f), y);
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<Q5_1Block>, const float* header, const std::byte* at,
                                                Out y) {
  decode_five_bits(quanta(at, offsetof(Q5_1Block, q)), fifth_bits(at, offsetof(Q5_1Block, high)), 16, set(header[0]),
                   set(header[1]), y);
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<Q8_0Block>, const float* header, const std::byte* at,
                                                Out y) {
  const F scale = set(header[0]);
  const auto* q = reinterpret_cast<const std::int8_t*>(at + offsetof(Q8_0Block, q));
  for (Index j = 0; j < 32; j += lanes) put(y + j, to_float(load_i8(q + j)) * scale);
}

/// Nibbles at `bytes` name one of IQ4_NL's values.
template <class Out>
[[gnu::always_inline]] inline void decode_named_values(const std::uint8_t* bytes, F scale, Out y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    put(y + j, lookup(IQ4_NLBlock::values, both) * scale);
    put(y + (16 + j), lookup(IQ4_NLBlock::values, shift_right(both, 4)) * scale);
  }
}

template <class Out>
[[gnu::always_inline]] inline void decode_block(std::type_identity<IQ4_NLBlock>, const float* header,
                                                const std::byte* at, Out y) {
  decode_named_values(quanta(at, offsetof(IQ4_NLBlock, q)), set(header[0]), y);
}

/// One block and its header.
template <ShortBlock T, class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<T> type, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  static_assert(
      requires { decode_block(type, headers, at, y); },
      "this weight type has no kernel: write its decode_block in decode.inl");
  const Index part = 4 * half + quarter;
  decode_block(type, headers + part * header_floats, at + part * static_cast<Index>(sizeof(T)), y);
}

// --- blocks of 256: groups of 16 or 32 with a step and perhaps an offset each ---------------------------------------

/// 32 quanta, as bytes, of groups of `group`, whose first step and offset are those.
template <Index group, class Out>
[[gnu::always_inline]] inline void decode_groups(const Words& bytes, const float* steps, const float* offsets, Out y) {
  std::uint8_t q[part_elements];
  std::memcpy(q, &bytes, sizeof(q));
  for (Index j = 0; j < part_elements; j += lanes)
    put(y + j, multiply_add(to_float(load_u8(q + j)), set(steps[j / group]), set(offsets[j / group])));
}

[[gnu::always_inline]] inline void unpack_headers(std::type_identity<Q2_KBlock>, const std::byte* at, Index,
                                                  float* headers) {
  const F d = half_at(at, offsetof(Q2_KBlock, d));
  const F dmin = set(0.0f) - half_at(at, offsetof(Q2_KBlock, dmin));
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(quanta(at, offsetof(Q2_KBlock, scales)) + j);
    store(headers + j, to_float(bits_and(both, set(15))) * d);
    store(headers + offsets_at + j, to_float(shift_right(both, 4)) * dmin);
  }
}
template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<Q2_KBlock>, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  Words v;
  read(at + half * 32, offsetof(Q2_KBlock, q), v);
  const float* steps = headers + 8 * half + 2 * quarter;
  decode_groups<16>((v >> (2 * quarter)) & 0x03030303u, steps, steps + offsets_at, y);
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

[[gnu::always_inline]] inline void unpack_headers(std::type_identity<Q3_KBlock>, const std::byte* at, Index,
                                                  float* headers) {
  std::uint8_t scales[16];
  unpack_q3_scales(at, scales);
  const F d = half_at(at, offsetof(Q3_KBlock, d));
  for (Index j = 0; j < 16; j += lanes) {
    const F step = to_float(subtract(load_u8(scales + j), set(32))) * d;
    store(headers + j, step);
    store(headers + offsets_at + j, step * set(-4.0f));
  }
}
template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<Q3_KBlock>, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  Words v;
  read(at + half * 32, offsetof(Q3_KBlock, q), v);
  Words bits;
  read(at, offsetof(Q3_KBlock, high), bits);
  bits >>= static_cast<unsigned>(4 * half);
  const float* steps = headers + 8 * half + 2 * quarter;
  decode_groups<16>(((v >> (2 * quarter)) & 0x03030303u) |
                        ((quarter < 2 ? bits << (2 - quarter) : bits >> (quarter - 2)) & 0x04040404u),
                    steps, steps + offsets_at, y);
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

/// Of Q4_K and Q5_K: steps are headers 0 to 7; offsets begin at 8 + offsets_at, where all scales are times dmin.
constexpr Index minima_at = 8 + offsets_at;
template <class T>
requires(std::is_same_v<T, Q4_KBlock> || std::is_same_v<T, Q5_KBlock>)
    [[gnu::always_inline]] inline void unpack_headers(std::type_identity<T>, const std::byte* at, Index,
                                                      float* headers) {
  std::uint8_t scales[16];
  unpack_scales(at + offsetof(T, scales), scales);
  const F d = half_at(at, offsetof(T, d));
  const F dmin = set(0.0f) - half_at(at, offsetof(T, dmin));
  for (Index j = 0; j < 16; j += lanes) {
    const F scale = to_float(load_u8(scales + j));
    store(headers + j, scale * d);
    store(headers + offsets_at + j, scale * dmin);
  }
}

template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<Q4_KBlock>, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  const std::uint8_t* q = quanta(at, offsetof(Q4_KBlock, q)) + half * 64 + quarter / 2 * 32;
  const float* step = headers + 4 * half + quarter;
  const Nibbles values(set(step[0]), set(step[minima_at]));
  for (Index j = 0; j < 32; j += lanes) {
    const I both = load_u8(q + j);
    put(y + j, quarter % 2 == 0 ? values.low(both) : values.high(both));
  }
}

template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<Q5_KBlock>, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  Words v;
  read(at + half * 64 + quarter / 2 * 32, offsetof(Q5_KBlock, q), v);
  v >>= static_cast<unsigned>(quarter % 2 * 4);
  Words bits;
  read(at, offsetof(Q5_KBlock, high), bits);
  bits >>= static_cast<unsigned>(4 * half);
  const float* step = headers + 4 * half + quarter;
  decode_groups<32>((v & 0x0f0f0f0fu) | ((bits << (4 - quarter)) & 0x10101010u), step, step + minima_at, y);
}

[[gnu::always_inline]] inline void unpack_headers(std::type_identity<Q6_KBlock>, const std::byte* at, Index,
                                                  float* headers) {
  const F d = half_at(at, offsetof(Q6_KBlock, d));
  for (Index j = 0; j < 16; j += lanes) {
    const F step = to_float(load_i8(reinterpret_cast<const std::int8_t*>(at + offsetof(Q6_KBlock, scales)) + j)) * d;
    store(headers + j, step);
    store(headers + offsets_at + j, step * set(-32.0f));
  }
}
template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<Q6_KBlock>, const float* headers, const std::byte* at,
                                               Index half, int quarter, Out y) {
  Words v;
  read(at + half * 64 + quarter % 2 * 32, offsetof(Q6_KBlock, low), v);
  v >>= static_cast<unsigned>(quarter / 2 * 4);
  Words bits;
  read(at + half * 32, offsetof(Q6_KBlock, high), bits);
  const float* steps = headers + 8 * half + 2 * quarter;
  decode_groups<16>(
      (v & 0x0f0f0f0fu) | ((quarter < 2 ? bits << (4 - 2 * quarter) : bits >> (2 * quarter - 4)) & 0x30303030u), steps,
      steps + offsets_at, y);
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
    store(steps + j, to_float(scale) * half_at(at, offsetof(IQ4_XSBlock, d)));
  }
}

[[gnu::always_inline]] inline void unpack_headers(std::type_identity<IQ4_XSBlock>, const std::byte* at, Index,
                                                  float* headers) {
  unpack_iq4_steps(at, headers);  // sixteen are written, eight are used
}
template <class Out>
[[gnu::always_inline]] inline void decode_part(std::type_identity<IQ4_XSBlock>, const float* headers,
                                               const std::byte* at, Index half, int quarter, Out y) {
  const Index group = 4 * half + quarter;
  decode_named_values(quanta(at, offsetof(IQ4_XSBlock, q)) + group * 16, set(headers[group]), y);
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
    static_assert(
        requires { decode_part(type, y, units, 0, 0, y); },
        "this weight type has no kernel: write its unpack_headers and decode_part in decode.inl");
    for (; count > 0; count -= run_elements, units += run_elements / T::elements * size, y += run_elements) {
      const Index parts = std::min(run_parts, count / part_elements);
      float headers[header_size];
      unpack_headers(type, units, parts, headers);
      // Headers are in memory from here on: GCC would take them from registers, by shuffles.
      asm volatile("" ::: "memory");
#pragma GCC unroll 2
      for (Index half = 0; half < 2; ++half)
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter)
          if (half * 4 + quarter < parts)
            decode_part(type, headers, units, half, quarter, y + (half * 4 + quarter) * part_elements);
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

// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Stored weights to floats in their natural order, bit for bit what StoredMatrix::decode_row gives: products of
// a scale and a quantum are exact, so that fused and separate rounding agree.

// Quanta are read from where the block lies, `at`, and not from the aligned copy: that would be stored in pieces of 16
// bytes and loaded in pieces of 8, which the processor forwards slowly where they straddle.

/// A byte array of the block of type T at `at`.
[[gnu::always_inline]] inline const std::uint8_t* quanta(const std::byte* at, std::size_t offset) {
  return reinterpret_cast<const std::uint8_t*>(at + offset);
}

[[gnu::always_inline]] inline void decode_block(const Q4_0Block& block, const std::byte* at, float* y) {
  const F scale = set(widen(block.d));
  for (Index j = 0; j < 16; j += lanes) {
    const I bytes = load_u8(quanta(at, offsetof(Q4_0Block, q)) + j);
    store(y + j, to_float(subtract(bits_and(bytes, set(15)), set(8))) * scale);
    store(y + 16 + j, to_float(subtract(shift_right(bytes, 4), set(8))) * scale);
  }
}

[[gnu::always_inline]] inline void decode_block(const Q4_1Block& block, const std::byte* at, float* y) {
  const F scale = set(widen(block.d));
  const F offset = set(widen(block.m));
  for (Index j = 0; j < 16; j += lanes) {
    const I bytes = load_u8(quanta(at, offsetof(Q4_1Block, q)) + j);
    store(y + j, multiply_add(to_float(bits_and(bytes, set(15))), scale, offset));
    store(y + 16 + j, multiply_add(to_float(shift_right(bytes, 4)), scale, offset));
  }
}

/// The fifth bits of elements j, j + 1, ... of a Q5_0 or Q5_1 block, in their place.
[[gnu::always_inline]] inline I fifth_bits(const std::uint8_t (&high)[4], Index j) {
  std::uint32_t bits;
  std::memcpy(&bits, high, 4);
  const I shifted = shift_right(set(static_cast<std::int32_t>(bits >> j)), lane_numbers());
  return shift_left(bits_and(shifted, set(1)), 4);
}

[[gnu::always_inline]] inline void decode_block(const Q5_0Block& block, const std::byte* at, float* y) {
  const F scale = set(widen(block.d));
  for (Index j = 0; j < 16; j += lanes) {
    const I bytes = load_u8(quanta(at, offsetof(Q5_0Block, q)) + j);
    const I low = bits_or(bits_and(bytes, set(15)), fifth_bits(block.high, j));
    const I high = bits_or(shift_right(bytes, 4), fifth_bits(block.high, j + 16));
    store(y + j, to_float(subtract(low, set(16))) * scale);
    store(y + 16 + j, to_float(subtract(high, set(16))) * scale);
  }
}

[[gnu::always_inline]] inline void decode_block(const Q5_1Block& block, const std::byte* at, float* y) {
  const F scale = set(widen(block.d));
  const F offset = set(widen(block.m));
  for (Index j = 0; j < 16; j += lanes) {
    const I bytes = load_u8(quanta(at, offsetof(Q5_1Block, q)) + j);
    const I low = bits_or(bits_and(bytes, set(15)), fifth_bits(block.high, j));
    const I high = bits_or(shift_right(bytes, 4), fifth_bits(block.high, j + 16));
    store(y + j, multiply_add(to_float(low), scale, offset));
    store(y + 16 + j, multiply_add(to_float(high), scale, offset));
  }
}

[[gnu::always_inline]] inline void decode_block(const Q8_0Block& block, const std::byte* at, float* y) {
  const F scale = set(widen(block.d));
  for (Index j = 0; j < 32; j += lanes)
    store(y + j, to_float(load_i8(reinterpret_cast<const std::int8_t*>(at + offsetof(Q8_0Block, q)) + j)) * scale);
}

[[gnu::always_inline]] inline void decode_block(const Q2_KBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  const float dmin = widen(block.dmin);
  for (int group = 0; group < 16; ++group) {  // 16 elements each
    const F step = set(d * static_cast<float>(block.scales[group] & 15));
    const F offset = set(-dmin * static_cast<float>(block.scales[group] >> 4));
    const std::uint8_t* bytes = quanta(at, offsetof(Q2_KBlock, q)) + group / 8 * 32 + group % 2 * 16;
    for (Index j = 0; j < 16; j += lanes) {
      const I q = bits_and(shift_right(load_u8(bytes + j), group % 8 / 2 * 2), set(3));
      store(y + group * 16 + j, multiply_add(to_float(q), step, offset));
    }
  }
}

[[gnu::always_inline]] inline void decode_block(const Q3_KBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  for (int group = 0; group < 16; ++group) {  // 16 elements each
    const F step = set(d * static_cast<float>(block.unpack_scale(group) - 32));
    const std::uint8_t* bytes = quanta(at, offsetof(Q3_KBlock, q)) + group / 8 * 32 + group % 2 * 16;
    const std::uint8_t* bits = quanta(at, offsetof(Q3_KBlock, high)) + group % 2 * 16;
    for (Index j = 0; j < 16; j += lanes) {
      const I low = bits_and(shift_right(load_u8(bytes + j), group % 8 / 2 * 2), set(3));
      const I high = bits_and(shift_right(load_u8(bits + j), group / 2), set(1));
      store(y + group * 16 + j, to_float(subtract(bits_or(low, shift_left(high, 2)), set(4))) * step);
    }
  }
}

[[gnu::always_inline]] inline void decode_block(const Q4_KBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  const float dmin = widen(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = GroupScale::unpack(block.scales, group);
    const F step = set(d * static_cast<float>(scale));
    const F offset = set(-dmin * static_cast<float>(minimum));
    const std::uint8_t* bytes = quanta(at, offsetof(Q4_KBlock, q)) + group / 2 * 32;
    for (Index j = 0; j < 32; j += lanes) {
      const I q = bits_and(shift_right(load_u8(bytes + j), group % 2 * 4), set(15));
      store(y + group * 32 + j, multiply_add(to_float(q), step, offset));
    }
  }
}

[[gnu::always_inline]] inline void decode_block(const Q5_KBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  const float dmin = widen(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = GroupScale::unpack(block.scales, group);
    const F step = set(d * static_cast<float>(scale));
    const F offset = set(-dmin * static_cast<float>(minimum));
    const std::uint8_t* bytes = quanta(at, offsetof(Q5_KBlock, q)) + group / 2 * 32;
    for (Index j = 0; j < 32; j += lanes) {
      const I low = bits_and(shift_right(load_u8(bytes + j), group % 2 * 4), set(15));
      const I high = bits_and(shift_right(load_u8(quanta(at, offsetof(Q5_KBlock, high)) + j), group), set(1));
      store(y + group * 32 + j, multiply_add(to_float(bits_or(low, shift_left(high, 4))), step, offset));
    }
  }
}

[[gnu::always_inline]] inline void decode_block(const Q6_KBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  for (int group = 0; group < 16; ++group) {  // 16 elements each
    const int half = group / 8;
    const int quarter = group % 8 / 2;
    const F step = set(d * static_cast<float>(block.scales[group]));
    const std::uint8_t* bytes = quanta(at, offsetof(Q6_KBlock, low)) + half * 64 + quarter % 2 * 32 + group % 2 * 16;
    const std::uint8_t* bits = quanta(at, offsetof(Q6_KBlock, high)) + half * 32 + group % 2 * 16;
    for (Index j = 0; j < 16; j += lanes) {
      const I low = bits_and(shift_right(load_u8(bytes + j), quarter / 2 * 4), set(15));
      const I high = bits_and(shift_right(load_u8(bits + j), quarter * 2), set(3));
      store(y + group * 16 + j, to_float(subtract(bits_or(low, shift_left(high, 4)), set(32))) * step);
    }
  }
}

/// 32 elements whose nibbles at `bytes` name one of IQ4_NL's values.
[[gnu::always_inline]] inline void decode_named_values(const std::uint8_t* bytes, F scale, float* y) {
  for (Index j = 0; j < 16; j += lanes) {
    const I both = load_u8(bytes + j);
    store(y + j, lookup(IQ4_NLBlock::values, bits_and(both, set(15))) * scale);
    store(y + 16 + j, lookup(IQ4_NLBlock::values, shift_right(both, 4)) * scale);
  }
}

[[gnu::always_inline]] inline void decode_block(const IQ4_NLBlock& block, const std::byte* at, float* y) {
  decode_named_values(quanta(at, offsetof(IQ4_NLBlock, q)), set(widen(block.d)), y);
}

[[gnu::always_inline]] inline void decode_block(const IQ4_XSBlock& block, const std::byte* at, float* y) {
  const float d = widen(block.d);
  for (int group = 0; group < 8; ++group)
    decode_named_values(quanta(at, offsetof(IQ4_XSBlock, q)) + group * 16,
                        set(d * static_cast<float>(block.unpack_scale(group) - 32)), y + group * 32);
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
  if constexpr (QuantizedBlock<T>) {
    static_assert(
        requires(const T& block) { decode_block(block, units, y); },
        "this weight type has no kernel: write its decode_block in decode.inl");
    for (Index i = 0; i < count; i += T::elements, units += sizeof(T)) {
      T block;  // files promise no alignment; what is not used of the copy is optimised away
      std::memcpy(static_cast<void*>(&block), units, sizeof(T));
      decode_block(block, units, y + i);
    }
  } else {
    Index i = 0;
    for (; i + lanes <= count; i += lanes) store(y + i, load_vector<T>(units + i * static_cast<Index>(sizeof(T))));
    for (; i < count; ++i) y[i] = load_scalar<T>(units + i * static_cast<Index>(sizeof(T)));
  }
}

/// Decode of kernels.hpp: elements [begin, begin + count) of `row`.
template <class T>
inline void decode_row(const std::byte* row, Index begin, Index count, float* y) {
  constexpr Index elements = elements_per_unit<T>;
  static_assert(pack_depth % elements == 0, "rows are decoded pack_depth elements at a time: whole blocks");
  decode<T>(row + begin / elements * static_cast<Index>(sizeof(T)), count, y);
}

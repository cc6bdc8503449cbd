// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Products with activations of eight bits. `lanes` rows of w become a panel, 32 elements of each at a time: per block
// eight vectors of quanta, four elements of a row in each lane, then two of steps and two of offsets, one for each half
// of the block. Quanta are not negative: `centre` is what they are more than the weight over its step. A type is
// unpacked in that form, all rows at once, so that nothing here is said twice for two widths.

/// 16 bytes of each row are read at a time, if need be from before what is wanted: never beyond a block's end.
struct PanelRows {
  const std::byte* first;
  Index stride;  ///< from row to row

  [[gnu::always_inline]] void load(std::size_t offset, I (&v)[4]) const { load_columns(first + offset, stride, v); }
  [[nodiscard]] [[gnu::always_inline]] PanelRows at(Index offset) const { return {first + offset, stride}; }
};

/// A block of a panel.
struct PanelBlock {
  float* memory;

  static constexpr Index floats = 12 * lanes;

  [[gnu::always_inline]] void set_quanta(int quad, I v) const {
    store_words(reinterpret_cast<std::byte*>(memory + quad * lanes), v);
  }
  [[gnu::always_inline]] void set_step(F step) const { store(memory + 8 * lanes, step); }
  [[gnu::always_inline]] void set_offset(F offset) const { store(memory + 10 * lanes, offset); }
  /// Of the two halves.
  [[gnu::always_inline]] void set_steps(F low, F high) const {
    store(memory + 8 * lanes, low);
    store(memory + 9 * lanes, high);
  }
  [[gnu::always_inline]] void set_offsets(F low, F high) const {
    store(memory + 10 * lanes, low);
    store(memory + 11 * lanes, high);
  }
  [[nodiscard]] [[gnu::always_inline]] PanelBlock next(Index blocks) const { return {memory + blocks * floats}; }
};

[[gnu::always_inline]] inline I bytes_of(std::uint8_t b) { return set(static_cast<std::int32_t>(b * 0x01010101u)); }
/// Byte `which` of every lane.
[[gnu::always_inline]] inline I byte_of(I v, int which) { return bits_and(shift_right(v, 8 * which), set(0xff)); }
/// The same of bytes with a sign.
[[gnu::always_inline]] inline I signed_byte_of(I v, int which) {
  return subtract(bits_xor(byte_of(v, which), set(0x80)), set(0x80));
}
/// The upper half and the lower half of the next, as one.
[[gnu::always_inline]] inline I join(I v, I next) {
  return bits_or(bits_and(shift_right(v, 16), set(0xffff)), shift_left(next, 16));
}
/// Bits 0 to 3 of v >> shift, one to the lowest bit of each byte.
[[gnu::always_inline]] inline I spread(I v, int shift) {
  return bits_and(multiply(bits_and(shift_right(v, shift), set(15)), set(0x00204081)), bytes_of(1));
}
/// The lowest `mask` of every byte of v >> shift.
[[gnu::always_inline]] inline I field(I v, int shift, std::uint8_t mask) {
  return bits_and(shift_right(v, shift), bytes_of(mask));
}

/// The 32 nibbles at `offset`, low ones first, as eight quads.
[[gnu::always_inline]] inline void load_nibbles(PanelRows rows, std::size_t offset, I (&quads)[8]) {
  I v[4];
  rows.load(offset, v);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    quads[j] = field(v[j], 0, 15);
    quads[j + 4] = field(v[j], 4, 15);
  }
}
/// 32 bytes at `offset`.
[[gnu::always_inline]] inline void load_bytes32(PanelRows rows, std::size_t offset, I (&quads)[8]) {
  I v[4];
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {
    rows.load(offset + static_cast<std::size_t>(part) * 16, v);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) quads[part * 4 + j] = v[j];
  }
}
[[gnu::always_inline]] inline void set_all_quanta(PanelBlock out, const I (&quads)[8]) {
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) out.set_quanta(j, quads[j]);
}

/// How the blocks of a type become integers: `bits` of a quantum, `centre`, whether a weight has an offset beside the
/// product of its quantum and step, and whether the halves of 32 elements have their own.
template <int of_bits, int of_centre, bool with_offsets, bool by_halves>
struct IntegerForm {
  static constexpr int bits = of_bits;
  static constexpr int centre = of_centre;
  static constexpr bool has_offsets = with_offsets;
  static constexpr bool has_halves = by_halves;
};

/// The form of T, and pack(rows, out): blocks at `rows` as blocks of 32 from `out` on.
template <class T>
struct Integers;

template <>
struct Integers<Q4_0Block> : IntegerForm<4, 8, false, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I quads[8];
    load_nibbles(rows, offsetof(Q4_0Block, q), quads);
    set_all_quanta(out, quads);
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
  }
};

template <>
struct Integers<Q4_1Block> : IntegerForm<4, 0, true, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I quads[8];
    load_nibbles(rows, offsetof(Q4_1Block, q), quads);
    set_all_quanta(out, quads);
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
    out.set_offset(widen_lower_halves(shift_right(header[0], 16)));
  }
};

/// 32 nibbles with the fifth bits that `high` holds.
[[gnu::always_inline]] inline void pack_five_bits(PanelRows rows, std::size_t offset, I high, PanelBlock out) {
  I quads[8];
  load_nibbles(rows, offset, quads);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) out.set_quanta(j, bits_or(quads[j], shift_left(spread(high, 4 * j), 4)));
}

template <>
struct Integers<Q5_0Block> : IntegerForm<5, 16, false, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
    pack_five_bits(rows, offsetof(Q5_0Block, q), join(header[0], header[1]), out);
  }
};

template <>
struct Integers<Q5_1Block> : IntegerForm<5, 0, true, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
    out.set_offset(widen_lower_halves(shift_right(header[0], 16)));
    pack_five_bits(rows, offsetof(Q5_1Block, q), header[1], out);
  }
};

template <>
struct Integers<Q8_0Block> : IntegerForm<8, 128, false, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I quads[8];
    load_bytes32(rows, offsetof(Q8_0Block, q), quads);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) out.set_quanta(j, bits_xor(quads[j], bytes_of(0x80)));
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
  }
};

/// IQ4_NL's values, 128 more.
alignas(16) inline constexpr std::uint8_t iq4_quanta[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                            129, 141, 153, 166, 181, 197, 217, 241};

[[gnu::always_inline]] inline void pack_named_values(PanelRows rows, std::size_t offset, PanelBlock out) {
  I quads[8];
  load_nibbles(rows, offset, quads);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) out.set_quanta(j, lookup_bytes(iq4_quanta, quads[j]));
}

template <>
struct Integers<IQ4_NLBlock> : IntegerForm<8, 128, false, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    pack_named_values(rows, offsetof(IQ4_NLBlock, q), out);
    I header[4];
    rows.load(0, header);
    out.set_step(widen_lower_halves(header[0]));
  }
};

template <>
struct Integers<IQ4_XSBlock> : IntegerForm<8, 128, false, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    I header[4];  // d and the scales' upper bits, then the lower ones
    rows.load(0, header);
    const F d = widen_lower_halves(header[0]);
    const I upper = shift_right(header[0], 16);
#pragma GCC unroll 1
    for (int g = 0; g < 8; ++g) {
      const I low = bits_and(shift_right(header[1], 4 * g), set(15));
      const I high = bits_and(shift_right(upper, 2 * g), set(3));
      out.next(g).set_step(to_float(subtract(bits_or(low, shift_left(high, 4)), set(32))) * d);
      pack_named_values(rows, offsetof(IQ4_XSBlock, q) + static_cast<std::size_t>(g) * 16, out.next(g));
    }
  }
};

/// Scales and minima of Q4_K and Q5_K: GroupScale::unpack, four groups a word. d, dmin and the twelve bytes are what
/// blocks of both begin with.
struct GroupSteps {
  F d;
  F dmin;
  I scales[2];
  I minima[2];

  [[gnu::always_inline]] explicit GroupSteps(PanelRows rows) {
    static_assert(offsetof(Q4_KBlock, scales) == 4 && offsetof(Q5_KBlock, scales) == 4);
    I v[4];
    rows.load(0, v);
    d = widen_lower_halves(v[0]);
    dmin = set(0.0f) - widen_lower_halves(shift_right(v[0], 16));
    scales[0] = field(v[1], 0, 63);
    minima[0] = field(v[2], 0, 63);
    scales[1] = bits_or(field(v[3], 0, 15), field(v[1], 2, 48));
    minima[1] = bits_or(field(v[3], 4, 15), field(v[2], 2, 48));
  }
  [[gnu::always_inline]] void write(int group, PanelBlock out) const {
    out.set_step(to_float(byte_of(scales[group / 4], group % 4)) * d);
    out.set_offset(to_float(byte_of(minima[group / 4], group % 4)) * dmin);
  }
};

template <>
struct Integers<Q4_KBlock> : IntegerForm<4, 0, true, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    const GroupSteps steps(rows);
#pragma GCC unroll 1
    for (int pair = 0; pair < 4; ++pair, out = out.next(2)) {
      I quads[8];
      load_bytes32(rows, offsetof(Q4_KBlock, q) + static_cast<std::size_t>(pair) * 32, quads);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        out.set_quanta(j, field(quads[j], 0, 15));
        out.next(1).set_quanta(j, field(quads[j], 4, 15));
      }
      steps.write(2 * pair, out);
      steps.write(2 * pair + 1, out.next(1));
    }
  }
};

template <>
struct Integers<Q5_KBlock> : IntegerForm<5, 0, true, false> {
  static void pack(PanelRows rows, PanelBlock out) {
    const GroupSteps steps(rows);
    I high[8];
    load_bytes32(rows, offsetof(Q5_KBlock, high), high);
#pragma GCC unroll 1
    for (int pair = 0; pair < 4; ++pair, out = out.next(2)) {
      I quads[8];
      load_bytes32(rows, offsetof(Q5_KBlock, q) + static_cast<std::size_t>(pair) * 32, quads);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        out.set_quanta(j, bits_or(field(quads[j], 0, 15), shift_left(field(high[j], 2 * pair, 1), 4)));
        out.next(1).set_quanta(j, bits_or(field(quads[j], 4, 15), shift_left(field(high[j], 2 * pair + 1, 1), 4)));
      }
      steps.write(2 * pair, out);
      steps.write(2 * pair + 1, out.next(1));
    }
  }
};

template <>
struct Integers<Q6_KBlock> : IntegerForm<6, 32, false, true> {
  static void pack(PanelRows rows, PanelBlock out) {
    I scales[4];
    rows.load(offsetof(Q6_KBlock, scales), scales);
    I last[4];
    rows.load(offsetof(Q6_KBlock, d) + sizeof(Half) - 16, last);
    const F d = widen_lower_halves(shift_right(last[3], 16));
#pragma GCC unroll 1
    for (int half = 0; half < 2; ++half) {
      I high[8];
      load_bytes32(rows, offsetof(Q6_KBlock, high) + static_cast<std::size_t>(half) * 32, high);
#pragma GCC unroll 1
      for (int part = 0; part < 2; ++part, out = out.next(1)) {  // quarters `part` and part + 2
        I low[8];
        load_bytes32(rows, offsetof(Q6_KBlock, low) + static_cast<std::size_t>(half * 64 + part * 32), low);
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
          out.set_quanta(j, bits_or(field(low[j], 0, 15), shift_left(field(high[j], 2 * part, 3), 4)));
          out.next(2).set_quanta(j, bits_or(field(low[j], 4, 15), shift_left(field(high[j], 2 * part + 4, 3), 4)));
        }
        set_steps(scales[2 * half], part, d, out);
        set_steps(scales[2 * half + 1], part, d, out.next(2));
      }
      out = out.next(2);
    }
  }

 private:
  /// Of the two halves of 32, scales 2 part and the next of a word.
  [[gnu::always_inline]] static void set_steps(I scales, int part, F d, PanelBlock out) {
    out.set_steps(to_float(signed_byte_of(scales, 2 * part)) * d, to_float(signed_byte_of(scales, 2 * part + 1)) * d);
  }
};

template <>
struct Integers<Q2_KBlock> : IntegerForm<2, 0, true, true> {
  static void pack(PanelRows rows, PanelBlock out) {
    I scales[4];
    rows.load(offsetof(Q2_KBlock, scales), scales);
    I last[4];
    rows.load(offsetof(Q2_KBlock, dmin) + sizeof(Half) - 16, last);
    const F d = widen_lower_halves(last[3]);
    const F dmin = set(0.0f) - widen_lower_halves(shift_right(last[3], 16));
#pragma GCC unroll 1
    for (int half = 0; half < 2; ++half) {
      I q[8];
      load_bytes32(rows, offsetof(Q2_KBlock, q) + static_cast<std::size_t>(half) * 32, q);
#pragma GCC unroll 1
      for (int part = 0; part < 4; ++part, out = out.next(1)) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) out.set_quanta(j, field(q[j], 2 * part, 3));
        const I both = shift_right(scales[2 * half + part / 2], part % 2 * 16);
        out.set_steps(to_float(bits_and(both, set(15))) * d, to_float(bits_and(shift_right(both, 8), set(15))) * d);
        out.set_offsets(to_float(bits_and(shift_right(both, 4), set(15))) * dmin,
                        to_float(bits_and(shift_right(both, 12), set(15))) * dmin);
      }
    }
  }
};

template <>
struct Integers<Q3_KBlock> : IntegerForm<3, 4, false, true> {
  static void pack(PanelRows rows, PanelBlock out) {
    I last[4];  // the scales' twelve bytes and d end the block
    rows.load(sizeof(Q3_KBlock) - 16, last);
    const F d = widen_lower_halves(shift_right(last[3], 16));
    const I words[3] = {join(last[0], last[1]), join(last[1], last[2]), join(last[2], last[3])};
    I scales[4];  // Q3_KBlock::unpack_scale, four groups a word
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      scales[j] = bits_or(field(words[j % 2], j / 2 * 4, 15), shift_left(field(words[2], 2 * j, 3), 4));
    I high[8];
    load_bytes32(rows, offsetof(Q3_KBlock, high), high);
#pragma GCC unroll 1
    for (int half = 0; half < 2; ++half) {
      I q[8];
      load_bytes32(rows, offsetof(Q3_KBlock, q) + static_cast<std::size_t>(half) * 32, q);
#pragma GCC unroll 1
      for (int part = 0; part < 4; ++part, out = out.next(1)) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j)
          out.set_quanta(j, bits_or(field(q[j], 2 * part, 3), shift_left(field(high[j], 4 * half + part, 1), 2)));
        const I both = shift_right(scales[2 * half + part / 2], part % 2 * 16);
        out.set_steps(to_float(subtract(byte_of(both, 0), set(32))) * d,
                      to_float(subtract(byte_of(both, 1), set(32))) * d);
      }
    }
  }
};

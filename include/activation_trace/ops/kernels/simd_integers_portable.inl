// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What integers.inl needs of vectors besides simd_*.inl: every lane is a row of w, and a number of 32 bits holds four
// quanta of it. Every simd_integers_*.inl offers these names.

/// Rows of x that share a load of quanta, at most: a power of two.
constexpr Index integer_rows = 2;

/// 16 bytes at `p` of each of `lanes` rows: v[j] holds bytes 4j to 4j + 3 of row r in lane r.
[[gnu::always_inline]] inline void load_columns(const std::byte* p, Index stride, I (&v)[4]) {
  std::int32_t words[4][lanes];
  for (Index r = 0; r < lanes; ++r, p += stride) {
    std::int32_t row[4]{};  // g++ 12 warns of what memcpy fills
    std::memcpy(row, p, sizeof(row));
    for (int j = 0; j < 4; ++j) words[j][r] = row[j];
  }
  for (int j = 0; j < 4; ++j) std::memcpy(&v[j], words[j], sizeof(v[j]));
}
[[gnu::always_inline]] inline I load_words(const std::byte* p) {
  I v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
[[gnu::always_inline]] inline void store_words(std::byte* p, I v) { std::memcpy(p, &v, sizeof(v)); }
[[gnu::always_inline]] inline I bits_xor(I a, I b) { return a ^ b; }
/// The lower 32 bits of products.
[[gnu::always_inline]] inline I multiply(I a, I b) { return a * b; }
/// The halves in the lower 16 bits, as floats.
[[gnu::always_inline]] inline F widen_lower_halves(I v) {
  float out[lanes];
  for (Index r = 0; r < lanes; ++r) out[r] = Half::from_bits(static_cast<std::uint16_t>(v[r]));
  return load(out);
}
/// values[byte] for every byte, which is less than 16.
[[gnu::always_inline]] inline I lookup_bytes(const std::uint8_t (&values)[16], I v) {
  std::uint8_t bytes[sizeof(v)];
  std::memcpy(bytes, &v, sizeof(v));
  for (std::uint8_t& b : bytes) b = values[b];
  std::memcpy(&v, bytes, sizeof(v));
  return v;
}

/// A sum of products of quanta that have so many bits, and are not negative, by activations.
template <int bits>
struct IntegerSum {
  static constexpr int held = 8;  ///< calls of add(), at most, before collect(), after which `total` is the sum

  I total;

  [[gnu::always_inline]] void start(std::int32_t at) { total = set(at); }
  /// += the four products of each lane with the bytes at `x`.
  [[gnu::always_inline]] void add(I quanta, const std::int8_t* x) {
    total += (quanta & 255) * x[0] + ((quanta >> 8) & 255) * x[1] + ((quanta >> 16) & 255) * x[2] +
             ((quanta >> 24) & 255) * x[3];
  }
  [[gnu::always_inline]] void collect() {}
};

/// x * factor, |x * factor| <= 127, to the nearest whole number, ties to even.
[[gnu::always_inline]] inline void store_rounded(const float* x, float factor, std::int8_t* q) {
  float products[32];
  for (Index i = 0; i < 32; i += lanes) store(products + i, load(x + i) * set(factor));
  // A float before it is rounded: fused with round()'s addition, as GCC does for ARM, a tie can go the other way.
  asm volatile("" : "+m"(products));
  for (Index i = 0; i < 32; i += lanes) {
    const F v = round(load(products + i));
    for (Index r = 0; r < lanes; ++r) q[i + r] = static_cast<std::int8_t>(v[r]);
  }
}

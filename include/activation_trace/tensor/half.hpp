// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// IEEE 754 binary16 as storage: widened to float for every computation.
struct Half {
  static constexpr std::string_view name = "F16";
  std::uint16_t bits = 0;  ///< sign, 5 bits of exponent, 10 of fraction

  Half() = default;
  /// Rounds to nearest, ties to even; beyond 65504 becomes infinity; NaN stays NaN.
  explicit constexpr Half(float value) noexcept : bits(from_float(value)) {}
  /// The number that is stored as `bits`.
  static constexpr Half from_bits(std::uint16_t bits) noexcept {
    Half half;
    half.bits = bits;
    return half;
  }

  /// Exact: every binary16 number is a float.
  constexpr operator float() const noexcept {  // NOLINT(google-explicit-constructor)
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u)  // infinity and NaN keep their payload
      return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x0400u)  // normal: move the exponent's bias from 15 to 127
      return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
    // Zero and subnormal: magnitude units of 2^-24, exact in float.
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
  }

 private:
  static constexpr std::uint16_t from_float(float value) noexcept {
    const std::uint32_t word = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((word >> 16) & 0x8000u);
    const std::uint32_t magnitude = word & 0x7fffffffu;
    if (magnitude > 0x7f800000u)  // NaN: keep the payload's top bits and make it quiet
      return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds beyond 65504
    if (magnitude < 0x38800000u) {
      // Subnormal half: adding 0.5 aligns the units of 2^-24 with float's last bit, so the FPU rounds to even.
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
    }
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<std::uint16_t>(sign | ((magnitude - (112u << 23) + 0xfffu + odd) >> 13));
  }
};
static_assert(sizeof(Half) == 2);

/// bfloat16, the upper half of a float, as storage.
struct BFloat16 {
  static constexpr std::string_view name = "BF16";
  std::uint16_t bits = 0;  ///< sign, 8 bits of exponent, 7 of fraction

  BFloat16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  explicit constexpr BFloat16(float value) noexcept : bits(from_float(value)) {}
  /// The number that is stored as `bits`.
  static constexpr BFloat16 from_bits(std::uint16_t bits) noexcept {
    BFloat16 bfloat;
    bfloat.bits = bits;
    return bfloat;
  }

  /// Exact: the lower half is zeros.
  constexpr operator float() const noexcept {  // NOLINT(google-explicit-constructor)
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  static constexpr std::uint16_t from_float(float value) noexcept {
    const std::uint32_t word = std::bit_cast<std::uint32_t>(value);
    if ((word & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((word >> 16) | 0x40u);
    return static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
};
static_assert(sizeof(BFloat16) == 2);

}  // namespace v0
}  // namespace activation_trace

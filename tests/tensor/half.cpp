// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/half.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace activation_trace;

namespace {

// The value of a binary16 by the definition in IEEE 754, in double.
double half_value(unsigned bits) {
  const int exponent = static_cast<int>((bits >> 10) & 31);
  const double fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("every binary16 number widens exactly and rounds back to itself") {
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    const Half half = Half::from_bits(static_cast<std::uint16_t>(bits));
    const float wide = half;
    if ((bits & 0x7fffu) > 0x7c00u) {
      REQUIRE(std::isnan(wide));
      REQUIRE(std::isnan(static_cast<float>(Half(wide))));
    } else if ((bits & 0x7fffu) == 0x7c00u) {
      REQUIRE(std::isinf(wide));
      REQUIRE(Half(wide).bits == bits);
    } else {
      REQUIRE(static_cast<double>(wide) == half_value(bits));
      REQUIRE(Half(wide).bits == bits);
    }
  }
}

TEST_CASE("float to binary16 rounds to nearest, ties to even") {
  for (unsigned bits = 0; bits < 0x7bffu; ++bits) {  // between each number and its successor
    const double low = half_value(bits);
    const double high = half_value(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);  // exact in float
    REQUIRE(Half(middle).bits == (bits % 2 == 0 ? bits : bits + 1));
    REQUIRE(Half(std::nextafter(middle, 0.0f)).bits == bits);
    REQUIRE(Half(std::nextafter(middle, 1e9f)).bits == bits + 1);
    REQUIRE(Half(-middle).bits == ((bits % 2 == 0 ? bits : bits + 1) | 0x8000u));
  }
  CHECK(Half(65519.0f).bits == 0x7bffu);
  CHECK(std::isinf(static_cast<float>(Half(65520.0f))));
  CHECK(Half(std::numeric_limits<float>::infinity()).bits == 0x7c00u);
  CHECK(Half(1e-30f).bits == 0);
}

TEST_CASE("bfloat16 is the upper half of a float, rounded to nearest even") {
  for (unsigned bits = 0; bits < 0x7f80u; ++bits) {
    const float value = BFloat16::from_bits(static_cast<std::uint16_t>(bits));
    REQUIRE(BFloat16(value).bits == bits);
    const float middle = std::bit_cast<float>((bits << 16) | 0x8000u);
    REQUIRE(BFloat16(middle).bits == (bits % 2 == 0 ? bits : bits + 1));
    REQUIRE(BFloat16(std::nextafter(middle, 0.0f)).bits == bits);
  }
  CHECK(std::isnan(static_cast<float>(BFloat16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isinf(static_cast<float>(BFloat16(std::numeric_limits<float>::infinity()))));
}

// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// A colour of sRGB.
struct Rgb {
  std::uint8_t red = 0;    ///< 0 to 255
  std::uint8_t green = 0;  ///< 0 to 255
  std::uint8_t blue = 0;   ///< 0 to 255

  [[nodiscard]] bool operator==(const Rgb&) const = default;
};

namespace detail {

/// x in [0, 1], or its nearest end; 0 of NaN.
[[nodiscard]] inline double fraction(double x) { return x > 0 ? std::min(x, 1.0) : 0.0; }

}  // namespace detail

/// viridis: dark violet at 0 over teal to yellow at 1, in steps of equal brightness, also for the colour-blind.
/// Values outside [0, 1] take an end's colour, NaN that of 0.
[[nodiscard]] inline Rgb viridis(double x) {
  // matplotlib's table (CC0) at twenty even places.
  static constexpr std::array<std::uint32_t, 20> table{
      0x440154, 0x481567, 0x482677, 0x453781, 0x404788, 0x39568c, 0x33638d, 0x2d708e, 0x287d8e, 0x238a8d,
      0x1f968b, 0x20a387, 0x29af7f, 0x3cbb75, 0x55c667, 0x73d055, 0x95d840, 0xb8de29, 0xdce319, 0xfde725};
  const double place = detail::fraction(x) * (table.size() - 1);
  const std::size_t below = std::min(static_cast<std::size_t>(place), table.size() - 2);
  const auto channel = [&](int shift) {
    const auto at = [&](std::size_t i) { return static_cast<double>((table[i] >> shift) & 0xff); };
    return static_cast<std::uint8_t>(
        std::lround(std::lerp(at(below), at(below + 1), place - static_cast<double>(below))));
  };
  return {channel(16), channel(8), channel(0)};
}

/// Whether text on this colour is legible in black rather than in white.
[[nodiscard]] inline bool is_bright(Rgb color) {
  return 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue > 140;
}

/// As HTML writes it: a number sign and six hexadecimal digits.
[[nodiscard]] inline std::string hex(Rgb color) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", color.red, color.green, color.blue);
  return text;
}

}  // namespace v0
}  // namespace activation_trace

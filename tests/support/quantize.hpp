// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "activation_trace/tensor/dtype.hpp"

// Simple quantisers for fixtures: correct, deterministic, not tuned for small errors.
namespace activation_trace::test {

namespace detail {

inline int nearest(float x, int low, int high) {
  return std::clamp(static_cast<int>(std::lround(std::clamp(x, -1e6f, 1e6f))), low, high);
}
inline float ratio(float x, float y) { return y == 0 ? 0 : x / y; }
inline float largest_magnitude(std::span<const float> x) {
  float result = 0;
  for (const float value : x) result = std::max(result, std::abs(value));
  return result;
}

inline void quantize(std::span<const float> x, float& y) { y = x[0]; }
inline void quantize(std::span<const float> x, Half& y) { y = Half(x[0]); }
inline void quantize(std::span<const float> x, BFloat16& y) { y = BFloat16(x[0]); }

inline void quantize(std::span<const float> x, Q8_0Block& y) {
  y.d = Half(largest_magnitude(x) / 127);
  for (std::size_t j = 0; j < 32; ++j) y.q[j] = static_cast<std::int8_t>(nearest(ratio(x[j], y.d), -127, 127));
}

inline void quantize(std::span<const float> x, Q4_0Block& y) {
  y.d = Half(largest_magnitude(x) / 7);
  for (std::size_t j = 0; j < 16; ++j)
    y.q[j] = static_cast<std::uint8_t>(nearest(ratio(x[j], y.d) + 8, 0, 15) | nearest(ratio(x[j + 16], y.d) + 8, 0, 15)
                                                                                  << 4);
}

inline void quantize(std::span<const float> x, Q4_1Block& y) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  y.d = Half((*high - *low) / 15);
  y.m = Half(*low);
  for (std::size_t j = 0; j < 16; ++j)
    y.q[j] = static_cast<std::uint8_t>(nearest(ratio(x[j] - y.m, y.d), 0, 15) |
                                       nearest(ratio(x[j + 16] - y.m, y.d), 0, 15) << 4);
}

// The common part of Q5_0 and Q5_1.
template <class Block>
void set_five_bits(Block& y, std::size_t j, int q) {
  auto& byte = y.q[j % 16];
  byte = static_cast<std::uint8_t>(byte | (q & 15) << (j / 16 * 4));
  y.high[j / 8] = static_cast<std::uint8_t>(y.high[j / 8] | (q >> 4) << (j % 8));
}

inline void quantize(std::span<const float> x, Q5_0Block& y) {
  y = {};
  y.d = Half(largest_magnitude(x) / 15);
  for (std::size_t j = 0; j < 32; ++j) set_five_bits(y, j, nearest(ratio(x[j], y.d) + 16, 0, 31));
}

inline void quantize(std::span<const float> x, Q5_1Block& y) {
  y = {};
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  y.d = Half((*high - *low) / 31);
  y.m = Half(*low);
  for (std::size_t j = 0; j < 32; ++j) set_five_bits(y, j, nearest(ratio(x[j] - y.m, y.d), 0, 31));
}

// The place of the value of IQ4_NL that is nearest.
inline int nearest_named(float x) {
  int best = 0;
  for (int i = 1; i < 16; ++i)
    if (std::abs(IQ4_NLBlock::values[i] - x) < std::abs(IQ4_NLBlock::values[best] - x)) best = i;
  return best;
}

inline void quantize(std::span<const float> x, IQ4_NLBlock& y) {
  y = {};
  y.d = Half(largest_magnitude(x) / 113);
  for (std::size_t j = 0; j < 32; ++j)
    y.q[j % 16] = static_cast<std::uint8_t>(y.q[j % 16] | nearest_named(ratio(x[j], y.d)) << (j / 16 * 4));
}

inline void quantize(std::span<const float> x, IQ4_XSBlock& y) {
  y = {};
  float steps[8];
  for (std::size_t g = 0; g < 8; ++g) steps[g] = largest_magnitude(x.subspan(g * 32, 32)) / 113;
  y.d = Half(largest_magnitude(steps) / 31);
  for (std::size_t g = 0; g < 8; ++g) {
    const int scale = nearest(ratio(steps[g], y.d), 0, 31) + 32;
    y.scales_low[g / 2] = static_cast<std::uint8_t>(y.scales_low[g / 2] | (scale & 15) << (g % 2 * 4));
    y.scales_high = static_cast<std::uint16_t>(y.scales_high | (scale >> 4) << (2 * g));
    const float step = y.d * static_cast<float>(scale - 32);
    for (std::size_t j = 0; j < 32; ++j) {
      auto& byte = y.q[g * 16 + j % 16];
      byte = static_cast<std::uint8_t>(byte | nearest_named(ratio(x[g * 32 + j], step)) << (j / 16 * 4));
    }
  }
}

inline void quantize(std::span<const float> x, Q2_KBlock& y) {
  y = {};
  float steps[16];
  float minima[16];
  for (std::size_t g = 0; g < 16; ++g) {
    const auto group = x.subspan(g * 16, 16);
    const auto [low, high] = std::minmax_element(group.begin(), group.end());
    minima[g] = std::max(0.0f, -*low);
    steps[g] = std::max(0.0f, *high + minima[g]) / 3;
  }
  y.d = Half(largest_magnitude(steps) / 15);
  y.dmin = Half(largest_magnitude(minima) / 15);
  for (std::size_t g = 0; g < 16; ++g) {
    const int scale = nearest(ratio(steps[g], y.d), 0, 15);
    const int minimum = nearest(ratio(minima[g], y.dmin), 0, 15);
    y.scales[g] = static_cast<std::uint8_t>(scale | minimum << 4);
    const float step = y.d * static_cast<float>(scale);
    const float offset = y.dmin * static_cast<float>(minimum);
    for (std::size_t j = 0; j < 16; ++j) {
      auto& byte = y.q[g / 8 * 32 + g % 2 * 16 + j];
      byte = static_cast<std::uint8_t>(byte | nearest(ratio(x[g * 16 + j] + offset, step), 0, 3) << (g % 8 / 2 * 2));
    }
  }
}

inline void quantize(std::span<const float> x, Q3_KBlock& y) {
  y = {};
  float steps[16];
  for (std::size_t g = 0; g < 16; ++g) steps[g] = largest_magnitude(x.subspan(g * 16, 16)) / 3;
  y.d = Half(largest_magnitude(steps) / 31);
  for (std::size_t g = 0; g < 16; ++g) {
    const int scale = nearest(ratio(steps[g], y.d), 0, 31) + 32;
    auto& four = y.scales[g % 8];
    auto& two = y.scales[8 + g % 4];
    four = static_cast<std::uint8_t>(four | (scale & 15) << (g / 8 * 4));
    two = static_cast<std::uint8_t>(two | (scale >> 4) << (g / 4 * 2));
    const float step = y.d * static_cast<float>(scale - 32);
    for (std::size_t j = 0; j < 16; ++j) {
      const int q = nearest(ratio(x[g * 16 + j], step), -4, 3) + 4;
      auto& byte = y.q[g / 8 * 32 + g % 2 * 16 + j];
      auto& high = y.high[g % 2 * 16 + j];
      byte = static_cast<std::uint8_t>(byte | (q & 3) << (g % 8 / 2 * 2));
      high = static_cast<std::uint8_t>(high | (q >> 2) << (g / 2));
    }
  }
}

// The common part of Q4_K and Q5_K: sets d, dmin and scales, and calls store(element, quantum).
template <class Block, class Store>
void quantize_groups(std::span<const float> x, int levels, Block& y, Store&& store) {
  float steps[8];
  float minima[8];
  for (std::size_t g = 0; g < 8; ++g) {
    const auto group = x.subspan(g * 32, 32);
    const auto [low, high] = std::minmax_element(group.begin(), group.end());
    minima[g] = std::max(0.0f, -*low);
    steps[g] = std::max(0.0f, *high + minima[g]) / static_cast<float>(levels);
  }
  y.d = Half(largest_magnitude(steps) / 63);
  y.dmin = Half(largest_magnitude(minima) / 63);
  std::fill(std::begin(y.scales), std::end(y.scales), std::uint8_t{0});
  for (std::size_t g = 0; g < 8; ++g) {
    const int scale = nearest(ratio(steps[g], y.d), 0, 63);
    const int minimum = nearest(ratio(minima[g], y.dmin), 0, 63);
    const auto merge = [&](std::size_t byte, int bits) {
      y.scales[byte] = static_cast<std::uint8_t>(y.scales[byte] | bits);
    };
    if (g < 4) {
      merge(g, scale);
      merge(g + 4, minimum);
    } else {
      merge(g + 4, (scale & 15) | (minimum & 15) << 4);
      merge(g - 4, (scale >> 4) << 6);
      merge(g, (minimum >> 4) << 6);
    }
    const float step = y.d * static_cast<float>(scale);
    const float offset = y.dmin * static_cast<float>(minimum);
    for (std::size_t j = 0; j < 32; ++j) store(g, j, nearest(ratio(x[g * 32 + j] + offset, step), 0, levels));
  }
}

inline void quantize(std::span<const float> x, Q4_KBlock& y) {
  std::fill(std::begin(y.q), std::end(y.q), std::uint8_t{0});
  quantize_groups(x, 15, y, [&](std::size_t g, std::size_t j, int q) {
    auto& byte = y.q[g / 2 * 32 + j];
    byte = static_cast<std::uint8_t>(byte | q << (g % 2 * 4));
  });
}

inline void quantize(std::span<const float> x, Q5_KBlock& y) {
  std::fill(std::begin(y.q), std::end(y.q), std::uint8_t{0});
  std::fill(std::begin(y.high), std::end(y.high), std::uint8_t{0});
  quantize_groups(x, 31, y, [&](std::size_t g, std::size_t j, int q) {
    auto& byte = y.q[g / 2 * 32 + j];
    byte = static_cast<std::uint8_t>(byte | (q & 15) << (g % 2 * 4));
    y.high[j] = static_cast<std::uint8_t>(y.high[j] | (q >> 4) << g);
  });
}

inline void quantize(std::span<const float> x, Q6_KBlock& y) {
  float steps[16];
  for (std::size_t g = 0; g < 16; ++g) steps[g] = largest_magnitude(x.subspan(g * 16, 16)) / 31;
  y.d = Half(largest_magnitude(steps) / 127);
  std::fill(std::begin(y.low), std::end(y.low), std::uint8_t{0});
  std::fill(std::begin(y.high), std::end(y.high), std::uint8_t{0});
  for (std::size_t g = 0; g < 16; ++g) {
    y.scales[g] = static_cast<std::int8_t>(nearest(ratio(steps[g], y.d), 0, 127));
    const float step = y.d * static_cast<float>(y.scales[g]);
    for (std::size_t j = 0; j < 16; ++j) {
      const int q = nearest(ratio(x[g * 16 + j], step), -32, 31) + 32;
      const std::size_t half = g / 8;
      const std::size_t quarter = g % 8 / 2;
      const std::size_t column = g % 2 * 16 + j;
      auto& low = y.low[half * 64 + quarter % 2 * 32 + column];
      auto& high = y.high[half * 32 + column];
      low = static_cast<std::uint8_t>(low | (q & 15) << (quarter / 2 * 4));
      high = static_cast<std::uint8_t>(high | (q >> 4) << (quarter * 2));
    }
  }
}

}  // namespace detail

/// `x`, a whole number of blocks, in its stored form.
inline std::vector<std::byte> quantize(DType dtype, std::span<const float> x) {
  std::vector<std::byte> bytes;
  visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
    constexpr auto elements = static_cast<std::size_t>(elements_per_unit<T>);
    if (x.size() % elements != 0) throw std::invalid_argument("quantize: not a whole number of blocks");
    bytes.resize(x.size() / elements * sizeof(T));
    for (std::size_t i = 0; i < x.size() / elements; ++i) {
      T unit;
      detail::quantize(x.subspan(i * elements, elements), unit);
      std::memcpy(bytes.data() + i * sizeof(T), &unit, sizeof(T));
    }
  });
  return bytes;
}

}  // namespace activation_trace::test

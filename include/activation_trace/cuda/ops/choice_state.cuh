// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/first_not_finite.cuh"
#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"

// What the kernels of a choice (choose_token.cuh) know of a row and leave for each other.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// What the host learns of a choice.
struct ChoiceRecord {
  TokenId token;  ///< -1: none, because a logit is NaN or +inf, or all are -inf
  bool finite;    ///< all that the step has looked at
};

/// How it is chosen; sampled = false: the largest, of equals the first.
struct ChoiceRules {
  bool sampled = false;
  float temperature = 1;
  Index top_k = 0;
  float typical_p = 1;
  float top_p = 1;
  float log_min_p = -INFINITY;
};

using ChoiceWeight = unsigned long long;
using ChoiceDistance = unsigned long long;
constexpr double choice_unit = 0x1p44;                 ///< of the largest score
constexpr Index most_choice_entries = Index{1} << 19;  ///< whose sum is still a ChoiceWeight
constexpr double choice_distance_unit = 0x1p42;
constexpr int choice_distance_bits = 48;
constexpr ChoiceDistance any_distance = ~0ull;
constexpr int choice_threads = 256;
constexpr Index most_choice_blocks = 64;

/// What a choice leaves for the kernels that follow it.
struct ChoiceState {
  unsigned long long
      best;  ///< largest ordered bits, and the first place of it, negated; all ones: a logit is no number
  unsigned ticket;
  float largest;           ///< of the last row
  unsigned largest_left;   ///< ordered bits of the largest score that typical_p leaves
  unsigned lowest;         ///< ordered bits of scores that stay
  unsigned cut;            ///< where a filter ended: of its equals, the first `ties` stay
  unsigned ties;           ///< all ones: all of them
  unsigned digits;         ///< of the border that is looked for
  ChoiceWeight remaining;  ///< to be reached below the digits
  ChoiceWeight total;      ///< weight of what typical_p looks at
  ChoiceWeight falls;      ///< the same, times how far scores are below the largest
  double typical;          ///< how far the typical score is below the largest
  ChoiceDistance near;     ///< from there, within which scores stay
  unsigned counts[256];    ///< of the digit that is looked for
  ChoiceWeight weights[256];
  unsigned equals[most_choice_blocks];    ///< of a block: scores that are the cut
  ChoiceWeight sums[most_choice_blocks];  ///< and the weight of those above it
};

/// A row and what its scores are.
struct ChoiceRow {
  const float* logits;
  Index n;
  float temperature;

  [[nodiscard]] __device__ float largest(const ChoiceState& state) const {
    return from_ordered(static_cast<unsigned>(state.best >> 32));
  }
  [[nodiscard]] static __device__ float from_ordered(unsigned bits) {
    return __uint_as_float((bits >> 31) != 0 ? bits & 0x7fffffffu : ~bits);
  }
  /// As Temperature: relative to the largest where quotients would be blurred. Zeros have one sign.
  [[nodiscard]] __device__ float score(float x, float largest) const {
    if (temperature == 1) return x + 0.0f;
    if (fabsf(largest / temperature) > 1024.0f) {
      const double quotient =
          (static_cast<double>(x) - static_cast<double>(largest)) / static_cast<double>(temperature);
      return quotient < -3.4028234663852886e38 ? -INFINITY : static_cast<float>(quotient) + 0.0f;
    }
    return x / temperature + 0.0f;
  }
  [[nodiscard]] static __device__ ChoiceWeight weight(float score, float largest_score) {
    const double difference = static_cast<double>(score) - static_cast<double>(largest_score);
    return difference < -31 ? 0 : static_cast<ChoiceWeight>(rint(exp(difference) * choice_unit));
  }
  /// weight() times how far the score is below the largest: a term of the entropy.
  [[nodiscard]] static __device__ ChoiceWeight fall(float score, float largest_score) {
    const double difference = static_cast<double>(score) - static_cast<double>(largest_score);
    return difference < -64 ? 0 : static_cast<ChoiceWeight>(rint(-difference * exp(difference) * choice_unit));
  }
  /// Of a score from the typical one, in 2^-42; from 64 on all are alike, and weigh nothing.
  [[nodiscard]] static __device__ ChoiceDistance distance(float score, float largest_score, double typical) {
    const double below = static_cast<double>(largest_score) - static_cast<double>(score);
    const double far = fabs(below - typical);
    constexpr ChoiceDistance most = (ChoiceDistance{1} << choice_distance_bits) - 1;
    return far < 63 ? static_cast<ChoiceDistance>(rint(far * choice_distance_unit)) : most;
  }
};

/// What filters have left of a row so far, but for equals at a cut.
struct ChoiceBounds {
  float largest_score;
  unsigned lowest;
  ChoiceDistance near;
  double typical;

  __device__ ChoiceBounds(const ChoiceState& state, float of_largest, float log_min_p = -INFINITY)
      : largest_score(of_largest),
        lowest(max(state.lowest, ordered_bits(ChoiceRow::from_ordered(state.largest_left) + log_min_p))),
        near(state.near),
        typical(state.typical) {}

  [[nodiscard]] __device__ bool hold(float score, unsigned bits) const {
    return bits >= lowest && (near == any_distance || ChoiceRow::distance(score, largest_score, typical) <= near);
  }
};

/// Blocks that share a row of n scores.
[[nodiscard]] inline Index choice_blocks(Index n) {
  return std::clamp<Index>((n + 2047) / 2048, 1, most_choice_blocks);
}

__device__ inline void write_choice(const ChoiceState& state, TokenId token, const FirstNotFinite* found, StepRow* row,
                                    ChoiceRecord* record) {
  const bool valid = state.best != ~0ull && static_cast<unsigned>(state.best >> 32) > ordered_bits(-INFINITY);
  *record = {valid ? token : TokenId{-1}, *found == all_finite};
  row->token = valid ? token : TokenId{0};  // some token: the next step may be under way
  ++row->position;
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace

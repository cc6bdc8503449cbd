// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the settings were chosen on: `general` holds for any questions, the others by two-fold validation on the data
/// set of that name.
enum class PresetData { general, triviaqa, hotpotqa, nq };

/// alpha and info_layer as published for a LLaMA-2-chat of `blocks` decoder blocks.
struct Preset {
  PresetData data;   ///< what it was chosen on
  Index blocks;      ///< N of the model
  float alpha;       ///< weight of the entropy
  Index info_layer;  ///< hidden state that is read, 0..N
};

/// evaluation/README.md 1.4: 7B, 13B and 70B have 32, 40 and 80 blocks.
inline constexpr std::array<Preset, 12> kPresets{{
    {PresetData::general, 32, 0.5f, 26},
    {PresetData::general, 40, 0.8f, 34},
    {PresetData::general, 80, 1.0f, 70},
    {PresetData::triviaqa, 32, 1.0f, 32},
    {PresetData::triviaqa, 40, 0.6f, 32},
    {PresetData::triviaqa, 80, 1.0f, 70},
    {PresetData::hotpotqa, 32, 0.8f, 32},
    {PresetData::hotpotqa, 40, 1.0f, 28},
    {PresetData::hotpotqa, 80, 0.6f, 66},
    {PresetData::nq, 32, 0.2f, 32},
    {PresetData::nq, 40, 0.8f, 34},
    {PresetData::nq, 80, 1.0f, 68},
}};

/// The settings for a model of `blocks` blocks. A depth that the table lacks takes the nearest one's (of two as near,
/// the smaller's) alpha, and its info layer in proportion, rounded: 26 of 32 becomes 24 of 30, and h_N stays h_N. That
/// rule is ours and untested by the paper. Throws ArgumentError unless 1 <= blocks <= 10000, as for
/// LlamaConfig.
[[nodiscard]] constexpr Preset preset(PresetData data, Index blocks) {
  if (blocks < 1 || blocks > 10000)
    throw ArgumentError("preset: blocks must be in 1..10000, got " + std::to_string(blocks));
  const auto distance = [&](const Preset& p) { return p.blocks < blocks ? blocks - p.blocks : p.blocks - blocks; };
  std::size_t nearest = kPresets.size();  // an index: with sanitizers gcc compares no pointers at compile time
  for (std::size_t i = 0; i < kPresets.size(); ++i)
    if (kPresets[i].data == data && (nearest == kPresets.size() || distance(kPresets[i]) < distance(kPresets[nearest])))
      nearest = i;
  if (nearest == kPresets.size()) throw ArgumentError("preset: no such data set");
  const Preset& p = kPresets[nearest];
  return {data, blocks, p.alpha, (2 * p.info_layer * blocks + p.blocks) / (2 * p.blocks)};
}

/// What the flag --preset calls it.
[[nodiscard]] constexpr std::string_view name(PresetData data) {
  switch (data) {
    case PresetData::general: return "general";
    case PresetData::triviaqa: return "triviaqa";
    case PresetData::hotpotqa: return "hotpotqa";
    case PresetData::nq: return "nq";
  }
  return "?";
}

}  // namespace v0
}  // namespace activation_trace

// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/generation/presets.hpp"

#include <doctest/doctest.h>

#include "activation_trace/generation/options.hpp"

using namespace activation_trace;

TEST_CASE("Presets at the depths of the table are the table") {
  // Read from evaluation/README.md 1.4.
  struct Row {
    PresetData data;
    float alpha[3];
    Index layer[3];
  };
  const Row rows[] = {{PresetData::general, {0.5f, 0.8f, 1.0f}, {26, 34, 70}},
                      {PresetData::triviaqa, {1.0f, 0.6f, 1.0f}, {32, 32, 70}},
                      {PresetData::hotpotqa, {0.8f, 1.0f, 0.6f}, {32, 28, 66}},
                      {PresetData::nq, {0.2f, 0.8f, 1.0f}, {32, 34, 68}}};
  const Index depths[] = {32, 40, 80};
  for (const Row& row : rows)
    for (std::size_t size = 0; size < 3; ++size) {
      const Preset p = preset(row.data, depths[size]);
      CHECK(p.alpha == row.alpha[size]);
      CHECK(p.info_layer == row.layer[size]);
      CHECK(p.data == row.data);
      CHECK(p.blocks == depths[size]);
    }
}

TEST_CASE("Presets of other depths: the nearest depth's alpha, its layer in proportion") {
  static_assert(preset(PresetData::general, 30).info_layer == 24);  // 26 / 32 * 30 = 24.375
  static_assert(preset(PresetData::general, 30).alpha == 0.5f);
  CHECK(preset(PresetData::general, 28).info_layer == 23);  // 22.75
  CHECK(preset(PresetData::general, 16).info_layer == 13);  // 13
  CHECK(preset(PresetData::general, 36).alpha == 0.5f);     // as near to 32 as to 40
  CHECK(preset(PresetData::general, 37).alpha == 0.8f);
  CHECK(preset(PresetData::general, 60).info_layer == 51);    // of 40: 34 / 40 * 60
  CHECK(preset(PresetData::general, 61).info_layer == 53);    // of 80: 70 / 80 * 61 = 53.375
  CHECK(preset(PresetData::general, 126).info_layer == 110);  // 110.25
  CHECK(preset(PresetData::triviaqa, 24).info_layer == 24);   // h_N stays h_N
  for (Index blocks = 1; blocks <= 200; ++blocks)
    for (const PresetData data : {PresetData::general, PresetData::triviaqa, PresetData::hotpotqa, PresetData::nq}) {
      CHECK(preset(data, blocks).info_layer >= 0);
      CHECK(preset(data, blocks).info_layer <= blocks);
    }
  CHECK_THROWS_WITH_AS(static_cast<void>(preset(PresetData::nq, 0)), "preset: blocks must be in 1..10000, got 0",
                       ArgumentError);
  CHECK_THROWS_AS(static_cast<void>(preset(PresetData::nq, 10001)), ArgumentError);
}

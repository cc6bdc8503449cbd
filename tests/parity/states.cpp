// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "parity/golden.hpp"
#include "parity/real_llama.hpp"

namespace activation_trace::test {
namespace {

double distance(std::span<const float> a, std::span<const float> b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    squares += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(squares);
}

double norm(std::span<const float> a) { return distance(a, std::vector<float>(a.size())); }

// h_0..h_N at some positions, and the logits of the last one.
struct Trace {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> positions;
  std::vector<float> hidden;  // [N + 1, positions, d]
  std::vector<float> logits;  // [V]
};

Trace run(RealLlama& model, const GoldenFile& golden, const std::string& prompt) {
  Trace trace{.ids = golden.get<std::int32_t>(prompt + ".ids"),
              .positions = golden.get<std::int32_t>(prompt + ".positions"),
              .hidden = {},
              .logits = {}};
  const auto d = static_cast<std::size_t>(model.checkpoint.config.hidden);
  const Index layers = model.checkpoint.config.layers;
  trace.hidden.resize(static_cast<std::size_t>(layers + 1) * trace.positions.size() * d);
  LayerObserver<> observer;
  for (Index layer = 0; layer <= layers; ++layer) observer.layers.push_back(layer);
  observer.on_states = [&](Index layer, Index first, MatrixView<const float> states) {
    for (std::size_t p = 0; p < trace.positions.size(); ++p) {
      const Index row = trace.positions[p] - first;
      if (row < 0 || row >= states.extent(0)) continue;  // in another batch
      const std::size_t begin = (static_cast<std::size_t>(layer) * trace.positions.size() + p) * d;
      std::ranges::copy(states.row(row).span(), trace.hidden.begin() + static_cast<std::ptrdiff_t>(begin));
    }
  };
  model.llama.rewind(0);
  const std::span<const float> logits = model.llama.forward(trace.ids, observer);
  trace.logits.assign(logits.begin(), logits.end());
  return trace;
}

constexpr double kBar = 2e-3;

}  // namespace

TEST_CASE("Hidden states and logits of SmolLM2 are those of transformers in float32") {
  RealLlama model;
  const GoldenFile golden("smollm2_states.safetensors");
  const auto d = static_cast<std::size_t>(model.checkpoint.config.hidden);
  double worst_state = 0;
  double worst_logits = 0;
  for (const GoldenPrompt& prompt : golden_prompts()) {
    CAPTURE(prompt.name);
    const Trace trace = run(model, golden, prompt.name);

    // Every element of every state takes part in its sketch.
    const auto sketches = golden.get<float>(prompt.name + ".hidden_sketch");
    const std::size_t states = trace.hidden.size() / d;
    const std::size_t width = sketches.size() / states;
    double worst = 0;
    for (std::size_t s = 0; s < states; ++s) {
      const auto sketch = part(sketches, s * width, width);
      const auto state = part(trace.hidden, s * d, d);
      worst = std::max(worst, distance_to_sketch(state, sketch) / static_cast<double>(sketch[0]));
      worst = std::max(worst, std::abs(norm(state) / static_cast<double>(sketch[0]) - 1));
    }
    CHECK(worst < kBar);
    worst_state = std::max(worst_state, worst);

    // An error of one logit is at most the distance of all of them.
    const auto range = golden.get<float>(prompt.name + ".logits_range");
    const double scale = static_cast<double>(range[1] - range[0]);
    double error = distance_to_sketch(trace.logits, golden.get<float>(prompt.name + ".logits_sketch"));
    const auto top_ids = golden.get<std::int32_t>(prompt.name + ".logits_top_ids");
    const auto top = golden.get<float>(prompt.name + ".logits_top");
    for (std::size_t i = 0; i < top.size(); ++i)
      error =
          std::max(error, static_cast<double>(std::abs(trace.logits[static_cast<std::size_t>(top_ids[i])] - top[i])));
    CHECK(error / scale < kBar);
    worst_logits = std::max(worst_logits, error / scale);
    std::printf("%-20s %4zu tokens: states %.1e, logits %.1e of their range\n", prompt.name.c_str(), trace.ids.size(),
                worst, error / scale);
  }
  std::printf("worst state %.2e, worst logits %.2e; allowed %.0e\n", worst_state, worst_logits, kBar);
}

TEST_CASE("The states and logits that are kept in full agree element by element") {
  RealLlama model;
  const GoldenFile golden("smollm2_states.safetensors");
  const auto d = static_cast<std::size_t>(model.checkpoint.config.hidden);
  const auto vocab = static_cast<std::size_t>(model.checkpoint.config.vocab);
  for (const GoldenPrompt& prompt : golden_prompts()) {
    const bool states = golden.contains(prompt.name + ".hidden_last");
    const bool logits = golden.contains(prompt.name + ".logits");
    if (!states && !logits) continue;
    CAPTURE(prompt.name);
    const Trace trace = run(model, golden, prompt.name);
    if (states) {
      const auto expected = golden.get<float>(prompt.name + ".hidden_last");  // [N + 1, d]
      for (std::size_t layer = 0; layer < expected.size() / d; ++layer) {
        CAPTURE(layer);
        const auto last = part(trace.hidden, ((layer + 1) * trace.positions.size() - 1) * d, d);
        const auto row = part(expected, layer * d, d);
        CHECK(distance(last, row) < kBar * norm(row));
      }
    }
    if (logits) {
      const auto expected = golden.get<float>(prompt.name + ".logits");
      REQUIRE(expected.size() == vocab);
      const auto [least, most] = std::ranges::minmax(expected);
      double worst = 0;
      for (std::size_t v = 0; v < vocab; ++v)
        worst = std::max(worst, static_cast<double>(std::abs(trace.logits[v] - expected[v])));
      CHECK(worst < kBar * static_cast<double>(most - least));
    }
  }
}

}  // namespace activation_trace::test

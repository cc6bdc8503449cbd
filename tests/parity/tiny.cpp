// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "parity/continuation.hpp"

// A folder that transformers wrote: sharded, bf16 with an f16 head, llama3 rope scaling, head size not d / heads.
namespace activation_trace::test {
namespace {

struct TinyLlama {
  Checkpoint checkpoint = load_llama(golden_path("tiny_llama"));
  Execution<Host> execution{2};
  Llama<> llama{checkpoint.config, checkpoint.weights, {.max_context = 128}, execution};
  GoldenFile golden{"tiny_llama.safetensors"};
  std::vector<std::int32_t> ids = golden.get<std::int32_t>("ids");
};

double largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}

double largest(std::span<const float> a) { return largest_difference(a, std::vector<float>(a.size())); }

// transformers in float32 is 7e-7 of the range away from transformers in float64, which wrote the golden file.
constexpr double kTolerance = 1e-5;

}  // namespace

TEST_CASE("A folder written by transformers: states, logits and entropies of all layers") {
  TinyLlama model;
  const LlamaConfig& config = model.checkpoint.config;
  CHECK(config.head_dim == 24);
  CHECK(config.bos == 1);
  CHECK(config.eos == std::vector<TokenId>{2, 3});
  const auto hidden = model.golden.get<float>("hidden");    // [N + 1, T, d]
  const auto logits = model.golden.get<float>("logits");    // [T, V]
  const auto entropy = model.golden.get<float>("entropy");  // [N + 1, V]
  const auto vocab = static_cast<std::size_t>(config.vocab);
  const std::size_t state_size = model.ids.size() * static_cast<std::size_t>(config.hidden);
  LayerObserver<> observer;
  std::vector<float> states;
  for (Index layer = 0; layer <= config.layers; ++layer) observer.layers.push_back(layer);
  observer.on_states = [&](Index layer, Index, MatrixView<const float> seen) {
    CAPTURE(layer);
    const auto begin = static_cast<std::size_t>(layer) * state_size;
    const auto expected = part(hidden, begin, state_size);
    states.clear();
    for (Index i = 0; i < seen.extent(0); ++i)
      states.insert(states.end(), seen.row(i).data(), seen.row(i).data() + config.hidden);
    CHECK(largest_difference(states, expected) < kTolerance * largest(expected));

    EntropySharpnessProcessor<> processor({}, model.execution);
    processor.observe_context(seen, model.checkpoint.weights.lm_head);
    CHECK(largest_difference(processor.entropy(), part(entropy, static_cast<std::size_t>(layer) * vocab, vocab)) <
          kTolerance);
  };
  const std::span<const float> last = model.llama.forward(model.ids, observer);
  const double range = largest(logits);
  CHECK(largest_difference(last, part(logits, logits.size() - vocab, vocab)) < kTolerance * range);

  model.llama.rewind(0);
  for (std::size_t t = 0; t < model.ids.size(); ++t) {
    CAPTURE(t);
    const std::span<const float> one = model.llama.forward(std::span(model.ids).subspan(t, 1));
    CHECK(largest_difference(one, part(logits, t * vocab, vocab)) < kTolerance * range);
  }
}

TEST_CASE("A folder written by transformers: greedy and activation decoding") {
  TinyLlama model;
  Comparison result;
  const std::vector<float> no_close_decision(32, 1.0f);  // the smallest gap of both is 0.01
  const auto compare_with = [&](const char* key, const GenerationOptions& options) {
    CAPTURE(key);
    compare(model.llama, model.ids, options, model.golden.get<std::int32_t>(key), no_close_decision, result,
            [](const GeneratedToken&) {});
  };
  compare_with("greedy.tokens", {.mode = Baseline{}});
  compare_with("activation.tokens",
               {.mode = Activation{.alpha = 1, .context = {.info_layer = 2}}, .repetition_penalty = 1.2f});
  CHECK(result.tokens == 64);
}

}  // namespace activation_trace::test

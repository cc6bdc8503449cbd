// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "parity/continuation.hpp"

// Families whose logits are not W h: entropies, tokens and scores are over the engine's logits, as float64 has them.
namespace activation_trace::test {
namespace {

constexpr const char* kScaledFamilies[] = {"gemma2", "granite", "minicpm"};
const std::vector<float> kNoCloseDecision(16, 1.0f);  // the golden script made sure of 1e-4

/// `use(model, key)` for each family's folder and GGUF; key("x") is what the golden file calls its x.
void for_each_scaled(auto&& use) {
  for (const std::string name : kScaledFamilies)
    for (const char* ending : {"", ".gguf"}) {
      const std::string file = "tiny_" + name + ending;
      CAPTURE(file);
      const Checkpoint checkpoint = load_llama(golden_path(file));
      Execution<Host> execution(2);
      Llama<> model(checkpoint.config, checkpoint.weights, {.max_context = 64}, execution);
      use(model, file, [&](const std::string& part) { return name + "." + part; });
    }
}

void check_entropies(std::span<const float> got, std::span<const float> expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t v = 0; v < got.size(); ++v) {
    CAPTURE(v);
    CHECK(std::abs(static_cast<double>(got[v]) - static_cast<double>(expected[v])) < 5e-5);
  }
}

}  // namespace

TEST_CASE("Scaled and capped logits: entropies of all layers, by the model's head and by the file's") {
  const GoldenFile golden("tiny_scaled_families.safetensors");
  for_each_scaled([&](Llama<>& model, const std::string& file, const auto& key) {
    const auto entropy = golden.get<float>(key("entropy"));  // [N + 1, V]
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    const LmHeadFile opened = open_lm_head(golden_path(file));
    CHECK(opened.head.options() == model.lm_head().options());
    CHECK(opened.norm->weight == model.final_norm().weight);
    LayerObserver<> observer;
    for (Index layer = 0; layer <= model.config().layers; ++layer) observer.layers.push_back(layer);
    observer.on_states = [&](Index layer, Index, MatrixView<const float> states) {
      CAPTURE(layer);
      for (const LmHead<>& head : {model.lm_head(), opened.head}) {
        EntropySharpnessProcessor processor({}, model.execution());
        processor.observe_context(states, head);
        check_entropies(processor.entropy(), part(entropy, static_cast<std::size_t>(layer) * vocab, vocab));
      }
    };
    model.fill(golden.get<std::int32_t>(key("ids")), observer);
  });
}

TEST_CASE("Scaled and capped logits: greedy with a penalty, activation decoding, and DoLa with its layers") {
  const GoldenFile golden("tiny_scaled_families.safetensors");
  Comparison result;
  for_each_scaled([&](Llama<>& model, const std::string&, const auto& key) {
    const auto ids = golden.get<std::int32_t>(key("ids"));
    const Index blocks = model.config().layers;
    const auto compare_with = [&](const char* run, GenerationOptions options, auto&& check) {
      CAPTURE(run);
      compare(model, ids, std::move(options), golden.get<std::int32_t>(key(std::string(run) + ".tokens")),
              kNoCloseDecision, result, check);
    };
    const auto nothing = [](const GeneratedToken&) {};
    compare_with("baseline", {.mode = Baseline{}, .repetition_penalty = 1.5f}, nothing);
    compare_with("activation",
                 {.mode = Activation{.alpha = 1, .context = {.info_layer = blocks - 1}}, .repetition_penalty = 1.5f},
                 nothing);
    Dola dola{.divergence = LayerDivergence::jensen_shannon};
    for (Index layer = 0; layer < blocks; ++layer) dola.candidate_layers.push_back(layer);
    const auto layers = golden.get<std::int32_t>(key("dola.layers"));
    compare_with("dola", {.mode = dola, .record = RecordOptions{}}, [&](const GeneratedToken& token) {
      REQUIRE(token.record != nullptr);
      CHECK(token.record->layer == layers[static_cast<std::size_t>(token.step)]);
    });
  });
  CHECK(result.tokens == 2 * 3 * 3 * 16);
}

TEST_CASE("Scaled and capped logits: answers that share a prompt are scored by the engine's logits") {
  const GoldenFile golden("tiny_scaled_families.safetensors");
  for_each_scaled([&](Llama<>& model, const std::string&, const auto& key) {
    const auto ids = golden.get<std::int32_t>(key("ids"));
    const auto logits = golden.get<float>(key("logits"));  // [T, V]
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    const std::size_t prompt = 12;
    double expected = 0;
    for (std::size_t t = prompt; t < ids.size(); ++t) {
      const auto row = part(logits, (t - 1) * vocab, vocab);
      double sum = 0;
      for (const float z : row) sum += std::exp(static_cast<double>(z));
      expected += static_cast<double>(row[static_cast<std::size_t>(ids[t])]) - std::log(sum);
    }
    const std::vector<std::vector<TokenId>> answers{{ids.begin() + prompt, ids.end()}, {5, 6, 7}};
    const auto scores = score(model, std::span(ids).first(prompt), answers, {.mode = Baseline{}});
    CHECK(std::abs(scores[0].score - expected) < 1e-3);
  });
}

}  // namespace activation_trace::test
